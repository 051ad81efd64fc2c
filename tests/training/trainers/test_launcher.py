"""What a launcher of several processes may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from deeprec.training import DpoConfig, GrpoConfig, SftConfig, train_dpo, train_grpo, train_sft
from deeprec.training.trainers.launcher import refuse_several
from deeprec.trm_tool import ConfigError


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "started with DeepSpeed.*--use_fsdp --fsdp_version 2"),
        ({"ACCELERATE_USE_FSDP": "true"}, "first version of FSDP.*--fsdp_version 2"),
    ],
)
def test_a_launcher_that_promises_cannot_be_kept_with_is_refused(
    launcher: Mapping[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"WORLD_SIZE": "2", **launcher}.items():
        monkeypatch.setenv(name, value)
    for train, config in ((train_grpo, GrpoConfig()), (train_sft, SftConfig()), (train_dpo, DpoConfig())):
        with pytest.raises(ConfigError, match=message):
            train([], base=tmp_path, out=tmp_path, config=config)  # type: ignore[arg-type, operator]


def test_dpo_needs_the_whole_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"DPO was started with FSDP.*--multi_gpu"):
        train_dpo([], base=tmp_path, out=tmp_path)


def test_what_takes_one_process_names_what_takes_several(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_several("The loop")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(ConfigError, match=r"The loop was started in 8 processes, but takes one.*`deeprec train grpo`"):
        refuse_several("The loop")
