"""Token ids and logprobs as compact bytes, and text made storable.

A column starts with a version byte, so that formats can live side by side:

- tokens: ``01``, bytes per id (2, 3 or 4), then the ids, little-endian, unsigned
- logprobs: ``01``, then float32, little-endian
- ``02`` is ``01`` with what follows the header compressed by zlib, logprobs as four planes of bytes. It is written
  where it is smaller: of tokens of English it saves a third, of logprobs, whose high bytes are much alike, a quarter.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deeprec.agent.traces.records import TraceStoreError

PLAIN, PACKED = 1, 2
MAX_TOKEN_ID = 2**32 - 1
MAX_UNPACKED_BYTES = 64 * 2**20
"""The most bytes of a column, unpacked: sixteen million tokens of one turn."""
MIN_PACKED_BYTES = 256
"""Fewer bytes hardly compress and are not worth the attempt."""
_U2, _F4 = np.dtype("<u2"), np.dtype("<f4")


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
    if width == 2:
        plain = wide.astype("<u2").tobytes()
    else:
        plain = wide.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()  # (n, width)
    packed = _pack(plain)
    return bytes((PLAIN, width)) + plain if packed is None else bytes((PACKED, width)) + packed


def decode_tokens(data: bytes) -> npt.NDArray[np.int64]:
    """Unpack `encode_tokens`; int64 (n,).

    Raises:
        TraceStoreError: the bytes are of another version, or damaged.
    """
    if len(data) < 2 or data[1] not in (2, 3, 4):
        raise TraceStoreError(_unreadable("token ids", data))
    width, plain = data[1], _body("token ids", data, 2)
    if len(plain) % width:
        raise TraceStoreError(_unreadable("token ids", data))
    if width == 2:
        return np.frombuffer(plain, _U2).astype(np.int64)
    padded = np.zeros((len(plain) // width, 4), dtype=np.uint8)
    padded[:, :width] = np.frombuffer(plain, dtype=np.uint8).reshape(-1, width)
    return padded.view("<u4").reshape(-1).astype(np.int64)


def encode_logprobs(logprobs: Sequence[float] | npt.NDArray[np.floating[Any]]) -> bytes:
    """Pack logprobs as float32, which is what a server computes them in. NaN and infinities survive."""
    with np.errstate(over="ignore"):
        single = np.asarray(logprobs, dtype=np.float64).astype("<f4")  # (n,)
    single[np.isnan(single)] = np.nan  # there are millions of NaNs; one of them survives an exported file
    packed = _pack(single.view(np.uint8).reshape(-1, 4).T.tobytes())
    return bytes((PLAIN,)) + single.tobytes() if packed is None else bytes((PACKED,)) + packed


def decode_logprobs(data: bytes) -> npt.NDArray[np.float32]:
    """Unpack `encode_logprobs`; float32 (n,).

    Raises:
        TraceStoreError: the bytes are of another version, or damaged.
    """
    plain = _body("logprobs", data, 1)
    if len(plain) % 4:
        raise TraceStoreError(_unreadable("logprobs", data))
    if data[0] == PACKED:
        plain = np.frombuffer(plain, dtype=np.uint8).reshape(4, -1).T.tobytes()
    return np.frombuffer(plain, _F4).astype(np.float32)


def _pack(plain: bytes) -> bytes | None:
    """Compressed, where that makes it smaller."""
    if len(plain) < MIN_PACKED_BYTES:
        return None
    packed = zlib.compress(plain)
    return packed if len(packed) < len(plain) else None


def _body(what: str, data: bytes, header: int) -> bytes:
    """The bytes after the header, unpacked."""
    version = data[0] if data else None
    if version == PLAIN:
        return data[header:]
    if version != PACKED:
        raise TraceStoreError(_unreadable(what, data))
    try:
        unpacking = zlib.decompressobj()
        plain = unpacking.decompress(data[header:], MAX_UNPACKED_BYTES + 1)
    except zlib.error:
        raise TraceStoreError(_unreadable(what, data)) from None
    if len(plain) > MAX_UNPACKED_BYTES:
        raise TraceStoreError(
            f"A column of {what} has over {MAX_UNPACKED_BYTES:,} bytes unpacked, more than any turn. Delete its run."
        )
    if not unpacking.eof:
        raise TraceStoreError(_unreadable(what, data))
    return plain


def _unreadable(what: str, data: bytes) -> str:
    if data and data[0] > PACKED:
        return f"A column of {what} has format {data[0]}; this version reads up to {PACKED}. Upgrade deeprec-agent."
    return f"A column of {what} is damaged ({len(data)} bytes, starting {data[:4].hex() or 'with nothing'})."


def storable(text: str) -> str:
    r"""Text that every database takes: NUL becomes ``\x00``, a lone surrogate its escape (``\udc80``)."""
    if text.isascii() and "\x00" not in text:  # most of what is stored, item ids above all
        return text
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def storable_json(value: Any) -> Any:
    """A copy of `value` that is strict JSON: storable text, lists for sequences, text for whatever JSON lacks."""
    if type(value) is str:
        return storable(value)
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
