"""What a training loop keeps of itself in its folder, so that it can go on: its settings, and what it has come to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deeprec.training.loop_config import LoopConfig
from deeprec.trm_tool import ConfigError

STATE_FILE, CONFIG_FILE = "loop.json", "config.json"


@dataclass(slots=True, kw_only=True)
class LoopState:
    """What a loop has come to. Version 0 is the model without an adapter."""

    version: int = 0
    validation: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Name of a policy -> its measures on the validation targets."""
    best: str | None = None
    """The version with the highest NDCG@10 of the list as written."""


def keep_config(config: LoopConfig, out: Path) -> None:
    """Write the settings into the loop's folder, or check that they are those that it was begun with.

    Raises:
        ConfigError: they are others, or the folder cannot be read or written.
    """
    told = config.model_dump(mode="json")
    path = out / CONFIG_FILE
    if not path.is_file():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{out} cannot be written: {error.strerror}. Name another folder.") from error
        _write_json(path, told)
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Restore it, or name another folder.") from error
    changed = sorted(key for key in told.keys() | before.keys() if told.get(key) != before.get(key))
    if changed:
        raise ConfigError(
            f"{out} holds a loop that was begun with other settings ({', '.join(changed)} changed). "
            "Go on with those, or name another folder."
        )


def read_state(out: Path) -> LoopState:
    """What a loop has come to; one that begins where there is nothing yet.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = out / STATE_FILE
    try:
        return LoopState(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return LoopState()
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Restore it, or name another folder.") from error


def write_state(state: LoopState, out: Path) -> None:
    """Keep what a loop has come to, as a whole or not at all.

    Raises:
        ConfigError: the folder cannot be written; what was there stays.
    """
    _write_json(out / STATE_FILE, asdict(state))


def _write_json(path: Path, told: Any) -> None:
    """Write as a whole or not at all."""
    staged = path.with_suffix(".part")
    try:
        staged.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}. What was there before is untouched.") from error
