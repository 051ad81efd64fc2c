"""The folder of an artifact: its files, its fingerprint, and whether another artifact may take its place."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import ArtifactError, ConfigError
from deeprec.trm_tool.folders import check_not_current
from deeprec.trm_tool.text import plain

CONFIG, WEIGHTS, ITEMS, TEXTS = "config.json", "model.safetensors", "items.parquet", "text_embeddings.safetensors"
METRICS, CARD = "metrics.json", "README.md"
FILES = frozenset({CONFIG, WEIGHTS, ITEMS, TEXTS, METRICS, CARD})
REMEDY = "Copy the artifact again, or train it again with `deeprec trm train`."
"""What helps against a damaged artifact."""
_OURS: dict[str, type] = {"format": int, "architecture": dict, "dataset_fingerprint": str}
"""Fields of `config.json` by which an artifact is known from a model of another library."""


def check_artifact(folder: Path, *, holdout: int | None = None) -> None:
    """Raise ArtifactError when no artifact can be loaded from `folder`: it, or the configuration in it, is missing.

    What this module imports is light, so that a command can refuse a wrong path before it imports torch.

    Args:
        folder: The folder of an artifact.
        holdout: The holdout that its training needs, for the error; None where any will do.
    """
    if not folder.is_dir():
        seen = "is a file, not a folder" if folder.exists() else "does not exist"
        make = "`deeprec trm train` (of ml-100k: `deeprec demo`)"
        if holdout is not None:
            make = f"`deeprec trm train --out {folder} --holdout {holdout}`"
        raise ArtifactError(f"{folder} {seen}. Name an artifact, or make one with {make}.")
    if not (folder / CONFIG).exists():
        raise ArtifactError(f"{folder / CONFIG} is missing. {REMEDY}")


def check_destination(folder: Path) -> None:
    """Raise ConfigError when an artifact written to `folder` would overwrite something else.

    Only a folder that holds an artifact and nothing beside it may be replaced; a new or an empty one may be filled.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; an artifact is a folder. Name another one.")
    if not folder.exists():
        return
    check_not_current(folder)
    try:
        entries = {entry.name: entry.is_file() for entry in folder.iterdir()}
        config = _config(folder) if entries.get(CONFIG) else None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}. Name another folder.") from None
    foreign = sorted(name for name, is_file in entries.items() if name not in FILES or not is_file)
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        what = ", ".join(repr(plain(name, 60)) for name in foreign[:3]) + more
        raise ConfigError(
            f"{folder} holds something other than an artifact: {what}. Name a new folder, or move this away."
        )
    if entries and config is None:
        raise ConfigError(
            f"{folder} holds something other than an artifact: its {CONFIG} is missing, or lacks one of "
            f"{', '.join(_OURS)}. Name a new folder, or move this away."
        )


def check_unchanged(folder: Path, known: Collection[str]) -> None:
    """Raise ConfigError when `folder` holds an artifact that is not `known`: another process wrote it."""
    if not (folder / CONFIG).exists():
        return
    found = _fingerprint_in(folder)
    if found not in known:
        raise ConfigError(
            f"{folder} holds another artifact ({found or 'damaged'}) than was loaded, or saved there last: somebody "
            "has changed or trained it, and that would be lost. Load it again and repeat the changes, or save to a "
            "new folder."
        )


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of files by name, in hex."""
    digests = {}
    for name in names:
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """The first 16 hex digits of the sha256 over the digests of configuration, weights, items and text embeddings."""
    whole = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, ITEMS, TEXTS):
        whole.update(digests[name].encode())
    return whole.hexdigest()[:16]


def _fingerprint_in(folder: Path) -> str | None:
    """The fingerprint from the digests in the configuration, without reading the other files; None where they lack."""
    try:
        config = _config(folder) or {}
        return fingerprint_of(dict(config["files"]) | digests_of(folder, (CONFIG,)))
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _config(folder: Path) -> dict[str, Any] | None:
    """The configuration of an artifact of any version; None where the file is not one."""
    try:
        config = read_json(folder / CONFIG)
    except ValueError:
        return None
    ours = isinstance(config, dict) and all(type(config.get(name)) is kind for name, kind in _OURS.items())
    return config if ours else None
