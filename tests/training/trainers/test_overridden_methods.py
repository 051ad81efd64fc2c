"""What the trainers override of TRL and transformers: the list is complete, and fails by name where one moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from trl import GRPOTrainer, SFTTrainer

from deeprec.training.trainers.grpo_trainer import LoggedGrpoTrainer
from deeprec.training.trainers.overridden_methods import (
    OVERRIDDEN_METHODS,
    TESTED_WITH,
    check_overridden_methods,
    find_moved_methods,
)
from deeprec.training.trainers.sft_trainer import RolloutSftTrainer
from deeprec.training.trainers.step_trainer import on_one_device
from deeprec.trm_tool import ConfigError

CONSTRAINTS = Path(__file__).parents[3] / "requirements" / "constraints.txt"


@pytest.mark.parametrize("trainer", [LoggedGrpoTrainer, RolloutSftTrainer])
def test_every_override_is_in_the_list(trainer: type) -> None:
    [theirs] = [base for base in trainer.__mro__ if base in (GRPOTrainer, SFTTrainer)]
    ours = [base for base in trainer.__mro__ if base.__module__.startswith("deeprec.")]
    overridden = {
        name
        for base in ours
        for name, value in vars(base).items()
        if callable(value) and hasattr(theirs, name) and not (name.startswith("__") and name.endswith("__"))
    }
    assert overridden == {method.name for method in OVERRIDDEN_METHODS if theirs in method.trainers}


def test_the_installed_packages_have_what_is_overridden() -> None:
    assert find_moved_methods() == []
    check_overridden_methods()


@pytest.mark.parametrize("method", OVERRIDDEN_METHODS, ids=lambda method: str(method.name))
def test_a_method_that_a_release_renames_is_named(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for trainer in method.trainers:
        for base in trainer.__mro__:
            if method.name in vars(base):
                monkeypatch.delattr(base, method.name)
    assert any(f"has no method {method.name}." in moved for moved in find_moved_methods())
    with pytest.raises(ConfigError, match=f"{method.name}.* pip install trl=="):
        check_overridden_methods()


def other_parameters(self: Any, batch: Any, model: Any) -> None: ...


def calls_nothing(self: Any, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("owner", "name", "replacement", "fault"),
    [
        (GRPOTrainer, "_compute_loss", other_parameters, r"takes \(batch, model, …\) instead of \(model, inputs, …\)"),
        (GRPOTrainer, "_compute_loss", calls_nothing, r"no longer uses prompt_ids, .*old_per_token_logps"),
        (GRPOTrainer, "compute_loss", calls_nothing, r"GRPOTrainer.compute_loss no longer calls .*_compute_loss"),
        (transformers.Trainer, "_run_epoch", calls_nothing, r"Trainer._run_epoch no longer calls .*_load_rng_state"),
    ],
)
def test_other_parameters_callers_or_contents_are_named(
    owner: type, name: str, replacement: Callable[..., None], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises(ConfigError, match=fault):
        check_overridden_methods()


def test_further_gpus_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    monkeypatch.setattr(arguments, "_n_gpu", 4)
    assert on_one_device(arguments).n_gpu == 1


def test_the_versions_that_an_error_recommends_are_those_that_are_tested() -> None:
    assert set(TESTED_WITH.split()) <= set(CONSTRAINTS.read_text(encoding="utf-8").splitlines())
