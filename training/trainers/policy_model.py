"""The language model that is trained: loaded with an adapter or whole, with the limits that its data have to keep."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from deeprec.agent.policy.weight_fingerprints import (
    fingerprint_adapter,
    fingerprint_base,
    id_and_commit,
    same_weights,
)
from deeprec.agent.serving.adapter_loading import check_adapter_folder
from deeprec.training.rollouts.rollout_filter import PolicyWeights, loop_identity, policy_version
from deeprec.training.trainers.adapter_lineage import LINEAGE_FILE, read_lineage
from deeprec.training.trainers.model_folders import read_adapter_config
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.serving.server_process import Dtype
    from deeprec.training.trainers.trainer_config import AdapterConfig, Device

_PEFT_ASKS = "`is_gradient_checkpointing` is deprecated"
"""The warning of transformers 5 about an attribute that PEFT 0.21 reads."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyModel:
    """A causal language model, ready to be trained, and the limits that its data have to keep."""

    model: Any
    """`peft.PeftModel`, or a transformers model where all weights are trained."""
    tokenizer: Any
    vocabulary: int
    """Token ids go from 0 to below this."""
    context: int
    """Tokens of the longest sequence that the model can read."""
    fingerprint: str
    """The fingerprint of the base model (`fingerprint_base`)."""
    on_gpu: bool
    in_bfloat16: bool
    """Whether the model computes in bfloat16."""


def load_policy(
    base: Path | str,
    *,
    lora: AdapterConfig | None,
    start: Path | None = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: int = 0,
) -> PolicyModel:
    """Load a model to train.

    Args:
        base: A model's folder, or a Hugging Face id. Only safetensors are read, and no code from the folder runs.
        lora: The settings of a new adapter, which has no effect until it is trained; None trains all weights.
        start: An adapter to go on from. It keeps its own rank and layers, whatever `lora` says.
        device: "auto" takes a GPU where there is one.
        dtype: as `OptimizerConfig.dtype`. In bfloat16 the frozen weights under an adapter are stored so; trained
            weights are always float32, because a step of 1e-6 is lost in bfloat16.
        seed: Decides the weights of a new adapter.

    Raises:
        ConfigError: there is no such model or adapter, the model is not a causal language model, or the adapter belongs
            to another model.
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


def read_policy_weights(base: Path | str, start: Path | None) -> PolicyWeights:
    """Read which weights a training starts from: a base model, and an adapter on it where one is given.

    Raises:
        ConfigError: there is no such model or adapter.
    """
    _check_base(base)
    if start is not None:
        check_adapter_folder(start)
    name = None if start is None or not (start / LINEAGE_FILE).is_file() else read_lineage(start).name
    return PolicyWeights(
        base=read_base_fingerprint(base),
        adapter=None if start is None else fingerprint_adapter(start),
        version=0 if start is None else None if name is None else policy_version(name),
        identity=loop_identity(name),
    )


def read_base_fingerprint(base: Path | str, *, begun: object = None) -> str:
    """Read the fingerprint of a base model, whose weights are not loaded.

    Args:
        base: A model's folder, or a Hugging Face id.
        begun: The fingerprint that a loop or the like was begun with, of whichever kind. It is returned where it is one
            of `base`, so that what an earlier version of deeprec began goes on under it.

    Raises:
        ConfigError: there is no such model, or it has no configuration.
    """
    config = None if Path(base).is_dir() else load_config(base)
    own = fingerprint_base(base, config)
    if not isinstance(begun, str):
        return own
    if config is not None and "@" in begun:
        own = id_and_commit(base, config)
    return begun if same_weights(own, begun) else own


def load_config(base: Path | str) -> Any:
    """Load a base model's configuration, without its weights.

    Raises:
        ConfigError: there is no such model, or it has no configuration.
    """
    require_trl()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(base))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{base} has no configuration of a model: {str(error).splitlines()[0]} Name a folder or an id with one."
        ) from error


def load_tokenizer(base: Path | str) -> Any:
    """Load a base model's tokenizer, without its weights.

    Raises:
        ConfigError: there is no such model, or it has no tokenizer.
    """
    require_trl()
    from transformers import AutoTokenizer

    _check_base(base)
    try:
        return AutoTokenizer.from_pretrained(str(base))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{base} has no tokenizer that can be loaded: {str(error).splitlines()[0]} Name the model that wrote the "
            "runs."
        ) from error


def require_trl() -> None:
    """Raise ConfigError where TRL or a package that it needs is not installed."""
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
        raise ConfigError(f"{base} is not a model: it has no config.json. Name the folder of a Hugging Face model.")
    if not folder.exists() and (folder.is_absolute() or len(folder.parts) != 2):
        raise ConfigError(
            f"There is no model at {base}. Name its folder, or an id such as Qwen/Qwen2.5-7B-Instruct. "
            "`deeprec llm pull` writes the embedded one."
        )


def _with_adapter(model: Any, lora: AdapterConfig, start: Path | None, seed: int) -> Any:
    from peft import LoraConfig, PeftModel, get_peft_model

    if start is None:
        modules = lora.target_modules
        new = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=0.0,  # dropout would change the importance ratios from the first token on
            target_modules=modules if isinstance(modules, str) else list(modules),
            task_type="CAUSAL_LM",
        )
        try:
            with torch.random.fork_rng(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=_PEFT_ASKS)
                torch.manual_seed(seed)
                return get_peft_model(model, new)
        except ValueError as error:
            raise ConfigError(f"No adapter fits this model: {str(error).splitlines()[0]}") from error
    settings = read_adapter_config(start)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_PEFT_ASKS)
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, str(start), is_trainable=True)
    except SafetensorError as error:
        raise ConfigError(f"The adapter {start} is damaged: {error}. Name another one.") from error
    except (RuntimeError, ValueError, UserWarning) as error:
        raise ConfigError(
            f"The adapter {start} does not fit this base model: {str(error).splitlines()[0]} It was trained on "
            f"{settings.get('base_model_name_or_path') or 'another one'}. Name that as the base, or start without an "
            "adapter."
        ) from error
