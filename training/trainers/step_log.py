"""The log file of a training: JSON lines, one for each optimizer step and one for each validation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import write_file

LOG = "log.jsonl"


def read_log(out: Path) -> list[dict[str, Any]]:
    """Read the log in a training's folder; a line that a killed process left incomplete is skipped."""
    path = out / LOG
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def resume_log(out: Path, step: int) -> list[dict[str, Any]]:
    """Read the log up to a step, and delete the lines that a killed training wrote after it."""
    kept = [line for line in read_log(out) if line["step"] <= step]
    write_file(out / LOG, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def append_line(out: Path, line: Mapping[str, Any]) -> None:
    """Append a line to the log.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        with (out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{out / LOG} cannot be written: {error.strerror}. Free space and start again: training resumes from its "
            "last checkpoint."
        ) from error


def json_value(value: Any) -> Any:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
