"""The results of an ablation's rows in its folder: what is done, what failed, and the guard of the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deeprec.training.ablation.plan import AblationPlan
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import write_file

PLAN_FILE, ROWS, TABLE_FILE, STORE_FILE, LOCK_FILE = "plan.json", "rows", "ablation.json", "traces.db", "ablation.lock"
_OF_THE_MACHINE = ("loop.concurrency", "loop.server_args", "loop.device", "loop.validation.every")
_BY_FINGERPRINT = ("loop.artifact", "loop.data", "loop.base", "loop.start")
_DESCRIBED = ("piece", "adds")
"""What a row's sentence says; its figures do not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationResult:
    """The outcome of a row that has ended."""

    suite: str | None = None
    """The label of its runs in the store; None where the row failed."""
    policy: str | None = None
    """The model or the adapter that was evaluated; None for a system without a model."""
    preferred: str | None = None
    """The version that the validation of the last stage prefers, of a policy that was trained in stages."""
    seconds: float = 0.0
    """Seconds that the row took, with its attempts that failed; without parts that other rows had trained before, and
    without attempts that were stopped."""
    failed: str | None = None
    """Why the row has no figures."""


def read_row(out: Path, name: str) -> AblationResult | None:
    """Read the outcome of a row; None where it has not ended.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = out / ROWS / f"{name}.json"
    try:
        return TypeAdapter(AblationResult).validate_python(read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, ValidationError) as error:
        seen = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} cannot be read ({seen}). Delete it, and the row is completed again.") from error


def write_row(out: Path, name: str, result: AblationResult) -> None:
    """Write the outcome of a row.

    Raises:
        ConfigError: the folder cannot be written.
    """
    write_file(out / ROWS / f"{name}.json", json.dumps(asdict(result), indent=2) + "\n")


def begun_fingerprints(out: Path) -> dict[str, Any]:
    """Read the fingerprints that an ablation was begun with; it is empty where there is none.

    Raises:
        ConfigError: the file cannot be read.
    """
    return dict(_begun(out)["fingerprints"]) if (out / PLAN_FILE).is_file() else {}


def check_plan(plan: AblationPlan, out: Path, fingerprints: Mapping[str, Any] | None = None) -> None:
    """Check that a begun folder can go on with a plan. Nothing is written.

    Rows may be added or left out, and what a row's sentence says, the machine's settings and paths of the same content
    may change. What would make rows incomparable may not.

    Args:
        plan: in the size that is run.
        out: the folder.
        fingerprints: those of data, recommender, base model and first adapter, and of files (`AblationPlan.file_ids`);
            None leaves them unchecked. Those that the folder does not know are not compared.

    Raises:
        ConfigError: names what changed; or the folder's plan is missing or cannot be read.
    """
    begun, now = _begun(out), _content(plan, fingerprints or {})
    rows = begun["rows"].keys() & now["rows"].keys()
    common = begun["fingerprints"].keys() & now["fingerprints"].keys()
    before, after = (
        _flat({**each, "fingerprints": {name: each["fingerprints"][name] for name in common}}, rows)
        for each in (begun, now)
    )
    if changed := sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
        raise ConfigError(
            f"{out} holds an ablation that was begun with another plan ({', '.join(changed)} changed), so that "
            "its rows would not compare. Go on with that plan, or name another folder. Rows may be added."
        )


def keep_plan(plan: AblationPlan, out: Path, fingerprints: Mapping[str, Any]) -> None:
    """Write the plan of a new folder, or check that the folder can go on with it (`check_plan`), and add new rows.

    Raises:
        ConfigError: as for `check_plan`; or the folder holds other files, or cannot be written.
    """
    path, now = out / PLAN_FILE, _content(plan, fingerprints)
    if not path.is_file():
        if out.is_dir() and any(each.name != LOCK_FILE for each in out.iterdir()):
            raise ConfigError(f"{out} holds other files. Name a new or an empty folder, or that of an ablation.")
        write_file(path, json.dumps(now, indent=2) + "\n")
        return
    check_plan(plan, out, fingerprints)
    begun = _begun(out)
    known = ("rows", "fingerprints")
    if any(now[part].keys() - begun[part].keys() for part in known):
        write_file(path, json.dumps({**now, **{part: {**begun[part], **now[part]} for part in known}}, indent=2) + "\n")


def _content(plan: AblationPlan, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    return {**plan.model_dump(mode="json", exclude={"sizes"}), "fingerprints": dict(fingerprints)}


def _begun(out: Path) -> dict[str, Any]:
    path = out / PLAN_FILE
    try:
        begun = dict(read_json(path))
        return {**begun, "rows": dict(begun["rows"]), "fingerprints": dict(begun["fingerprints"])}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Restore it, or name another folder.") from error


def _flat(plan: Mapping[str, Any], rows: set[str]) -> dict[str, Any]:
    """What decides the figures of the named rows, by its path such as `loop.agent.k`."""
    flat: dict[str, Any] = {}

    def add(path: str, value: Any) -> None:
        if path in (*_OF_THE_MACHINE, *_BY_FINGERPRINT):
            return
        if isinstance(value, Mapping):
            for name, part in value.items():
                if not (path == "rows" and name not in rows) and not (path.startswith("rows.") and name in _DESCRIBED):
                    add(f"{path}.{name}" if path else str(name), part)
        else:
            flat[path] = value

    add("", plan)
    return flat
