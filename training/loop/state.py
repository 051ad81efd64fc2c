"""The progress of a training loop, in the file by which it can continue after an interruption."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import unlabelled
from deeprec.trm_tool.folders import write_file

STATE_FILE, CONFIG_FILE, WARM_START = "loop.json", "config.json", "warm-start"


@dataclass(slots=True, kw_only=True)
class LoopState:
    """The progress of a loop. Version 0 is the model without an adapter."""

    version: int = 0
    validation: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Name of a policy -> its measures on the validation targets."""
    best: str | None = None
    """The version that no later one was better than, by the paired interval of the NDCG of the list as written."""
    identity: str = ""
    """8 random hex digits that distinguish its adapters from those of other loops on a server; none in loops from
    before there were any."""
    steps: dict[str, int] = field(default_factory=dict)
    """Stage -> its steps, as the loop last went on with."""


def read_state(out: Path) -> LoopState:
    """Read the progress of a loop; in an empty folder it is that of a loop that begins.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = out / STATE_FILE
    try:
        return TypeAdapter(LoopState).validate_python(read_json(path))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        why = unlabelled(fault["msg"]).rstrip(".")
        raise ConfigError(f"{path}: {where}: {why}. Restore it, or name another folder.") from error
    except FileNotFoundError:
        return LoopState()
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Restore it, or name another folder.") from error


def write_state(state: LoopState, out: Path) -> None:
    """Write the progress of a loop.

    Raises:
        ConfigError: the folder cannot be written; what was there stays.
    """
    write_file(out / STATE_FILE, json.dumps(asdict(state), indent=2) + "\n")
