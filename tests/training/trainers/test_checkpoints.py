from __future__ import annotations

import json
from pathlib import Path

import pytest

from deeprec.training.trainers.checkpoints import find_checkpoint
from deeprec.trm_tool import ConfigError


def test_a_checkpoint_of_before_resumes_under_a_later_kind_of_fingerprint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "step-000001"
    checkpoint.mkdir()
    state = {"step": 1, "identity": {"method": "sft", "base": "a"}}
    (checkpoint / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert find_checkpoint(tmp_path, {"method": "sft", "base": "a-b"}) == checkpoint
    for other in ({"base": "c-b"}, {"base": "a-b", "seed": 1}):
        with pytest.raises(ConfigError, match=r"a checkpoint of another training: (base|seed) was"):
            find_checkpoint(tmp_path, {"method": "sft", **other})
