"""The folder of an adapter that a loop takes over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deeprec.agent import fingerprint_adapter
from deeprec.training import AdapterLineage
from deeprec.training.loop.start_adapter import take_over

LINEAGE = AdapterLineage(
    name="rec-v1",
    parent=None,
    base="base",
    base_fingerprint="b",
    method="given",
    stage=None,
    step=0,
    suite=None,
    dataset_fingerprint="d",
    trm_fingerprint="t",
)


@pytest.mark.parametrize("card", [None, "# Mine\n"])
def test_an_adapter_is_taken_over_with_its_card_and_its_fingerprint(tmp_path: Path, card: str | None) -> None:
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.mkdir()
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "/home/somebody/base"}
    (given / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file({"a.lora_A.weight": torch.zeros(4, 2)}, given / "adapter_model.safetensors")
    if card is not None:
        (given / "README.md").write_text(card, encoding="utf-8")
    take_over(given, taken, LINEAGE)
    assert fingerprint_adapter(taken) == fingerprint_adapter(given)
    written = (taken / "README.md").read_text(encoding="utf-8")
    assert written == card or "# A LoRA adapter of base\n" in written
    assert "/home" not in written
