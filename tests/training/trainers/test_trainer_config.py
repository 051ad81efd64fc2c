"""Settings that cannot work are refused before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from deeprec.training import DpoConfig, GrpoConfig, SftConfig
from deeprec.training.trainers.trainer_config import OptimizerConfig
from deeprec.trm_tool import ConfigError


@pytest.mark.skipif(find_spec("wandb") is not None, reason="needs an environment without wandb")
@pytest.mark.parametrize("trainer", [SftConfig, GrpoConfig, DpoConfig])
def test_a_tracker_that_is_not_installed_is_named_with_its_package(trainer: type[OptimizerConfig]) -> None:
    with pytest.raises(ConfigError, match=rf"{trainer.__name__}.report_to names 'wandb'.*pip install wandb"):
        trainer(report_to=("wandb",))


def test_a_tracker_that_transformers_does_not_know_is_refused_with_those_it_does() -> None:
    with pytest.raises(ConfigError, match=r"report_to names 'wandbb'.*tensorboard.*wandb"):
        SftConfig(report_to=("wandbb",))
