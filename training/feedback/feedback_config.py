"""The settings of recommender feedback, and the guard that a folder goes on with those that it began with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deeprec.training.trainers.trainer_config import Device
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import write_file

BACKBONES = ("trm", "sasrec")
"""The sequential recommenders that knowledge is added to."""
SETTINGS = "feedback.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackConfig:
    """How a policy is tuned by the rankings that its knowledge leads to.

    Raises:
        ConfigError: a value is out of its range.
    """

    name: str = "feedback"
    """The start of the suites of its runs, which a digest of the settings completes."""
    backbones: tuple[str, ...] = BACKBONES
    """The recommenders that are augmented and measured; the first one is the reward model."""
    requests: bool = False
    """Whether the people say a made sentence, or only have their histories."""
    people: int = 300
    """People whose knowledge trains recommenders and policy."""
    test_people: int = 400
    """People whom the rows are measured on."""
    group_size: int = 4
    """Pieces of knowledge of each person, to pair and to choose the best of."""
    guided: bool = True
    """Whether the policy is held to factors and values of the catalogue; a large model may write freely."""
    epochs: int = 20
    """Epochs of each training of a recommender, at most."""
    margin: float = 0.0
    """The smallest gap of two scores that makes a pair."""
    learning_rate: float | None = None
    """The learning rate of DPO; None is the trainer's own."""
    dpo_epochs: int = 1
    seed: int = 0
    concurrency: int = 32
    """Pieces of knowledge in flight at once."""
    device: Device = "auto"

    def __post_init__(self) -> None:
        if not self.backbones or len(set(self.backbones)) < len(self.backbones) or set(self.backbones) - {*BACKBONES}:
            raise ConfigError(
                f"FeedbackConfig.backbones is {', '.join(map(repr, self.backbones)) or 'empty'}. Name each of "
                f"{' and '.join(BACKBONES)} at most once, and one at least."
            )
        for name in ("people", "test_people", "epochs", "dpo_epochs", "concurrency"):
            if getattr(self, name) < 1:
                raise ConfigError(f"FeedbackConfig.{name} is {getattr(self, name)}. Set it to 1 or more.")
        if self.group_size < 2:
            raise ConfigError(
                f"FeedbackConfig.group_size is {self.group_size}: one piece of knowledge is neither best nor worst. "
                "Set it to 2 or more."
            )

    def course(self, **fingerprints: str) -> dict[str, Any]:
        """The settings that decide the outcome, and fingerprints of what they meet, as JSON."""
        left_out = {"concurrency", "device"}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in left_out
        } | fingerprints

    def label(self, course: dict[str, Any]) -> str:
        """The start of the suites under which the runs are stored."""
        digest = hashlib.sha256(json.dumps(course, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


def begun_settings(out: Path) -> dict[str, Any]:
    """Read the settings that a folder began with; they are empty where it is new.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = out / SETTINGS
    if not path.exists():
        return {}
    try:
        began = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Name a new folder with --out.") from None
    return began if isinstance(began, dict) else {}


def keep_settings(course: dict[str, Any], out: Path) -> None:
    """Write the settings of a new folder; refuse others than those that a folder began with.

    Raises:
        ConfigError: names the settings that differ, or what is wrong with the file.
    """
    path = out / SETTINGS
    if not path.exists():
        write_file(path, json.dumps(course, indent=2, sort_keys=True) + "\n")
        return
    began = begun_settings(out)
    other = [name for name in sorted({*began, *course}) if began.get(name) != course.get(name)]
    if other:
        raise ConfigError(
            f"{out} began with other settings: {other[0]} was {str(began.get(other[0]))[:80]} and is "
            f"{str(course.get(other[0]))[:80]}. Use those, or name a new folder with --out."
        )
