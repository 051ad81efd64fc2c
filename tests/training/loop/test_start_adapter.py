"""The folder of an adapter that a loop takes over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deeprec.agent import fingerprint_adapter
from deeprec.training import AdapterLineage
from deeprec.training.loop.start_adapter import fingerprint_taken_over, take_over

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


@pytest.mark.parametrize("base", ["org/base", "/home/somebody/base"])
@pytest.mark.parametrize("card", [None, "# Mine\n", "base_model: {base}\n"])
def test_an_adapter_is_taken_over_with_its_card_and_without_a_path(tmp_path: Path, card: str | None, base: str) -> None:
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.mkdir()
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": base}
    (given / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file({"a.lora_A.weight": torch.zeros(4, 2)}, given / "adapter_model.safetensors")
    if card is not None:
        (given / "README.md").write_text(card.format(base=base), encoding="utf-8")
    take_over(given, taken, LINEAGE)
    assert fingerprint_adapter(taken) == fingerprint_taken_over(given)
    assert (fingerprint_adapter(taken) == fingerprint_adapter(given)) is (base == "org/base")
    name = base.removeprefix("/home/somebody/")
    kept = json.loads((taken / "adapter_config.json").read_text(encoding="utf-8"))
    assert kept == settings | {"base_model_name_or_path": name}
    written = (taken / "README.md").read_text(encoding="utf-8")
    assert written == card.format(base=name) if card else f"# A LoRA adapter of {name}\n" in written
    assert not [path for path in taken.iterdir() if b"/home" in path.read_bytes()]
