"""Scores of every item for queries: histories and preferences become vectors, constraints become masks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.trm_tool.catalogue.filters import Filtered
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS, Encoder
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import Query
from deeprec.trm_tool.score_ranking import allowed_items, item_rows
from deeprec.trm_tool.text import plain
from deeprec.trm_tool.trm.model import pad_histories
from deeprec.trm_tool.trm.snapshot import Snapshot
from deeprec.trm_tool.trm.training.preferences import encode_preferences

SMALL_BATCH = 32
"""Queries that are scored on one thread, at most."""


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
    default = float(snapshot.artifact.config["trust"])
    # Without a history any trust above 0 is full trust; only a caller can switch a preference off, with 0.
    trusts = [
        query.trust if query.trust is not None else default if len(history) else 1.0
        for query, history in zip(queries, histories, strict=True)
    ]
    preferences = [
        plain(query.preference or "", MAX_TEXT_CHARS) if trust else ""
        for query, trust in zip(queries, trusts, strict=True)
    ]
    encoded = _encode(snapshot, encoder, preferences) if any(preferences) else None
    scores = score_encoded(snapshot, histories, encoded, [bool(text) for text in preferences], trusts)
    for line, own in zip(scores, filtered, strict=True):
        line[~own.mask] = -np.inf
    return scores, filtered


def score_encoded(
    snapshot: Snapshot,
    histories: Sequence[NDArray[np.int64]],
    preferences: NDArray[np.float32] | None,
    has_preference: Sequence[bool],
    trusts: Sequence[float],
) -> NDArray[np.float32]:
    """Score every item for histories and encoded preferences, in one forward pass. No item is masked.

    Args:
        snapshot: The artifact, laid out.
        histories: Catalogue rows, oldest first, of each query; without history and preference popularity decides.
        preferences: From `encode_preferences`, float32 (queries, text width); None where no query has one.
        has_preference: Whether each query has one; where it is False, its row of `preferences` is ignored.
        trusts: How much weight each preference gets.

    Returns:
        float32 (queries, items), in catalogue order.
    """
    model, device = snapshot.artifact.model, snapshot.item_vectors.device
    rows = pad_histories(histories, model.config.max_length).to(device)
    with torch.inference_mode(), _few_threads(len(histories)):
        if preferences is None:
            vectors = model.query(rows)
        else:
            weights = torch.tensor(trusts, dtype=torch.float32, device=device).unsqueeze(1)
            has = torch.tensor(has_preference, device=device)
            vectors = model.query(rows, torch.from_numpy(preferences).to(device), has, weights)
        scores: NDArray[np.float32] = (vectors @ snapshot.item_vectors.T).cpu().numpy()
    for line, history, has_text in zip(scores, histories, has_preference, strict=True):
        if not len(history) and not has_text:
            line[:] = snapshot.popularity
    return scores


def _encode(snapshot: Snapshot, encoder: Encoder, preferences: Sequence[str]) -> NDArray[np.float32]:
    encoded = encode_preferences(encoder, snapshot.artifact.catalogue, preferences)
    width = snapshot.artifact.text_embeddings.shape[1]
    if encoded.shape != (len(preferences), width):
        raise ConfigError(
            f"The text encoder {encoder.id!r} gave vectors {encoded.shape[1]} wide where the artifact needs "
            f"{width}. Use the encoder that the artifact was trained with."
        )
    return encoded


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
