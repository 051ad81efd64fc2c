"""The adapter that a loop starts from: checked before anything runs, and copied into the loop's folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from deeprec.agent.policy.weight_fingerprints import ADAPTER_FILES, fingerprint_adapter, same_weights
from deeprec.agent.serving.local_adapters import read_adapter
from deeprec.agent.serving.servers import MAX_LORA_RANK
from deeprec.training.trainers.adapter_lineage import LINEAGE_FILE, AdapterLineage, read_lineage, write_lineage
from deeprec.training.trainers.model_folders import (
    CARD,
    adapter_card,
    name_of_base,
    portable_config,
    read_adapter_config,
    write_folder,
)
from deeprec.training.trainers.policy_model import load_config
from deeprec.trm_tool import ConfigError


def check_given_adapter(folder: Path, base: Path | str, base_fingerprint: str) -> None:
    """Check that an adapter can be served and trained on.

    Args:
        folder: the adapter's folder.
        base: the base model, of which only the configuration is read.
        base_fingerprint: the base model's fingerprint, which the adapter's lineage must have where there is one.

    Raises:
        ConfigError: the adapter is missing, damaged, of another base model, or of too high a rank.
    """
    read_adapter_config(folder)
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_config(base))
    rank = max(layer.down.shape[0] for layer in read_adapter(folder, model).values())
    if rank > MAX_LORA_RANK:
        raise ConfigError(
            f"The adapter in {folder} has rank {rank}; servers take {MAX_LORA_RANK} at most. Train one of that rank."
        )
    other = read_lineage(folder).base_fingerprint if (folder / LINEAGE_FILE).is_file() else base_fingerprint
    if not same_weights(other, base_fingerprint):
        raise ConfigError(
            f"The adapter in {folder} was trained on another base model: {other}, and {base} is {base_fingerprint}. "
            "Name that model as base, or another adapter."
        )


def fingerprint_taken_over(given: Path) -> str:
    """Compute the fingerprint that an adapter has once it is taken over.

    Raises:
        ConfigError: its settings cannot be read.
    """
    return fingerprint_adapter(given, config=portable_config(given))


def take_over(given: Path, folder: Path, lineage: AdapterLineage) -> None:
    """Copy an adapter under a new lineage, whose settings keep the adapter's own; the folder appears atomically.

    Its card comes with it; one without a card gets one. A base model in a folder is named without its path, which
    changes the fingerprint (`fingerprint_taken_over`); all else stays as it is.

    Raises:
        ConfigError: the folder cannot be written, or the adapter's settings cannot be read.
    """
    base = str(read_adapter_config(given).get("base_model_name_or_path") or "")
    own = {"lineage": (given / LINEAGE_FILE).read_text("utf-8")} if (given / LINEAGE_FILE).is_file() else {}

    def write(staged: Path) -> None:
        for name in ADAPTER_FILES:
            shutil.copyfile(given / name, staged / name)
        (staged / "adapter_config.json").write_bytes(portable_config(given))
        if (given / CARD).is_file():
            card = (given / CARD).read_text("utf-8", errors="replace")
            card = card.replace(base, name_of_base(base)) if base else card
        else:
            card = adapter_card(read_adapter_config(given), None)
        (staged / CARD).write_text(card, encoding="utf-8")
        write_lineage(staged, replace(lineage, settings={**lineage.settings, **own}))

    write_folder(folder, write)
