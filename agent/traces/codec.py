"""Token ids and logprobs as compact bytes, and text made storable.

A column starts with a version byte, so that a later format can live beside this one:

- tokens: ``01``, bytes per id (2, 3 or 4), then the ids, little-endian, unsigned
- logprobs: ``01``, then float32, little-endian
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deeprec.agent.traces.records import TraceStoreError

VERSION = 1
MAX_TOKEN_ID = 2**32 - 1


def encode_tokens(ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> bytes:
    """Pack token ids, each in 0..2**32-1, into as few bytes an id as the largest needs.

    Raises:
        TraceStoreError: an id is negative or too large.
    """
    wide = np.asarray(ids, dtype=np.int64)
    if wide.size and not (wide.min() >= 0 and wide.max() <= MAX_TOKEN_ID):
        raise TraceStoreError(
            f"Token ids run from {wide.min()} to {wide.max()}; the trace store keeps 0..{MAX_TOKEN_ID}."
        )
    top = int(wide.max()) if wide.size else 0
    width = 2 if top < 1 << 16 else 3 if top < 1 << 24 else 4
    packed = wide.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :width]  # (n, width)
    return bytes((VERSION, width)) + packed.tobytes()


def decode_tokens(data: bytes) -> npt.NDArray[np.int64]:
    """Unpack `encode_tokens`; int64 (n,).

    Raises:
        TraceStoreError: the bytes are of another version, or damaged.
    """
    if len(data) < 2 or data[0] != VERSION or data[1] not in (2, 3, 4) or (len(data) - 2) % data[1]:
        raise TraceStoreError(_unreadable("token ids", data))
    width = data[1]
    packed = np.frombuffer(data, dtype=np.uint8, offset=2).reshape(-1, width)
    padded = np.zeros((len(packed), 4), dtype=np.uint8)
    padded[:, :width] = packed
    return padded.view("<u4").reshape(-1).astype(np.int64)


def encode_logprobs(logprobs: Sequence[float] | npt.NDArray[np.floating[Any]]) -> bytes:
    """Pack logprobs as float32, which is what a server computes them in. NaN and infinities survive."""
    with np.errstate(over="ignore"):
        return bytes((VERSION,)) + np.asarray(logprobs, dtype=np.float64).astype("<f4").tobytes()


def decode_logprobs(data: bytes) -> npt.NDArray[np.float32]:
    """Unpack `encode_logprobs`; float32 (n,).

    Raises:
        TraceStoreError: the bytes are of another version, or damaged.
    """
    if len(data) < 1 or data[0] != VERSION or (len(data) - 1) % 4:
        raise TraceStoreError(_unreadable("logprobs", data))
    return np.frombuffer(data, dtype="<f4", offset=1).astype(np.float32)


def _unreadable(what: str, data: bytes) -> str:
    if data and data[0] > VERSION:
        return f"A column of {what} has format {data[0]}; this version reads up to {VERSION}. Upgrade deeprec-agent."
    return f"A column of {what} is damaged ({len(data)} bytes, starting {data[:4].hex() or 'with nothing'})."


def storable(text: str) -> str:
    r"""Text that every database takes: NUL becomes ``\x00``, a lone surrogate its escape (``\udc80``)."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def storable_json(value: Any) -> Any:
    """A copy of `value` that is strict JSON: storable text, lists for sequences, text for whatever JSON lacks."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): storable_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(part) for part in value]
    return storable(str(value))
