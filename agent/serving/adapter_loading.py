"""LoRA adapters of a running server: loaded under a new name, while the server goes on answering."""

from __future__ import annotations

from pathlib import Path

from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.policy.openai_endpoint import Endpoint, PolicyRejectedError
from deeprec.agent.policy.weight_fingerprints import ADAPTER_FILES, fingerprint_adapter
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import hide_passwords

_TIMEOUT_S = 120.0


async def load_adapter(base_url: str, name: str, folder: Path | str, *, api_key: str | None = None) -> bool:
    """Have a server load an adapter from its disk, unless it has these weights under the name already.

    A name stands for one set of weights for good: a server keeps what it has cached under a name, so new weights get a
    new name and a new folder. The folder has to stay, because an adapter that was evicted is read again.

    Args:
        base_url: a vLLM server that was started with LoRA and runtime loading, as `deeprec llm serve` does. With
            several replicas behind one address only one of them is reached: load into each.
        name: the name of the adapter in requests and traces.
        folder: an adapter as PEFT saves it; the server reads it, so the path is the server's.
        api_key: the key of the server; else the environment's DEEPREC_API_KEY, else OPENAI_API_KEY.

    Returns:
        whether it was loaded; False where the server has it already.

    Raises:
        ConfigError: there is no adapter in the folder, or the server has other weights under the name.
        PolicyRejectedError: the server refuses: loading is switched off, or the adapter is of another model.
        PolicyUnavailableError: the server gave no usable answer.
    """
    folder = Path(folder).resolve()
    check_adapter_folder(folder)
    if await has_adapter(base_url, name, folder, api_key=api_key):
        return False
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
    return True


async def has_adapter(base_url: str, name: str, folder: Path | str, *, api_key: str | None = None) -> bool:
    """Check whether a server has an adapter under a name; the arguments are those of `load_adapter`.

    Raises:
        ConfigError: it has other weights under the name, or does not show which.
        PolicyRejectedError: the server refuses the request.
        PolicyUnavailableError: the server gave no usable answer.
    """
    folder = Path(folder).resolve()
    async with CompletionPolicy(base_url, api_key=api_key) as policy:
        if name not in (await policy.connect()).adapters:
            return False
        served = await policy.asking(name).connect()
    known, root = served.adapter_fingerprint, served.roots.get(name)
    is_same = root == str(folder) if known is None else known == fingerprint_adapter(folder)
    if not is_same:
        raise ConfigError(
            f"The server at {hide_passwords(base_url)} has another adapter under the name {name} than that of {folder} "
            f"(its own is from {root or 'a folder that it does not name'}). A name stands for one set of weights: load "
            "it under another name, or start the server anew."
        )
    return True


def check_adapter_folder(folder: Path) -> None:
    """Raise ConfigError where a folder does not hold an adapter in safetensors."""
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder} is not a LoRA adapter: it has no {missing[0]}. Name a folder that PEFT saved.")
