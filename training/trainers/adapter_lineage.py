"""The lineage of an adapter: a small JSON file beside its weights, with its base, its parent and its data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.errors import unlabelled
from deeprec.trm_tool.folders import write_file

LINEAGE_FILE = "deeprec.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLineage:
    """The origin of an adapter."""

    name: str | None
    """The adapter's name on a server and in traces; one name stands for one set of weights. None where it is named when
    it is loaded, as the adapter of a trainer's command."""
    parent: str | None
    """The name of the adapter that training started from; None where it started from the base model, where the adapter
    was given, or where that one has no name."""
    base: str
    """The base model's id, or the name of its folder, without the path."""
    base_fingerprint: str
    method: Literal["sft", "grpo", "dpo", "given"]
    """`given` is an adapter that a loop started from; the fingerprints are then the loop's, and `settings` holds the
    adapter's own lineage."""
    stage: str | None
    step: int
    """Optimizer steps of the stage up to this version."""
    suite: str | None
    """The suite of the stored runs that its last step learned from; None where they are of several or none."""
    dataset_fingerprint: str | None
    """The fingerprint of the data of its runs; None where it is not known, or there are several."""
    trm_fingerprint: str | None
    """The fingerprint of the recommender that its runs asked, as above."""
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def library_versions() -> dict[str, str]:
    """Look up the versions of the packages that a training depends on."""
    return {name: version(name) for name in ("deeprec-agent", "torch", "transformers", "trl", "peft")}


def write_lineage(folder: Path, lineage: AdapterLineage) -> None:
    """Write a lineage beside an adapter's weights.

    Raises:
        ConfigError: the folder cannot be written.
    """
    text = json.dumps(asdict(lineage), indent=2) + "\n"
    write_file(folder / LINEAGE_FILE, text)


def read_lineage(folder: Path) -> AdapterLineage:
    """Read an adapter's lineage.

    Raises:
        ConfigError: there is no lineage, or it cannot be read; the message names the field.
    """
    path = folder / LINEAGE_FILE
    try:
        return TypeAdapter(AdapterLineage).validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Name an adapter that deeprec trained.") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        why = unlabelled(fault["msg"]).rstrip(".")
        raise ConfigError(f"{path}: {where}: {why}. Train the adapter again, or restore the file.") from error
