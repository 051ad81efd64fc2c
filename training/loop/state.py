"""The files by which a training loop can continue after an interruption: its settings and its progress."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.folders import write_file

STATE_FILE, CONFIG_FILE, WARM_START = "loop.json", "config.json", "warm-start"
LOCK_FILE = "loop.lock"


@dataclass(slots=True, kw_only=True)
class LoopState:
    """The progress of a loop. Version 0 is the model without an adapter."""

    version: int = 0
    validation: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Name of a policy -> its measures on the validation targets."""
    best: str | None = None
    """The version with the highest NDCG of the list as written."""
    identity: str = ""
    """8 random hex digits that tell its adapters from those of other loops on a server; none in loops from before they
    were given out."""


def course_id(course: Mapping[str, Any]) -> str:
    """Fingerprint what decides a loop's course, in 8 hex digits. They are part of the labels of its runs."""
    return hashlib.sha256(json.dumps(course, sort_keys=True).encode()).hexdigest()[:8]


def begun_course(out: Path) -> dict[str, Any]:
    """Read the course that a loop was begun with; it is empty where there is no loop.

    A loop that goes on keeps what its file leaves out, whatever defaults a later version has.

    Raises:
        ConfigError: the file cannot be read.
    """
    return _read_course(out / CONFIG_FILE) if (out / CONFIG_FILE).is_file() else {}


def _read_course(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Restore it, or name another folder.") from error


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Enter the block as the only loop in a folder, which is made where there is none.

    The lock ends with the process. Windows and some network file systems have none; there the block is entered at once.

    Raises:
        ConfigError: another loop runs in the folder, or it holds other files or cannot be written.
    """
    if not (out / CONFIG_FILE).is_file() and out.is_dir() and any(path.name != LOCK_FILE for path in out.iterdir()):
        raise ConfigError(f"{out} holds other files. Name a new or an empty folder, or that of a loop.")
    write_file(out / LOCK_FILE, "") if not (out / LOCK_FILE).is_file() else None
    with (out / LOCK_FILE).open() as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another process runs the loop in {out}. Wait for its end, or name another folder."
            ) from error
        except (ImportError, OSError):
            pass
        yield


def keep_course(course: Mapping[str, Any], out: Path) -> None:
    """Write what decides a loop's course into its folder, or check that it is what the loop was begun with.

    Args:
        course: settings and fingerprints, as JSON.
        out: the folder.

    Raises:
        ConfigError: the folder has another course, or cannot be read or written.
    """
    path = out / CONFIG_FILE
    if not path.is_file():
        write_file(path, json.dumps(course, indent=2) + "\n")
        return
    before = _read_course(path)
    changed = sorted(key for key in course.keys() | before.keys() if course.get(key) != before.get(key))
    if changed:
        raise ConfigError(
            f"{out} holds a loop that was begun with other settings ({', '.join(changed)} changed). "
            "Go on with those, or name another folder."
        )


def read_state(out: Path) -> LoopState:
    """Read the progress of a loop; in an empty folder it is that of a loop that begins.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = out / STATE_FILE
    try:
        return LoopState(**read_json(path))
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
