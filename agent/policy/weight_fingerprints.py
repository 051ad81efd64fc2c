"""Fingerprints of weights: they distinguish two models or adapters of one name, wherever these lie."""

from __future__ import annotations

import hashlib
import logging
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import parse_json, read_json

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""The files of a LoRA adapter, as PEFT saves it."""
_INDEX, _ONE_FILE = "model.safetensors.index.json", "model.safetensors"
_log = logging.getLogger(__name__)

_LONGEST_HEADER = 100_000_000
"""Bytes of the longest header that safetensors reads."""
_SAMPLE = 16_384
"""Bytes that are read at the beginning, in the middle and at the end of a tensor; one of three times that is read
whole."""
_PICKLE_END = 1 << 20
"""Bytes that are read at the end of a file of pickled weights, where torch keeps a checksum of each tensor."""
_SETTLED_S = 2.0
"""Seconds after which a file that is written again has another time, on any file system."""


def fingerprint_base(base: Path | str, config: Any = None) -> str:
    """Compute an identity of a base model without reading all of its weights.

    Each tensor counts by its name, type and shape, and by 16 KiB at its beginning, in its middle and at its end; one of
    up to 48 KiB counts whole. A change of a tensor between these samples alone is not seen. Where there are no
    safetensors, `pytorch_model*.bin` counts by its size, samples and end. Nothing is downloaded. The process remembers
    the result until the time or the size of a file changes.

    Args:
        base: A folder, or a Hugging Face id.
        config: The loaded configuration of an id, which has its commit with some versions of transformers; else the
            commit is that of the branch `main` in the cache of Hugging Face.

    Returns:
        two digests of 16 hex digits with "-" between them. The first one is all that runs and loops from before the
        second one hold (`same_weights`). An id has the fingerprint of its snapshot in the cache; where its weights are
        not there, it is the id and its commit, "org/name@commit".
    """
    folder = Path(base)
    if not folder.is_dir():
        snapshot = _cached_snapshot(str(base), config)
        if snapshot is None or not all(file.is_file() for file in _safetensors(snapshot) or [snapshot / _ONE_FILE]):
            return id_and_commit(base, config)
        folder = snapshot
    read = [folder / "config.json", *sorted({*folder.glob("*.safetensors"), *_weight_files(folder)})]
    states = [path.stat() for path in read]
    seen = tuple((state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for state in states)
    is_settled = time.time() - max(state.st_ctime for state in states) > _SETTLED_S
    digests = _digests if is_settled else _digests.__wrapped__
    return digests(tuple(read), seen)


def id_and_commit(base: Path | str, config: Any = None) -> str:
    """Name a Hugging Face id and its commit, "org/name@commit": the fingerprint of a model whose weights are not here.

    Args: as of `fingerprint_base`.
    """
    snapshot = _cached_snapshot(str(base), config)
    return f"{base}@{getattr(config, '_commit_hash', None) if snapshot is None else snapshot.name}"


def same_weights(one: str, other: str) -> bool:
    """Check whether two fingerprints can be of the same weights.

    Those of base models can be of different kinds, and are compared by what both have: an id with its commit, which can
    be None, and a digest have nothing in common, and can be of one model.
    """
    if ("@" in one) != ("@" in other):
        return True
    split_at = "@" if "@" in one else "-"
    (first, _, rest), (other_first, _, other_rest) = one.partition(split_at), other.partition(split_at)
    # Where no safetensors were found, earlier versions wrote the digest of the configuration twice.
    is_known = not {"", "None"} & {rest, other_rest} and (first != rest and other_first != other_rest)
    return first == other_first and (rest == other_rest or not is_known)


def fingerprint_adapter(folder: Path, *, config: bytes | None = None) -> str:
    """Compute 16 hex digits over an adapter's configuration, or `config` in its place, and its weights."""
    settings, weights = (folder / name for name in ADAPTER_FILES)
    digest = hashlib.sha256(settings.read_bytes() if config is None else config)
    digest.update(weights.read_bytes())
    return digest.hexdigest()[:16]


def fingerprint_served(root: str | None, *, is_adapter: bool, started: float | None = None) -> str | None:
    """Compute the fingerprint of what a server serves from a folder.

    Args:
        root: the folder as the server names it.
        is_adapter: whether it is an adapter, not a base model.
        started: when the server was started, in seconds since 1970; None where it is not known. A base model is read
            then, an adapter later.

    Returns:
        its fingerprint; None where the folder is not one of this machine, or cannot be read, or holds no weights of a
        known kind, or a base model has changed since the server was started, so that the server may have other weights.
        A warning says so.
    """
    folder = Path(root or "")
    try:  # the name is the server's: also to look whether there is such a folder may fail
        if not folder.is_absolute() or not folder.is_dir():
            return None
        if is_adapter:
            return fingerprint_adapter(folder)
        if started is not None and started < _changed_at(folder):
            _log.warning(
                "%s has changed since its server was started. The weights that answer are unknown, and runs carry no "
                "fingerprint of them: restart the server.",
                folder,
            )
            return None
        return fingerprint_base(folder) if _weight_files(folder) else None
    except (OSError, ValueError):
        return None


def _changed_at(folder: Path) -> float:
    """When a model's folder or one of its files was last written, replaced or renamed, in seconds since 1970."""
    places = [folder.lstat(), *(path.stat() for path in (folder, folder / "config.json", *_weight_files(folder)))]
    return max(time for place in places for time in (place.st_mtime, place.st_ctime))


def _cached_snapshot(name: str, config: Any) -> Path | None:
    """The folder of a model in the cache of Hugging Face, named after its commit; None where it is not there."""
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ModuleNotFoundError:
        return None
    try:
        found = try_to_load_from_cache(name, "config.json", revision=getattr(config, "_commit_hash", None))
    except HFValidationError:  # the name is no id
        return None
    return Path(found).parent if isinstance(found, str) else None


def _weight_files(folder: Path) -> list[Path]:
    """The files of weights that a model is loaded from: safetensors, or pickles where there are none."""
    return _safetensors(folder) or sorted(folder.glob("pytorch_model*.bin"))


def _safetensors(folder: Path) -> list[Path]:
    """The safetensors that a model is loaded from: its one file and those of its index, else all there are."""
    try:
        files = {folder / name for name in read_json(folder / _INDEX)["weight_map"].values()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        files = set()
    if (folder / _ONE_FILE).is_file():
        files.add(folder / _ONE_FILE)
    return sorted(files or folder.glob("*.safetensors"))


@lru_cache(maxsize=16)
def _digests(read: tuple[Path, ...], seen: tuple[tuple[int, ...], ...]) -> str:
    """Both digests of the folder of `read`, whose files are in the state `seen`."""
    folder = read[0].parent
    return f"{_digest_of_files(folder)}-{_digest_of_tensors(folder)}"


def _digest_of_files(folder: Path) -> str:
    """16 hex digits over the configuration, and over the size and 16 samples of 64 KiB of each file of weights."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        _add_samples(digest, file)
    return digest.hexdigest()[:16]


def _add_samples(digest: Any, path: Path, end: int = 0) -> None:
    """Add the name and the size of a file, 16 samples of 64 KiB, and its last `end` bytes to a digest."""
    size = path.stat().st_size
    digest.update(f"{path.name} {size}".encode())
    with path.open("rb") as opened:
        for part in range(16):
            opened.seek(size * part // 16)
            digest.update(opened.read(65_536))
        opened.seek(max(0, size - end))
        digest.update(opened.read())


def _digest_of_tensors(folder: Path) -> str:
    """16 hex digits over the configuration, and over the header and samples of each tensor of each file of weights."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in _weight_files(folder):
        if path.suffix == ".bin":
            _add_samples(digest, path, _PICKLE_END)
            continue
        with path.open("rb") as file:
            header = file.read(min(int.from_bytes(file.read(8), "little"), _LONGEST_HEADER))
            data = file.tell()
            digest.update(f"{path.name} {path.stat().st_size}".encode() + header)
            for begin, end in _tensor_offsets(header) or [(0, path.stat().st_size - data)]:
                whole = end - begin <= 3 * _SAMPLE
                starts = [begin] if whole else [begin, (begin + end - _SAMPLE) // 2, end - _SAMPLE]
                for start in starts:
                    file.seek(data + start)
                    digest.update(file.read(end - begin if whole else _SAMPLE))
    return digest.hexdigest()[:16]


def _tensor_offsets(header: bytes) -> list[tuple[int, int]]:
    """Where the bytes of each tensor begin and end, after the header; none where the header is damaged."""
    try:
        tensors = parse_json(header)
        found = [tensors[name]["data_offsets"] for name in tensors if name != "__metadata__"]
        return sorted((int(begin), int(end)) for begin, end in found if 0 <= begin <= end)
    except (ValueError, TypeError, KeyError):
        return []
