"""Folders of adapters and models: written atomically, and checked before use."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from deeprec.agent.serving.adapter_loading import check_adapter_folder
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import let_others_read, replace_folder

if TYPE_CHECKING:
    import torch

    from deeprec.training.trainers.policy_model import PolicyModel


CARD = "README.md"


def save_adapter(
    model: Any,
    folder: Path,
    training: Mapping[str, Any] | None = None,
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model's LoRA adapter as PEFT and vLLM read it: `adapter_config.json` and `adapter_model.safetensors`.

    The folder is replaced atomically: a reader finds the old adapter or the new one, and the old one stays where the
    disk is full. It can be moved to another machine: a base model in a folder is named by the folder's name, without
    its path. `README.md` is a card for people.

    Args:
        model: A PEFT model.
        folder: Where to.
        training: What the training depended on, as JSON, for the card; None where it is not known.
        weights: The trained weights by their names in the model; None takes the model's own. They are given where the
            model's are spread over processes.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def write(staged: Path) -> None:
        # The reference of a KL term is an adapter too.
        model.save_pretrained(staged, save_embedding_layers=False, selected_adapters=["default"], state_dict=weights)
        path = staged / "adapter_config.json"
        settings = dict(read_json(path))
        settings["base_model_name_or_path"] = name_of_base(settings["base_model_name_or_path"])
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (staged / CARD).write_text(adapter_card(settings, training), encoding="utf-8")  # PEFT's is an empty form

    write_folder(folder, write)


def name_of_base(base: Path | str | None) -> str:
    """Name a base model for another machine: by the name of its folder, without the path, or by its id."""
    name = str(base or "")
    return Path(name).name if Path(name).is_absolute() or Path(name).is_dir() else name


def portable_config(adapter: Path) -> bytes:
    """Read an adapter's `adapter_config.json` with its base model named as by `name_of_base`.

    Raises:
        ConfigError: as for `read_adapter_config`.
    """
    settings = read_adapter_config(adapter)
    base = settings.get("base_model_name_or_path")
    if name_of_base(base) == (base or ""):
        return (adapter / "adapter_config.json").read_bytes()
    changed = settings | {"base_model_name_or_path": name_of_base(base)}
    return (json.dumps(changed, indent=2, sort_keys=True) + "\n").encode()


def adapter_card(settings: Mapping[str, Any], training: Mapping[str, Any] | None) -> str:
    """Write the model card of an adapter: what it goes on, how it was trained, and how it is loaded.

    Args:
        settings: those of its `adapter_config.json`. A base model in a folder is named by the folder's name.
        training: as for `save_adapter`.
    """
    base = name_of_base(settings["base_model_name_or_path"])
    known = {"base_model": base, "library_name": "peft", "pipeline_tag": "text-generation", "tags": ["lora", "deeprec"]}
    trained = (
        "It is not known how it was trained."
        if training is None
        else f"Trained with `deeprec train {training.get('method')}` on:\n\n"
        f"```json\n{json.dumps(training, indent=2, sort_keys=True)}\n```"
    )
    return f"""---
{json.dumps(known, indent=2)}
---

# A LoRA adapter of {base}

Rank {settings["r"]}, alpha {settings["lora_alpha"]}. It fits the base model {base} alone.

{trained}

With PEFT: `PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), FOLDER)`. With vLLM, start the server
with `--enable-lora --max-lora-rank {settings["r"]} --lora-modules NAME=FOLDER`, or load the adapter into a running one:
`deeprec llm load FOLDER --name NAME`.
"""


def save_model(policy: PolicyModel, folder: Path, *, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write a whole model with its tokenizer; the folder is replaced, and `weights` are given, as by `save_adapter`.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def write(staged: Path) -> None:
        policy.model.save_pretrained(staged, state_dict=weights)
        policy.tokenizer.save_pretrained(staged)

    write_folder(folder, write)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Call `write` with a new folder, make it readable by all, and put it in the place of `folder` atomically.

    Raises:
        ConfigError: the folder cannot be written. What was there before is unchanged.
    """
    folder = folder.absolute()
    staged = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        write(staged)
        let_others_read(staged)  # the server may run as another user
        replace_folder(staged, folder)
    except Exception as error:
        full = _write_fault(error)
        if full is None:
            raise
        raise ConfigError(
            f"{folder} cannot be written: {full}. What was there before is unchanged. Free space, or name another "
            "folder, and start again: training resumes from its last checkpoint."
        ) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)


def _write_fault(error: Exception) -> str | None:
    """The fault of the disk that an error reports, else None; safetensors has an error class of its own."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, SafetensorError) else None


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read the settings of an adapter that training can go on from.

    Raises:
        ConfigError: there is no adapter, it is damaged, or it cannot be trained on.
    """
    check_adapter_folder(folder)
    try:
        settings = dict(read_json(folder / "adapter_config.json"))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"The adapter {folder} is damaged: adapter_config.json: {error}. Name another one."
        ) from error
    if settings.get("peft_type") != "LORA" or settings.get("lora_dropout"):
        raise ConfigError(
            f"{folder} is an adapter of type {settings.get('peft_type')} with dropout {settings.get('lora_dropout')}; "
            "only LoRA without dropout can be trained on. Start from a new adapter."
        )
    return settings
