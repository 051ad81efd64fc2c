"""The report of an optimizer step to the caller of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deeprec.training.trainers.alarms import Alarm
from deeprec.trm_tool.errors import DeepRecError


class TrainingError(DeepRecError):
    """A training cannot go on. Its last checkpoint is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """The results of an optimizer step."""

    steps_done: int
    """Optimizer steps so far, this one included."""
    steps: int
    """Optimizer steps of the whole training."""
    metrics: Mapping[str, float]
    """Metric -> its value, as in the log."""
    alarms: tuple[Alarm, ...]
    stopped: str | None
    """The reason why training ends before its last step; None where it goes on."""
    save_adapter: Callable[[Path], None]
    """Writes the policy as it is after this step; an existing folder is replaced atomically."""
