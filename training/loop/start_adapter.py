"""The adapter that a loop begins with: checked before anything is run, and copied, so that the loop has its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from deeprec.agent.serving.adapter_loading import ADAPTER_FILES
from deeprec.agent.serving.local_adapters import read_adapter
from deeprec.agent.serving.servers import MAX_LORA_RANK
from deeprec.training.trainers.adapter_lineage import LINEAGE_FILE, AdapterLineage, read_lineage, write_lineage
from deeprec.training.trainers.model_folders import read_adapter_config, write_folder
from deeprec.training.trainers.policy_model import load_config
from deeprec.trm_tool import ConfigError


def check_given_adapter(folder: Path, base: Path | str, base_fingerprint: str) -> None:
    """Raise ConfigError where an adapter cannot be served and trained on: damaged, of another model, too high a rank.

    Args:
        folder: the adapter's.
        base: the base model, of which only the configuration is read.
        base_fingerprint: what the adapter's lineage, where it has one, has to say of its base.
    """
    read_adapter_config(folder)
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_config(base))
    rank = max(layer.down.shape[0] for layer in read_adapter(folder, model).values())
    if rank > MAX_LORA_RANK:
        raise ConfigError(
            f"The adapter in {folder} has rank {rank}; servers keep slots for {MAX_LORA_RANK}. Train one of that rank."
        )
    if (folder / LINEAGE_FILE).is_file() and (told := read_lineage(folder).base_fingerprint) != base_fingerprint:
        raise ConfigError(
            f"The adapter in {folder} was trained on another base model: {told}, and {base} is {base_fingerprint}. "
            "Name that model as base, or another adapter."
        )


def take_over(given: Path, folder: Path, lineage: AdapterLineage) -> None:
    """Copy an adapter with a lineage, which keeps the one that it had; there is a whole folder or none.

    Raises:
        ConfigError: it cannot be written.
    """
    had = {"lineage": (given / LINEAGE_FILE).read_text("utf-8")} if (given / LINEAGE_FILE).is_file() else {}

    def write(staged: Path) -> None:
        for name in ADAPTER_FILES:
            shutil.copyfile(given / name, staged / name)
        write_lineage(staged, replace(lineage, settings={**lineage.settings, **had}))

    write_folder(folder, write)
