"""What a training tells of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deeprec.training.alarms import Alarm
from deeprec.trm_tool.errors import DeepRecError


class TrainingError(DeepRecError):
    """A training that cannot go on. What it had reached at its last checkpoint is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What an optimizer step came to."""

    steps_done: int
    """Optimizer steps so far, this one included."""
    steps: int
    """Of the whole training."""
    metrics: Mapping[str, float]
    """As in the log."""
    alarms: tuple[Alarm, ...]
    stopped: str | None
    """Why training ends here, before its last step; None where it goes on."""
    save_adapter: Callable[[Path], None]
    """Write the policy as it is after this step into a folder that is not there, or is replaced as a whole."""
