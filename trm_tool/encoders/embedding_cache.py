"""A cache of text embeddings on disk: each text is encoded once, a killed run resumes, damaged files are replaced."""

import hashlib
import logging
import re
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS, Encoder, TextRole
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import plain

SHARD_TEXTS = 512
"""Texts of a file. A killed run loses the texts that it encoded since the last file, at most this many."""
Vectors: TypeAlias = dict[bytes, NDArray[np.float32]]
"""Key of a text -> its vector."""
_KEY_BYTES, _CHECK_BYTES = 32, 8
_STALE_S = 3600
"""Age at which an unfinished file counts as left by a killed process."""
_log = logging.getLogger(__name__)


class CachedEncoder:
    """An encoder that caches the vectors of another one on disk, and calls it only for texts that are not cached.

    A vector's key is the fingerprint of the encoder, the role of the text and the sha256 of the text as the encoder
    reads it, so that a model whose files changed has other keys. Each row has a checksum. Rows that are damaged or
    missing at the end of a file are encoded again, and a warning is logged. Several processes may share the folder. If
    the folder can no longer be written, a warning is logged and encoding continues.

    Vectors agree with those of the encoder up to rounding, since the texts of a batch influence the last bits.
    """

    def __init__(
        self, encoder: Encoder, folder: Path | str, *, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Nothing is read or written yet; the files lie in one folder for each fingerprint, under `folder`.

        Args:
            encoder: It encodes the texts that are not cached.
            folder: It is made if it is missing; delete it to empty the cache.
            on_progress: Called with the distinct texts done and in all, at the start of `encode` and after every file
                that is written.
        """
        self._encoder = encoder
        self._folder = Path(folder)
        self._report = on_progress or (lambda done, total: None)
        self._writes = True
        self._held: dict[Path, Set[bytes]] = {}
        """Intact file -> the keys that it holds; a file is never changed."""
        self.id = encoder.id

    @property
    def fingerprint(self) -> str:
        """The encoder's fingerprint."""
        return self._encoder.fingerprint

    @property
    def width(self) -> int:
        """Length of a vector, from the encoder."""
        return self._encoder.width

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        """Encode -> (len(texts), width), each row of length 1; a text without words is a row of zeros.

        Raises:
            ConfigError: the encoder cannot be loaded, or the folder cannot be made or holds vectors of another width.
        """
        cleaned = [plain(text, MAX_TEXT_CHARS) for text in texts]
        keys = {text: _key(text, role) for text in dict.fromkeys(cleaned) if text}
        folder = self._open() if keys else self._folder
        found = self._read(folder, set(keys.values())) if keys else {}
        missing = [text for text, key in keys.items() if key not in found]
        self._report(len(found), len(keys))
        for start in range(0, len(missing), SHARD_TEXTS):
            chunk = missing[start : start + SHARD_TEXTS]
            vectors = self._encoder.encode(chunk, role=role)
            new = {keys[text]: vector for text, vector in zip(chunk, vectors, strict=True)}
            self._write(folder, new)
            found.update(new)
            self._report(len(found), len(keys))
        widths = {len(vector) for vector in found.values()} or {self.width}
        if len(widths) > 1:
            raise ConfigError(
                f"{folder} holds vectors of the widths {sorted(widths)}, though one encoder should have made them. "
                "Delete that folder."
            )
        out = np.zeros((len(cleaned), widths.pop()), dtype=np.float32)
        for row, text in enumerate(cleaned):
            if text:
                out[row] = found[keys[text]]
        return out

    def _open(self) -> Path:
        folder = self._folder / hashlib.sha256(self.fingerprint.encode()).hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The embedding cache {folder} cannot be made: {error.strerror}. Name another folder, or use no cache."
            ) from None
        for path in folder.glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()
        return folder

    def _read(self, folder: Path, wanted: Set[bytes]) -> Vectors:
        """Vectors of the wanted keys whose rows are intact; a damaged file is replaced by its intact rows.

        A file that was read before is read again only for a vector that it holds.
        """
        found: Vectors = {}
        for path in sorted(folder.glob("*.npy")):
            if path in self._held and self._held[path].isdisjoint(wanted):
                continue
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # another process has just replaced it
                continue
            except OSError as error:
                _log.warning("%s cannot be read (%s); its texts are encoded again.", path, error.strerror)
                continue
            rows, damage = _unpack(content)
            if damage:
                _log.warning("%s is damaged (%s); the texts of its lost vectors are encoded again.", path, damage)
                if not rows or self._write(folder, rows):
                    with suppress(OSError):
                        path.unlink()
            else:
                self._held[path] = frozenset(rows)
            found.update((key, vector.copy()) for key, vector in rows.items() if key in wanted)
        return found

    def _write(self, folder: Path, vectors: Vectors) -> bool:
        """Write a file atomically: other processes see all of it or nothing."""
        if not self._writes:
            return False
        name = uuid4().hex
        unfinished = folder / f".{name}.tmp"
        try:
            with unfinished.open("wb") as file:
                np.save(file, _pack(vectors), allow_pickle=False)
            unfinished.rename(folder / f"{name}.npy")
        except OSError as error:
            self._writes = False
            with suppress(OSError):
                unfinished.unlink()
            _log.warning(
                "The embedding cache %s cannot be written (%s); encoding continues without it.", folder, error.strerror
            )
            return False
        return True


def _key(text: str, role: TextRole) -> bytes:
    return hashlib.sha256(f"{role}\0{text}".encode()).digest()


def _check(row: bytes | memoryview) -> bytes:
    return hashlib.blake2b(row, digest_size=_CHECK_BYTES).digest()


def _row_type(width: int) -> np.dtype[np.void]:
    return np.dtype([("key", "u1", _KEY_BYTES), ("vector", "<f4", width), ("check", "u1", _CHECK_BYTES)])


def _pack(vectors: Vectors) -> NDArray[np.void]:
    """Rows of key, vector and checksum, to be written as one npy array."""
    table = np.zeros(len(vectors), _row_type(len(next(iter(vectors.values())))))
    table["key"] = np.frombuffer(b"".join(vectors), np.uint8).reshape(-1, _KEY_BYTES)
    table["vector"] = np.stack(list(vectors.values()))
    checks = b"".join(_check(row.tobytes()[:-_CHECK_BYTES]) for row in table)
    table["check"] = np.frombuffer(checks, np.uint8).reshape(-1, _CHECK_BYTES)
    return table


def _unpack(content: bytes) -> tuple[Vectors, str]:
    """The intact rows of a file, as views of it, and the damage of the file ("" where there is none)."""
    seen = re.match(
        rb".{10}\{'descr':.{,80}'vector', '<f4', \((\d{1,6}),.{,80}'shape': \((\d{1,6}),\)", content, re.DOTALL
    )
    width, promised = (int(seen[1]), int(seen[2])) if seen else (0, 0)
    kind, header = _row_type(width), BytesIO()
    shape = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": (promised,)}  # type: ignore[no-untyped-call]
    npy.write_array_header_1_0(header, shape)  # type: ignore[no-untyped-call]
    # Compared, not parsed: numpy's parser fails on a damaged header in many ways.
    if not seen or not content.startswith(header.getvalue()):
        return {}, "its header cannot be read"
    start, size = header.tell(), kind.itemsize
    there = min(promised, (len(content) - start) // size)
    table = np.frombuffer(content, kind, count=there, offset=start)
    view = memoryview(content)[start:]
    rows: Vectors = {}
    for index, (key, vector) in enumerate(zip(table["key"], table["vector"], strict=True)):
        end = (index + 1) * size - _CHECK_BYTES
        if _check(view[index * size : end]) == view[end : end + _CHECK_BYTES]:
            rows[key.tobytes()] = vector
    if len(rows) < promised:
        return rows, f"{promised - len(rows)} of {promised} vectors are lost"
    return rows, "" if len(content) == start + promised * size else "its length does not match its header"
