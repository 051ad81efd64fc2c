"""Scores of every item for queries: histories and preferences become vectors, constraints become masks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.trm_tool.catalogue.filters import Filtered
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS, Encoder
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import Query
from deeprec.trm_tool.score_ranking import allowed_items, item_rows
from deeprec.trm_tool.text import plain, readable_words
from deeprec.trm_tool.trm.model import PreferenceAwareTRM, pad_histories
from deeprec.trm_tool.trm.snapshot import Snapshot
from deeprec.trm_tool.trm.training.preferences import encode_preferences

SMALL_BATCH = 32
"""Queries that are scored on one thread, at most."""


class EncodedTexts(NamedTuple):
    """Preferences, or people's words, of some queries."""

    vectors: NDArray[np.float32]
    """The output of `encode_preferences`, (queries, text width)."""
    present: Sequence[bool]
    """Whether each query has one; where it is False, its row of `vectors` is ignored."""
    trusts: Sequence[float]
    """How much weight each gets."""


def score(snapshot: Snapshot, encoder: Encoder, queries: Sequence[Query]) -> tuple[NDArray[np.float32], list[Filtered]]:
    """Score every item for queries, in one forward pass.

    Returns:
        Scores (queries, items), -inf where an item must not come back; each query's mask and unenforced constraints.

    Raises:
        UnknownItemError: an id of a history or of `exclude` never was in the catalogue.
        ConfigError: a setting of a query makes no sense, or the encoder does not fit the artifact.
    """
    catalogue = snapshot.artifact.catalogue
    histories = [item_rows(catalogue, query.history, "history") for query in queries]
    filtered = [
        allowed_items(catalogue, snapshot.attributes, query, history)
        for query, history in zip(queries, histories, strict=True)
    ]
    preferences, words = _encoded_texts(snapshot, encoder, queries, [len(history) > 0 for history in histories])
    scores = score_encoded(snapshot, histories, preferences, words)
    for line, own in zip(scores, filtered, strict=True):
        line[~own.mask] = -np.inf
    return scores, filtered


def score_encoded(
    snapshot: Snapshot,
    histories: Sequence[NDArray[np.int64]],
    preferences: EncodedTexts | None,
    words: EncodedTexts | None = None,
) -> NDArray[np.float32]:
    """Score every item for histories, encoded preferences and encoded words, in one forward pass. No item is masked.

    Args:
        snapshot: The artifact, laid out.
        histories: Catalogue rows, oldest first, of each query; popularity decides where there are no texts either.
        preferences: One for each query; None where no query has one.
        words: What each person said themselves; None where nobody said anything.

    Returns:
        float32 (queries, items), in catalogue order.
    """
    model, device = snapshot.artifact.model, snapshot.item_vectors.device
    rows = pad_histories(histories, model.config.max_length).to(device)
    with torch.inference_mode(), _few_threads(len(histories)):
        vectors = model.combine(model.encode_histories(rows), *_adapted(model, preferences), *_adapted(model, words))
        scores: NDArray[np.float32] = (vectors @ snapshot.item_vectors.T).cpu().numpy()
    texts = [given.present for given in (preferences, words) if given is not None]
    for row, history in enumerate(histories):
        if not len(history) and not any(present[row] for present in texts):
            scores[row] = snapshot.popularity
    return scores


def has_text(query: Query) -> bool:
    """Whether a query is scored by a preference or by a person's words, beside its history."""
    preference = query.trust != 0 and plain(query.preference or "", MAX_TEXT_CHARS)
    return bool(preference or (query.words_trust != 0 and readable_words(query.words, MAX_TEXT_CHARS)))


def _encoded_texts(
    snapshot: Snapshot, encoder: Encoder, queries: Sequence[Query], has_history: Sequence[bool]
) -> tuple[EncodedTexts | None, EncodedTexts | None]:
    """The preferences and the words of queries, with their trusts."""
    trust, words_trust = float(snapshot.artifact.config["trust"]), snapshot.artifact.words_trust
    preferences = [plain(query.preference or "", MAX_TEXT_CHARS) for query in queries]
    words = [readable_words(query.words, MAX_TEXT_CHARS) for query in queries]
    trusts, words_trusts = [], []
    for query, known, *texts in zip(queries, has_history, preferences, words, strict=True):
        # Without a history any trust above 0 is full trust, of two texts in the one that is trusted more.
        most = 1.0 if known else max(trust, words_trust) if all(texts) else 0.0
        trusts.append(query.trust if query.trust is not None else trust / most if most else 1.0)
        words_trusts.append(query.words_trust if query.words_trust is not None else words_trust / most if most else 1.0)
    preferences = [text if weight else "" for text, weight in zip(preferences, trusts, strict=True)]
    words = [text if weight else "" for text, weight in zip(words, words_trusts, strict=True)]
    return _encode(snapshot, encoder, preferences, trusts), _encode(snapshot, encoder, words, words_trusts)


def _encode(snapshot: Snapshot, encoder: Encoder, texts: Sequence[str], trusts: Sequence[float]) -> EncodedTexts | None:
    if not any(texts):
        return None
    encoded = encode_preferences(encoder, snapshot.artifact.catalogue, texts)
    width = snapshot.artifact.text_embeddings.shape[1]
    if encoded.shape != (len(texts), width):
        raise ConfigError(
            f"The text encoder {encoder.id!r} gave vectors {encoded.shape[1]} wide where the artifact needs "
            f"{width}. Use the encoder that the artifact was trained with."
        )
    return EncodedTexts(encoded, [bool(text) for text in texts], trusts)


def _adapted(model: PreferenceAwareTRM, texts: EncodedTexts | None) -> tuple[Tensor | None, Tensor | float]:
    """Texts as `PreferenceAwareTRM.combine` takes them, and their weights."""
    if texts is None:
        return None, 1.0
    device = model.text_embeddings.device
    present = torch.tensor(texts.present, device=device).unsqueeze(1)  # (queries, 1)
    weights = torch.tensor(texts.trusts, dtype=torch.float32, device=device).unsqueeze(1)
    return model.adapt_preference(torch.from_numpy(texts.vectors).to(device)) * present, weights


@contextmanager
def _few_threads(queries: int) -> Iterator[None]:
    """Score a small batch on one thread.

    The sums are so small that threads mostly wait for each other: on two cores with other work on them (load average
    3.4), one query took 183 ms on two threads and 2 ms on one.
    """
    threads = torch.get_num_threads()
    if queries > SMALL_BATCH or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
