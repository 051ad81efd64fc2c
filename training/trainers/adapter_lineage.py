"""What an adapter was trained on and from: a small JSON file beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.folders import write_file

LINEAGE_FILE = "deeprec.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLineage:
    """Where an adapter comes from."""

    name: str
    """Under which a server has it, and traces name it: one name, one set of weights."""
    parent: str | None
    """The adapter that it was trained from; None for the base model, and for one that was given."""
    base: str
    base_fingerprint: str
    method: Literal["sft", "grpo", "given"]
    """`given` is one that a loop began with; the fingerprints below are then the loop's, and `settings` has what the
    adapter said of itself."""
    stage: str | None
    step: int
    """Optimizer steps of its stage."""
    suite: str | None
    """Of the store's runs that its last step learned from."""
    dataset_fingerprint: str
    trm_fingerprint: str
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def write_lineage(folder: Path, lineage: AdapterLineage) -> None:
    """Put a lineage beside an adapter's weights.

    Raises:
        ConfigError: the folder cannot be written.
    """
    text = json.dumps(asdict(lineage), indent=2) + "\n"
    write_file(folder / LINEAGE_FILE, text)


def read_lineage(folder: Path) -> AdapterLineage:
    """Read an adapter's lineage.

    Raises:
        ConfigError: there is none, or it cannot be read; names the field.
    """
    path = folder / LINEAGE_FILE
    try:
        return TypeAdapter(AdapterLineage).validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Name an adapter that deeprec trained.") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise ConfigError(f"{path}: {where}: {fault['msg']}. Train the adapter again, or restore the file.") from error
