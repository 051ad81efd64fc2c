"""The TRM artifact: a folder of JSON, safetensors and Parquet that loads without RecBole and runs no code."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from deeprec.trm_tool.catalogue import Catalogue
from deeprec.trm_tool.errors import ArtifactError, ConfigError
from deeprec.trm_tool.model import PreferenceAwareTRM, TRMConfig
from deeprec.trm_tool.model_card import write_model_card

FORMAT = 1
CONFIG, WEIGHTS, ITEMS, TEXTS = "config.json", "model.safetensors", "items.parquet", "text_embeddings.safetensors"
METRICS, CARD = "metrics.json", "README.md"
_FIELDS: dict[str, type] = {
    "format": int,
    "architecture": dict,
    "encoder_id": str,
    "text_width": int,
    "items": int,
    "dataset_fingerprint": str,
    "holdout": int,
    "seed": int,
    "versions": dict,
    "files": dict,
}
_REMEDY = "Copy the artifact again, or train it again with `deeprec trm train`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A trained recommender and the catalogue that it was trained on."""

    model: PreferenceAwareTRM
    """In evaluation mode, without gradients."""
    catalogue: Catalogue
    text_embeddings: Tensor
    """float32 (items, text width), in catalogue order."""
    popularity: NDArray[np.float64]
    """Training interactions of each item, in catalogue order."""
    config: dict[str, Any]
    """What `config.json` holds: architecture, encoder_id, dataset_fingerprint, holdout, seed, versions, …"""
    fingerprint: str
    """First 16 hex digits of the sha256 over configuration, weights, items and text embeddings."""


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
    metrics: Mapping[str, Any],
    seed: int,
    dataset_name: str = "",
) -> None:
    """Write an artifact at once: the folder is complete, or it is as it was before.

    Args:
        folder: Where to. An artifact that is there is replaced; any other folder with something in it is refused.
        model: The trained model.
        catalogue: Its items, in the order of the model's rows.
        encoder_id: Which encoder made the text embeddings.
        text_embeddings: float (items, text width).
        popularity: Training interactions of each item (items,).
        dataset_fingerprint: `Dataset.fingerprint` of the training data.
        holdout: How many of each person's last items training did not see.
        metrics: What training measured; written as it is.
        seed: Of the training run.
        dataset_name: For the model card.

    Raises:
        ConfigError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    check_destination(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}. Name another folder.") from None
    try:
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(weights | {"popularity": torch.from_numpy(np.asarray(popularity, np.float64))}, staging / WEIGHTS)
        save_file({"text_embeddings": text_embeddings.detach().cpu().float().contiguous()}, staging / TEXTS)
        catalogue.to_parquet(staging / ITEMS)
        config = {
            "format": FORMAT,
            "architecture": asdict(model.config),
            "encoder_id": encoder_id,
            "text_width": int(text_embeddings.shape[1]),
            "items": len(catalogue),
            "dataset_name": dataset_name,
            "dataset_fingerprint": dataset_fingerprint,
            "holdout": holdout,
            "seed": seed,
            "versions": _versions(),
            "files": {name: _sha256(staging / name) for name in (WEIGHTS, ITEMS, TEXTS)},
        }
        _write_json(staging / CONFIG, config)
        _write_json(staging / METRICS, dict(metrics))
        write_model_card(staging / CARD, folder.name, config, metrics)
        staging.chmod(0o755)  # mkdtemp makes folders that nobody else can read
        _replace(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_destination(folder: Path) -> None:
    """Raise ConfigError when an artifact written to `folder` would overwrite something that is none."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; an artifact is a folder. Name another one.")
    if folder.is_dir() and any(folder.iterdir()) and not ((folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()):
        raise ConfigError(f"{folder} holds something other than an artifact. Name a new folder, or empty this one.")


def load_artifact(folder: Path) -> Artifact:
    """Load an artifact. Needs neither RecBole nor pickle, and runs nothing that lies in the folder.

    Raises:
        ArtifactError: names the file, and the field in it, that is missing, damaged, of another version or misshapen.
    """
    folder = Path(folder)
    if not folder.is_dir():
        seen = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ArtifactError(f"{folder} {seen}. Name an artifact, or make one with `deeprec trm train`.")
    config = _read_config(folder / CONFIG)
    architecture = _read_architecture(folder / CONFIG, config["architecture"])
    catalogue = Catalogue.from_parquet(folder / ITEMS)
    items, width = config["items"], config["text_width"]
    if len(catalogue) != items:
        raise ArtifactError(f"{folder / ITEMS} has {len(catalogue)} items; 'items' in {CONFIG} says {items}. {_REMEDY}")
    texts = _read_tensors(folder / TEXTS, {"text_embeddings": torch.empty(items, width, device="meta")})
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
            model = PreferenceAwareTRM(architecture, texts["text_embeddings"])
    except RuntimeError as error:
        raise ArtifactError(f"{folder / CONFIG}: 'architecture' cannot work: {error}. {_REMEDY}") from None
    expected = {**model.state_dict(), "popularity": torch.empty(items, dtype=torch.float64, device="meta")}
    weights = _read_tensors(folder / WEIGHTS, expected)
    popularity = weights.pop("popularity").numpy()
    model.load_state_dict(weights, assign=True)
    for name in (WEIGHTS, ITEMS, TEXTS):
        if config["files"].get(name) != _sha256(folder / name):
            raise ArtifactError(f"{folder / name} is not the file that 'files' in {CONFIG} describes. {_REMEDY}")
    return Artifact(
        model=model.requires_grad_(False).eval(),
        catalogue=catalogue,
        text_embeddings=texts["text_embeddings"],
        popularity=popularity,
        config=config,
        fingerprint=_fingerprint(folder),
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. {_REMEDY}") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. {_REMEDY}") from None
    except ValueError:  # JSON and UTF-8 alike
        raise ArtifactError(f"{path} is not JSON. {_REMEDY}") from None
    if not isinstance(config, dict):
        raise ArtifactError(f"{path} holds no object. {_REMEDY}")
    if config.get("format", FORMAT) != FORMAT:
        raise ArtifactError(
            f"{path}: 'format' is {config['format']!r}; this version of deeprec-agent reads {FORMAT}. "
            "Train the artifact again, or install the version that wrote it."
        )
    for name, kind in _FIELDS.items():
        if name not in config:
            raise ArtifactError(f"{path} lacks the field {name!r}. {_REMEDY}")
        if not isinstance(config[name], kind) or isinstance(config[name], bool):
            raise ArtifactError(
                f"{path}: {name!r} is {str(config[name])[:80]!r}, not of type {kind.__name__}. {_REMEDY}"
            )
    for name in ("items", "text_width"):
        if config[name] < 1:
            raise ArtifactError(f"{path}: {name!r} is {config[name]}, below 1. {_REMEDY}")
    return config


def _read_architecture(path: Path, architecture: dict[str, Any]) -> TRMConfig:
    for field in fields(TRMConfig):
        if field.name not in architecture:
            raise ArtifactError(f"{path} lacks the field 'architecture.{field.name}'. {_REMEDY}")
        value = architecture[field.name]
        wanted = (int, float) if field.type is float else (field.type,)
        if type(value) not in wanted:
            raise ArtifactError(f"{path}: 'architecture.{field.name}' is {str(value)[:80]!r}. {_REMEDY}")
    unknown = sorted(set(architecture) - {field.name for field in fields(TRMConfig)})
    if unknown:
        raise ArtifactError(f"{path}: 'architecture.{unknown[0]}' is not known to this version. {_REMEDY}")
    try:
        return TRMConfig(**architecture)
    except ConfigError as error:
        raise ArtifactError(f"{path}: 'architecture' cannot work: {error} {_REMEDY}") from None


def _read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read exactly the tensors in `expected`, each of the shape and dtype that it has there, all finite."""
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. {_REMEDY}") from None
    except (OSError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ArtifactError(f"{path} is not a readable safetensors file ({reason}). {_REMEDY}") from None
    for name, like in expected.items():
        if name not in tensors:
            raise ArtifactError(f"{path} lacks the tensor {name!r}. {_REMEDY}")
        found = tensors[name]
        if found.shape != like.shape or found.dtype != like.dtype:
            raise ArtifactError(
                f"{path}: {name!r} is {_described(found)}; {CONFIG} and {ITEMS} ask for {_described(like)}. {_REMEDY}"
            )
        if not bool(torch.isfinite(found).all()):
            raise ArtifactError(f"{path}: {name!r} holds values that are not finite. {_REMEDY}")
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise ArtifactError(f"{path} has a tensor {unknown[0]!r} that {CONFIG} does not ask for. {_REMEDY}")
    return tensors


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _replace(folder: Path, staging: Path) -> None:
    if not folder.exists():
        staging.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    try:
        folder.rename(old / folder.name)
        try:
            staging.rename(folder)
        except OSError:
            (old / folder.name).rename(folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, ITEMS, TEXTS):
        digest.update(_sha256(folder / name).encode())
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
