"""The language model that is trained: loaded with an adapter or whole, checked against its data, and saved."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import let_others_read, replace_folder

if TYPE_CHECKING:
    from deeprec.agent.serving.server_process import Dtype
    from deeprec.training.trainers.trainer_config import AdapterConfig, Device

_PEFT_ASKS = "`is_gradient_checkpointing` is deprecated"
"""PEFT 0.21 reads what transformers 5 warns about."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyModel:
    """A causal language model, ready to be trained, and what its data have to fit."""

    model: Any
    """`peft.PeftModel`, or a transformers model where all weights are trained."""
    tokenizer: Any
    vocabulary: int
    """Token ids go from 0 to below this."""
    context: int
    """Tokens of the longest sequence that it can read."""
    fingerprint: str
    """Of the base model: `fingerprint_base`."""
    on_gpu: bool
    in_bfloat16: bool
    """Whether it computes in bfloat16."""


def load_policy(
    base: Path | str,
    *,
    lora: AdapterConfig | None,
    start: Path | None = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: int = 0,
) -> PolicyModel:
    """Load what is to be trained.

    Args:
        base: A model's folder, or a Hugging Face id. Only safetensors are read, and no code from the folder runs.
        lora: The adapter to train, new and without effect; None for all weights.
        start: An adapter to go on from. Its own rank and layers count, not those of `lora`.
        device: "auto" takes a GPU where there is one.
        dtype: as `OptimizerConfig.dtype`. In bfloat16 the weights under an adapter are stored so; whatever is trained
            is float32 anywhere, because a step of 1e-6 is lost in bfloat16.
        seed: Of a new adapter.

    Raises:
        ConfigError: there is no such model or adapter, it is no causal language model, or the adapter is another's.
    """
    require_trl()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    on_gpu = device == "auto" and torch.cuda.is_available()
    _check_base(base)
    if start is not None:
        check_adapter_folder(start)
        if lora is None:
            raise ConfigError(
                f"{start} is an adapter, but all weights are to be trained. Train an adapter, or merge this one into "
                "a base model first."
            )
    in_bfloat16 = on_gpu and torch.cuda.is_bf16_supported() if dtype == "auto" else dtype == "bfloat16"
    stored = torch.bfloat16 if lora is not None and in_bfloat16 else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(str(base), dtype=stored, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(str(base))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(
            f"{base} cannot be loaded as a language model with its tokenizer: {str(error).splitlines()[0]} Name a "
            "folder with config.json, tokenizer and safetensors."
        ) from error
    if lora is not None:
        model = _with_adapter(model, lora, start, seed)
    text = model.config.get_text_config()
    return PolicyModel(
        model=model,
        tokenizer=tokenizer,
        vocabulary=text.vocab_size,
        context=text.max_position_embeddings,
        fingerprint=fingerprint_base(base, model.config),
        on_gpu=on_gpu,
        in_bfloat16=in_bfloat16,
    )


def save_adapter(model: Any, folder: Path) -> None:
    """Write a model's LoRA adapter as PEFT and vLLM read it: `adapter_config.json` and `adapter_model.safetensors`.

    The folder appears, or is replaced, as a whole: who reads it finds the old adapter or the new one, and where the
    disk is full the old one stays.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def write(staged: Path) -> None:
        model.save_pretrained(staged, save_embedding_layers=False)
        (staged / "README.md").unlink(missing_ok=True)  # PEFT's model card: nothing is filled in

    write_folder(folder, write)


def save_model(policy: PolicyModel, folder: Path) -> None:
    """Write a whole model with its tokenizer, likewise."""

    def write(staged: Path) -> None:
        policy.model.save_pretrained(staged)
        policy.tokenizer.save_pretrained(staged)

    write_folder(folder, write)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a folder beside `folder`, readable by all, and put it in its place.

    Raises:
        ConfigError: it cannot be written. What was there is as it was.
    """
    folder = folder.absolute()
    staged = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        write(staged)
        let_others_read(staged)  # the server may be another user's
        replace_folder(staged, folder)
    except Exception as error:
        full = _write_fault(error)
        if full is None:
            raise
        raise ConfigError(
            f"{folder} cannot be written: {full}. What was there before is untouched. Make room, or name another "
            "folder, and start again: training goes on from its last checkpoint."
        ) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)


def _write_fault(error: Exception) -> str | None:
    """What is wrong with the disk, if that is what an error says; safetensors has an error of its own."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, SafetensorError) else None


def check_adapter_folder(folder: Path) -> None:
    """Raise ConfigError where a folder holds no adapter in safetensors."""
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder} is no LoRA adapter: it has no {missing[0]}. Name a folder that PEFT saved.")


def read_start(folder: Path) -> dict[str, Any]:
    """The settings of an adapter that training can go on from.

    Raises:
        ConfigError: there is none, or it is none that can be trained on.
    """
    check_adapter_folder(folder)
    try:
        told = dict(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"The adapter {folder} is damaged: adapter_config.json: {error}. Name another one."
        ) from error
    if told.get("peft_type") != "LORA" or told.get("lora_dropout"):
        raise ConfigError(
            f"{folder} is an adapter of type {told.get('peft_type')} with dropout {told.get('lora_dropout')}; only "
            "LoRA without dropout can be trained on. Start from a new adapter."
        )
    return told


def load_config(base: Path | str) -> Any:
    """A base model's configuration, without its weights.

    Raises:
        ConfigError: there is none.
    """
    require_trl()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(base))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{base} has no configuration of a model: {str(error).splitlines()[0]} Name a folder or an id that has."
        ) from error


def fingerprint_base(base: Path | str, config: Any = None) -> str:
    """Tell base models apart without reading them whole.

    Args:
        base: A folder, or a Hugging Face id.
        config: The loaded configuration, which knows the commit of an id.

    Returns:
        of a folder 16 hex digits over its configuration and, of each file of weights, its size and 16 samples of
        64 KiB; of an id the id and its commit.
    """
    folder = Path(base)
    if not folder.is_dir():
        return f"{base}@{getattr(config, '_commit_hash', None)}"
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as opened:
            for part in range(16):
                opened.seek(size * part // 16)
                digest.update(opened.read(65_536))
    return digest.hexdigest()[:16]


def fingerprint_adapter(folder: Path) -> str:
    """16 hex digits over an adapter's configuration and weights."""
    digest = hashlib.sha256()
    for name in ADAPTER_FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def require_trl() -> None:
    """Raise ConfigError where what trains is not installed."""
    try:
        import datasets  # noqa: F401
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Training needs TRL, and the package {error.name!r} is missing. Install it with: "
            "pip install 'deeprec-agent[train]'"
        ) from error


def _check_base(base: Path | str) -> None:
    folder = Path(base)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ConfigError(f"{base} is no model: it has no config.json. Name the folder of a Hugging Face model.")
    if not folder.exists() and (folder.is_absolute() or len(folder.parts) != 2):
        raise ConfigError(
            f"There is no model at {base}. Name its folder, or an id such as Qwen/Qwen2.5-7B-Instruct. "
            "`deeprec llm pull` writes the embedded one."
        )


def _with_adapter(model: Any, lora: AdapterConfig, start: Path | None, seed: int) -> Any:
    from peft import LoraConfig, PeftModel, get_peft_model

    if start is None:
        modules = lora.target_modules
        settings = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=0.0,  # with dropout the ratios would be off from the first token on
            target_modules=modules if isinstance(modules, str) else list(modules),
            task_type="CAUSAL_LM",
        )
        try:
            with torch.random.fork_rng(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=_PEFT_ASKS)
                torch.manual_seed(seed)
                return get_peft_model(model, settings)
        except ValueError as error:
            raise ConfigError(f"No adapter fits onto this model: {str(error).splitlines()[0]}") from error
    told = read_start(start)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_PEFT_ASKS)
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, str(start), is_trainable=True)
    except SafetensorError as error:
        raise ConfigError(f"The adapter {start} is damaged: {error}. Name another one.") from error
    except (RuntimeError, ValueError, UserWarning) as error:
        raise ConfigError(
            f"The adapter {start} does not fit onto this base model: {str(error).splitlines()[0]} It was trained on "
            f"{told.get('base_model_name_or_path') or 'another one'}. Name that as the base, or start without one."
        ) from error
