"""The TRM artifact: a folder of JSON, safetensors and Parquet that loads without RecBole and runs no code."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.requests.folds import ConversationFold
from deeprec.trm_tool.errors import ArtifactError, ConfigError, reason_of
from deeprec.trm_tool.folders import let_others_read, one_writer, replace_folder, staging_folder
from deeprec.trm_tool.recommender import RecommenderIdentity
from deeprec.trm_tool.trm.artifact_folder import (
    CARD,
    CONFIG,
    ITEMS,
    METRICS,
    REMEDY,
    TEXTS,
    WEIGHTS,
    check_artifact,
    check_destination,
    check_unchanged,
    digests_of,
    fingerprint_of,
)
from deeprec.trm_tool.trm.meta_device import weightless
from deeprec.trm_tool.trm.model import PreferenceAwareTRM, TRMConfig
from deeprec.trm_tool.trm.model_card import write_model_card

FORMAT = 2
CHANGES = ("added", "updated", "removed")
"""Kinds of changes of items after training."""
_FIELDS: dict[str, type] = {
    "format": int,
    "architecture": dict,
    "encoder_id": str,
    "text_width": int,
    "items": int,
    "dataset_fingerprint": str,
    "holdout": int,
    "without_last": int,
    "trust": float,
    "seed": int,
    "versions": dict,
    "files": dict,
}
_FEW_LAYERS = 100
"""So many layers cost nothing to make; their tensors are compared with the file one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A trained recommender and its catalogue: the one that it was trained on, or what changes made of that."""

    model: PreferenceAwareTRM
    """The model in evaluation mode, without gradients."""
    catalogue: Catalogue
    text_embeddings: Tensor
    """float32 (items, text width), in catalogue order."""
    popularity: NDArray[np.float64]
    """Training interactions of each item, in catalogue order; 0 for an item that was added later."""
    config: dict[str, Any]
    """Content of `config.json`: architecture, encoder_id, dataset_fingerprint, holdout, seed, versions, …

    Where the catalogue was changed after training also `trained_items` (they come first in the catalogue),
    `removed_items`, `changes` (how many items were added, updated and removed), `changed_from` (the fingerprint of the
    artifact that was changed), `changed_as` (what a retriever called the change before it was saved) and `trained_as`
    (the fingerprint before all changes).
    """
    fingerprint: str
    """First 16 hex digits of the sha256 over configuration, weights, items and text embeddings."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures that training measured; empty where `metrics.json` is missing or damaged."""

    @property
    def words_trust(self) -> float:
        """How far a person's own words are trusted; as far as a preference where training found nothing else."""
        return float(self.config.get("words_trust", self.config["trust"]))

    @property
    def identity(self) -> RecommenderIdentity:
        """Fingerprints and holdout, for the lineage of runs."""
        trained_as = self.config.get("trained_as", None if "changes" in self.config else self.fingerprint)
        return RecommenderIdentity(
            fingerprint=self.fingerprint,
            dataset_fingerprint=str(self.config["dataset_fingerprint"]),
            holdout=int(self.config["holdout"]),
            trained_as=None if trained_as is None else str(trained_as),
        )


def save_artifact(
    folder: Path,
    model: PreferenceAwareTRM,
    catalogue: Catalogue,
    *,
    encoder_id: str,
    text_embeddings: Tensor,
    popularity: NDArray[np.float64],
    dataset_fingerprint: str,
    holdout: int,
    without_last: int = 0,
    trust: float,
    words_trust: float | None = None,
    without_fold: ConversationFold | None = None,
    metrics: Mapping[str, Any],
    seed: int,
    dataset_name: str = "",
) -> None:
    """Write an artifact at once: the folder is never half written, not even when this is killed (`replace_folder`).

    Args:
        folder: The destination; a symbolic link is followed. An artifact that is there is replaced; any other folder
            with something in it is refused.
        model: The trained model.
        catalogue: Its items, in the order of the model's rows.
        encoder_id: Which encoder made the text embeddings.
        text_embeddings: float (items, text width).
        popularity: Training interactions of each item (items,).
        dataset_fingerprint: `Dataset.fingerprint` of the training data.
        holdout: How many of each person's last items training did not see.
        without_last: How many of those were cut off the data before it was split: the last items but so many hold the
            target that chose the epoch and the trust.
        trust: How far a preference is trusted by default, from 0 (ignored) to 1 (as in training).
        words_trust: How far a person's own words are; None is as far as a preference.
        without_fold: The conversations that training on requests left out; None where it left out none.
        metrics: What training measured; written as it is.
        seed: Seed of the training run.
        dataset_name: Stands in the model card.

    Raises:
        ConfigError: the folder holds something else, or cannot be written.
    """
    config = {
        "format": FORMAT,
        "architecture": asdict(model.config),
        "encoder_id": encoder_id,
        "text_width": int(text_embeddings.shape[1]),
        "items": len(catalogue),
        "dataset_name": dataset_name,
        "dataset_fingerprint": dataset_fingerprint,
        "holdout": holdout,
        "without_last": without_last,
        "trust": trust,
        "seed": seed,
        "versions": _versions(),
    }
    config |= {} if words_trust is None else {"words_trust": words_trust}
    config |= {} if without_fold is None else {"without_fold": str(without_fold)}
    artifact = Artifact(
        model=model,
        catalogue=catalogue,
        text_embeddings=text_embeddings,
        popularity=popularity,
        config=config,
        fingerprint="",
        metrics=metrics,
    )
    _write(Path(folder), artifact)


def save_changed(folder: Path, artifact: Artifact, *, changed_from: str, over: Collection[str]) -> Artifact:
    """Write an artifact whose catalogue was changed, at once as `save_artifact` does, and return it as saved.

    Args:
        folder: As for `save_artifact`; often the folder that the artifact was loaded from.
        artifact: What the changes made of the artifact that was loaded.
        changed_from: Fingerprint of the one that was loaded. Where nothing changed, the same artifact is written again.
        over: Fingerprints of artifacts in `folder` that may be replaced: those whose changes `artifact` has. No other
            save can come between this check and the replacement, except where folders have no locks (`one_writer`).

    Raises:
        ConfigError: the folder holds something else, or an artifact that is neither of `over` nor the same as this
            one, or cannot be written.
    """
    if artifact.fingerprint != changed_from:
        lineage = {"changed_from": changed_from, "changed_as": artifact.fingerprint}
        artifact = replace(artifact, config=artifact.config | lineage)
    return _write(Path(folder), artifact, over)


def _write(folder: Path, artifact: Artifact, over: Collection[str] | None = None) -> Artifact:
    """Write an artifact, and return it with its fingerprint and with the digests of its files in `config`.

    It replaces artifacts with fingerprints in `over`; with None, any artifact.
    """
    folder = Path(os.path.realpath(folder))  # a link stays one
    check_destination(folder)
    with staging_folder(folder) as staging:
        try:
            weights = {name: value.detach().cpu().contiguous() for name, value in artifact.model.state_dict().items()}
            popularity = torch.from_numpy(np.asarray(artifact.popularity, np.float64))
            save_file(weights | {"popularity": popularity}, staging / WEIGHTS)
            save_file(
                {"text_embeddings": artifact.text_embeddings.detach().cpu().float().contiguous()}, staging / TEXTS
            )
            artifact.catalogue.to_parquet(staging / ITEMS)
            config = artifact.config | {"files": digests_of(staging, (WEIGHTS, ITEMS, TEXTS))}
            _write_json(staging / CONFIG, config)
            _write_json(staging / METRICS, dict(artifact.metrics))
            write_model_card(staging / CARD, folder.name, config, artifact.metrics)
            fingerprint = fingerprint_of(config["files"] | digests_of(staging, (CONFIG,)))
            let_others_read(staging)
            with one_writer(folder.parent):
                check_destination(folder)  # another process may have written there meanwhile
                if over is not None:
                    check_unchanged(folder, {*over, fingerprint})
                replace_folder(staging, folder)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error)[:200]
            raise ConfigError(f"{folder} cannot be written: {reason}. Name another folder, or make room.") from None
    return replace(artifact, config=config, fingerprint=fingerprint)


def load_artifact(folder: Path) -> Artifact:
    """Load an artifact. It needs neither RecBole nor pickle, and runs no code from the folder.

    Raises:
        ArtifactError: a file, or a field in it, is missing, damaged, of another version or misshapen; both are named.
    """
    folder = Path(folder)
    check_artifact(folder)
    config = _read_config(folder / CONFIG)
    architecture = _read_architecture(folder / CONFIG, config["architecture"])
    items, width = config["items"], config["text_width"]
    _check_layers(folder, architecture)
    catalogue = Catalogue.from_parquet(folder / ITEMS, items=items)
    texts = _read_tensors(folder / TEXTS, {"text_embeddings": torch.empty(items, width, device="meta")})
    try:
        with weightless():  # until the weights below
            model = PreferenceAwareTRM(architecture, texts["text_embeddings"])
    except RuntimeError as error:
        raise ArtifactError(f"{folder / CONFIG}: 'architecture' cannot work: {error}. {REMEDY}") from None
    expected = {**model.state_dict(), "popularity": torch.empty(items, dtype=torch.float64, device="meta")}
    weights = _read_tensors(folder / WEIGHTS, expected)
    popularity = weights.pop("popularity").numpy()
    model.load_state_dict(weights, assign=True)
    digests = digests_of(folder, (CONFIG, WEIGHTS, ITEMS, TEXTS))
    for name in (WEIGHTS, ITEMS, TEXTS):
        if config["files"].get(name) != digests[name]:
            raise ArtifactError(f"{folder / name} is not the file that 'files' in {CONFIG} describes. {REMEDY}")
    return Artifact(
        model=model.requires_grad_(False).eval(),
        catalogue=catalogue,
        text_embeddings=texts["text_embeddings"],
        popularity=popularity,
        config=config,
        fingerprint=fingerprint_of(digests),
        metrics=_read_metrics(folder / METRICS),
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. {REMEDY}") from None
    except ValueError as error:  # JSON and UTF-8 alike
        raise ArtifactError(f"{path} is not JSON ({reason_of(error)}). {REMEDY}") from None
    if not isinstance(config, dict):
        raise ArtifactError(f"{path} is not a JSON object. {REMEDY}")
    if config.get("format", FORMAT) != FORMAT:
        raise ArtifactError(
            f"{path}: 'format' is {config['format']!r}; this version of deeprec-agent reads {FORMAT}. "
            "Train the artifact again, or install the version that wrote it."
        )
    for name, kind in _FIELDS.items():
        if name not in config:
            raise ArtifactError(f"{path} lacks the field {name!r}. {REMEDY}")
        if not isinstance(config[name], kind) or isinstance(config[name], bool):
            raise ArtifactError(
                f"{path}: {name!r} is {str(config[name])[:80]!r}, not of type {kind.__name__}. {REMEDY}"
            )
    for name in ("items", "text_width"):
        if config[name] < 1:
            raise ArtifactError(f"{path}: {name!r} is {config[name]}, below 1. {REMEDY}")
    for name in ("trust", "words_trust"):
        value = config.get(name, config["trust"])
        if type(value) is not float or not 0 <= value <= 1:  # refuses NaN as well
            raise ArtifactError(f"{path}: {name!r} is {str(value)[:80]}, outside 0 to 1. {REMEDY}")
    changes, trained = config.get("changes", {}), config.get("trained_items", config["items"])
    if (
        not isinstance(changes, dict)
        or set(changes) - set(CHANGES)
        or any(type(n) is not int for n in changes.values())
    ):
        raise ArtifactError(f"{path}: 'changes' is {str(changes)[:80]!r}, not counts of {', '.join(CHANGES)}. {REMEDY}")
    if type(trained) is not int or not 0 < trained <= config["items"]:
        raise ArtifactError(f"{path}: 'trained_items' is {str(trained)[:80]!r} of {config['items']} items. {REMEDY}")
    return config


def _read_metrics(path: Path) -> dict[str, Any]:
    """The metrics are for people only: an artifact loads without them."""
    try:
        metrics = read_json(path)
    except (OSError, ValueError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def _read_architecture(path: Path, architecture: dict[str, Any]) -> TRMConfig:
    for part in fields(TRMConfig):
        if part.name not in architecture:
            raise ArtifactError(f"{path} lacks the field 'architecture.{part.name}'. {REMEDY}")
        value = architecture[part.name]
        wanted = (int, float) if part.type is float else (part.type,)
        if type(value) not in wanted:
            raise ArtifactError(f"{path}: 'architecture.{part.name}' is {str(value)[:80]!r}. {REMEDY}")
    unknown = sorted(set(architecture) - {part.name for part in fields(TRMConfig)})
    if unknown:
        raise ArtifactError(f"{path}: 'architecture.{unknown[0]}' is not known to this version. {REMEDY}")
    try:
        return TRMConfig(**architecture)
    except ConfigError as error:
        raise ArtifactError(f"{path}: 'architecture' cannot work: {error} {REMEDY}") from None


def _check_layers(folder: Path, architecture: TRMConfig) -> None:
    """Raise ArtifactError for more layers than the weights' file can hold, before a module of each is made."""
    weights = folder / WEIGHTS
    size = weights.stat().st_size if weights.is_file() else 0
    needed = architecture.layers * 4 * architecture.width**2 * 4  # attention alone, in bytes
    if size and needed > size and architecture.layers > _FEW_LAYERS:
        raise ArtifactError(
            f"{folder / CONFIG}: 'architecture.layers' is {architecture.layers}, which takes over {needed:,} bytes; "
            f"{weights.name} has {size:,}. {REMEDY}"
        )


def _read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read exactly the tensors in `expected`, each of the shape and dtype that it has there, all finite."""
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. {REMEDY}") from None
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} is not a readable safetensors file ({reason_of(error)}). {REMEDY}") from None
    for name, like in expected.items():
        if name not in tensors:
            raise ArtifactError(f"{path} lacks the tensor {name!r}. {REMEDY}")
        found = tensors[name]
        if found.shape != like.shape or found.dtype != like.dtype:
            raise ArtifactError(
                f"{path}: {name!r} is {_described(found)}; {CONFIG} and {ITEMS} ask for {_described(like)}. {REMEDY}"
            )
        # The sum takes no memory, and is finite where all values are, short of an overflow.
        if not bool(torch.isfinite(found.sum())) and not bool(torch.isfinite(found).all()):
            raise ArtifactError(f"{path}: {name!r} holds values that are not finite. {REMEDY}")
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise ArtifactError(f"{path} has a tensor {unknown[0]!r} that {CONFIG} does not ask for. {REMEDY}")
    return tensors


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in ("deeprec-agent", "torch", "recbole", "sentence-transformers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
