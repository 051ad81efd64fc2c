"""LoRA adapters of a running server: loaded under a new name, while the server goes on answering."""

from __future__ import annotations

from pathlib import Path

from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.policy.openai_endpoint import Endpoint, PolicyRejectedError, PolicyUnavailableError
from deeprec.agent.policy.server_address import server_addresses
from deeprec.agent.policy.weight_fingerprints import ADAPTER_FILES, fingerprint_adapter
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import hide_passwords

_TIMEOUT_S = 120.0


async def load_adapter(base_url: str, name: str, folder: Path | str, *, api_key: str | None = None) -> bool:
    """Have a server load an adapter from its disk, unless it has these weights under the name already.

    A name stands for one set of weights for good: a server keeps what it has cached under a name, so new weights get a
    new name and a new folder. The folder has to stay, because an adapter that was evicted is read again.

    Args:
        base_url: a vLLM server that was started with LoRA and runtime loading, as `deeprec llm serve` does. Several,
            with commas between their addresses, are loaded one after another, and all have to have it then. With
            several replicas behind one address only one of them is reached.
        name: the name of the adapter in requests and traces.
        folder: an adapter as PEFT saves it; the server reads it, so the path is the server's.
        api_key: the key of the server; else the environment's DEEPREC_API_KEY, else OPENAI_API_KEY.

    Returns:
        whether it was loaded; False where every server has it already.

    Raises:
        ConfigError: there is no adapter in the folder, or the server has other weights under the name.
        PolicyRejectedError: the server refuses: loading is switched off, or the adapter is of another model.
        PolicyUnavailableError: the server gave no usable answer.
    """
    folder = Path(folder).resolve()
    check_adapter_folder(folder)
    addresses = server_addresses(base_url)
    new = [address for address in addresses if not await has_adapter(address, name, folder, api_key=api_key)]
    for address in new:
        await _load(address, name, folder, api_key)
    if len(addresses) > 1 and not await has_adapter(base_url, name, folder, api_key=api_key):
        raise PolicyUnavailableError(f"Not every server of {hide_passwords(base_url)} has {name} after it was loaded.")
    return bool(new)


async def _load(base_url: str, name: str, folder: Path, api_key: str | None) -> None:
    """Have one server load an adapter."""
    endpoint = Endpoint(base_url, api_key=api_key, timeout_s=_TIMEOUT_S, max_retries=2, retry_wait_s=0.5)
    try:
        await endpoint.post_text(
            f"{endpoint.base_url}/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}
        )
    except PolicyRejectedError as error:
        raise PolicyRejectedError(
            f"The adapter {name} could not be loaded. {error} vLLM needs VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, "
            "--enable-lora, a --max-lora-rank of the adapter's, and the adapter's own base model; "
            "`deeprec llm serve` starts one like that."
        ) from error
    finally:
        await endpoint.aclose()


async def has_adapter(base_url: str, name: str, folder: Path | str, *, api_key: str | None = None) -> bool:
    """Check whether a server, or each of several, has an adapter under a name; its arguments are as of `load_adapter`.

    Raises:
        ConfigError: it has other weights under the name, or does not show which.
        PolicyRejectedError: the server refuses the request.
        PolicyUnavailableError: the server gave no usable answer.
    """
    folder = Path(folder).resolve()
    async with CompletionPolicy(base_url, api_key=api_key) as policy:
        if name not in (await policy.connect()).adapters:
            return False
        await policy.asking(name).connect()
    for address in server_addresses(base_url):
        async with CompletionPolicy(address, model=name, api_key=api_key) as policy:
            served = await policy.connect()
        known, root = served.adapter_fingerprint, served.roots.get(name)
        is_same = root == str(folder) if known is None else known == fingerprint_adapter(folder)
        if not is_same:
            its_own = f"its own is from {root}" if root else "it names no folder"
            seen = (
                f"has an adapter under the name {name}, and does not show whether it is that of {folder} ({its_own}, "
                "whose weights this machine cannot read)"
                if known is None
                else f"has another adapter under the name {name} than that of {folder} ({its_own})"
            )
            raise ConfigError(
                f"The server at {hide_passwords(address)} {seen}. A name stands for one set of weights: load it under "
                "another name, or start the server anew."
            )
    return True


def check_adapter_folder(folder: Path) -> None:
    """Raise ConfigError where a folder does not hold an adapter in safetensors."""
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder} is not a LoRA adapter: it has no {missing[0]}. Name a folder that PEFT saved.")
