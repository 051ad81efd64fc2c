"""The course of a training loop: the settings that decide its outcome, and what may change when it goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeprec.training.loop.state import CONFIG_FILE, LoopState
from deeprec.training.trainers.lock_files import lock_file
from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.folders import write_file

LOCK_FILE = "loop.lock"
_MAY_CHANGE = frozenset(
    {
        *("artifact", "data", "base", "requests", "validation_requests"),  # their fingerprints are in the course
        *("grpo.report_to", "grpo.micro_batch_tokens", "grpo.checkpoint_every", "grpo.max_first_gap"),
        "validation.every",
    }
)
"""Settings with which a loop can go on when they have changed."""


def course_id(course: Mapping[str, Any]) -> str:
    """Fingerprint what decides a loop's course, in 8 hex digits. They are part of the labels of its runs.

    The people of the validation count, not the difference that they were chosen for.
    """
    validation = {name: value for name, value in course.get("validation", {}).items() if name != "difference"}
    decisive = {**course, "validation": validation} if "validation" in course else course
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]


def begun_course(out: Path) -> dict[str, Any]:
    """Read the course that a loop was begun with; it is empty where there is no loop.

    A loop that goes on keeps what its file leaves out, whatever defaults a later version has.

    Raises:
        ConfigError: the file cannot be read.
    """
    return _read_course(out / CONFIG_FILE) if (out / CONFIG_FILE).is_file() else {}


def _read_course(path: Path) -> dict[str, Any]:
    try:
        course = dict(read_json(path))
        for plan in course.get("stages", []):
            str(plan["stage"]), int(plan.get("steps", 0)), dict(plan)
        dict(course.get("agent", {})), dict(course.get("validation", {}))
        return course
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Restore it, or name another folder.") from error


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Enter the block as the only loop in a folder, which is made where there is none; it is as for `lock_file`.

    Raises:
        ConfigError: another loop runs in the folder, or it holds other files or cannot be written.
    """
    if not (out / CONFIG_FILE).is_file() and out.is_dir() and any(path.name != LOCK_FILE for path in out.iterdir()):
        raise ConfigError(f"{out} holds other files. Name a new or an empty folder, or that of a loop.")
    with lock_file(out / LOCK_FILE, busy=f"Another process runs the loop in {out}."):
        yield


def keep_course(course: Mapping[str, Any], out: Path, state: LoopState, *, has_begun: Callable[[str], bool]) -> None:
    """Write what decides a loop's course into its folder, or check that the loop can go on with it.

    A loop may go on with other logging, another rhythm of validation, other folders of the same content, and more steps
    of a stage that no other stage has followed yet.

    Args:
        course: settings and fingerprints, as JSON.
        out: the folder.
        state: the progress of the loop; the steps of its stages are noted in it.
        has_begun: stage -> whether the loop has collected runs for it.

    Raises:
        ConfigError: the folder has another course, or cannot be read or written.
    """
    path = out / CONFIG_FILE
    steps = {str(plan["stage"]): int(plan["steps"]) for plan in course["stages"]}
    if not path.is_file():
        write_file(path, json.dumps(course, indent=2) + "\n")
        state.steps = steps
        return
    begun = _read_course(path)
    before, now = _settings(begun), _settings(course)
    if "validation.difference" not in before:  # the courses of older loops do not name it
        now.pop("validation.difference", None)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        raise ConfigError(
            f"{out} holds a loop that was begun with other settings ({', '.join(changed)} changed), which decide its "
            "course. Go on with those, or name another folder. Steps, logging, validation.every and paths may change."
        )
    planned = state.steps or {str(plan["stage"]): int(plan["steps"]) for plan in begun.get("stages", [])}
    _check_steps(planned, steps, out, state.version - (1 if _begins_with_adapter(begun) else 0), has_begun)
    state.steps = steps


def _check_steps(
    planned: Mapping[str, int], steps: Mapping[str, int], out: Path, done: int, has_begun: Callable[[str], bool]
) -> None:
    """Raise ConfigError where other steps of a stage would change what the loop has done; `done` are steps of all."""
    names = list(planned)
    for name, following in zip(names, [*names, None][1:], strict=True):
        own = min(max(done, 0), planned[name])
        done -= planned[name]
        # Its runs may have been pruned, so its versions count too.
        if steps[name] != planned[name] and following is not None and (done > 0 or has_begun(following)):
            raise ConfigError(
                f"{out} holds a loop whose stage {name} had {planned[name]} steps, and the stage {following} has "
                f"begun: it cannot have {steps[name]} now. Go on with {planned[name]}, or name another folder."
            )
        if steps[name] < own:
            raise ConfigError(
                f"{out} holds a loop that has done {own} steps of the stage {name}, and {steps[name]} are asked for. "
                "Ask for as many or more, or name another folder."
            )


def _begins_with_adapter(course: Mapping[str, Any]) -> bool:
    return course.get("warm_start") is not None or course.get("start_fingerprint") is not None


def _settings(course: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a course, by their path such as `stages.interaction.users`."""
    flat: dict[str, Any] = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, part in value.items():
                add(f"{path}.{name}" if path else str(name), part)
        elif path == "stages":
            flat["stages"] = [plan["stage"] for plan in value]
            for plan in value:
                add(f"stages.{plan['stage']}", {name: part for name, part in plan.items() if name != "steps"})
        elif path not in _MAY_CHANGE:
            flat[path] = value

    add("", course)
    return flat
