"""What a training tells of its steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.training.trainers.alarms import Alarm
from deeprec.trm_tool.errors import DeepRecError

LOG = "log.jsonl"


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


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of a training's log: one for each optimizer step, and one for each validation.

    What a kill left half written is passed over.
    """
    path = out / LOG
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
