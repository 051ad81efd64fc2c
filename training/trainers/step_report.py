"""Reports of a training's steps, to its caller and in its log file."""

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


def read_log(out: Path) -> list[dict[str, Any]]:
    """Read a training's log: one line for each optimizer step, and one for each validation.

    A line that a killed process left incomplete is skipped.
    """
    path = out / LOG
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
