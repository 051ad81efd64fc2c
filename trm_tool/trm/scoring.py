"""From queries to scores of every item: histories and preferences become vectors, constraints become masks."""

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
from deeprec.trm_tool.trm.model import PADDING_ROW
from deeprec.trm_tool.trm.snapshot import Snapshot
from deeprec.trm_tool.trm.training.preferences import encode_preferences

SMALL_BATCH = 32
"""Up to this many queries are scored on one thread."""


def score(snapshot: Snapshot, encoder: Encoder, queries: Sequence[Query]) -> tuple[NDArray[np.float32], list[Filtered]]:
    """Score every item for queries, in one forward pass.

    Returns:
        Scores (queries, items), -inf where an item must not come back; and what became of each query's constraints.

    Raises:
        UnknownItemError: an id of a history or of `exclude` never was in the catalogue.
        ConfigError: a setting of a query makes no sense, or the encoder does not fit the artifact.
    """
    catalogue, model = snapshot.artifact.catalogue, snapshot.artifact.model
    histories = [item_rows(catalogue, query.history, "history") for query in queries]
    filtered = [
        allowed_items(catalogue, snapshot.attributes, query, history)
        for query, history in zip(queries, histories, strict=True)
    ]
    default = float(snapshot.artifact.config["trust"])
    # Beside no history any trust is full trust; only a caller can say that a preference is not to be read at all.
    trusts = [
        query.trust if query.trust is not None else default if len(history) else 1.0
        for query, history in zip(queries, histories, strict=True)
    ]
    wishes = [
        plain(query.preference or "", MAX_TEXT_CHARS) if trust else ""
        for query, trust in zip(queries, trusts, strict=True)
    ]
    # Always the full length, as in training: the model's frequency filter depends on it, so that an answer would
    # otherwise depend on the other histories of its batch.
    length = model.config.max_length
    rows = torch.full((len(queries), length), PADDING_ROW)
    for index, history in enumerate(histories):
        latest = torch.from_numpy(history[-length:])
        rows[index, : len(latest)] = latest
    device = snapshot.item_vectors.device
    has = torch.tensor([bool(wish) for wish in wishes])
    preference = _encode(snapshot, encoder, wishes).to(device) if has.any() else None
    with torch.inference_mode(), _few_threads(len(queries)):
        weights = torch.tensor(trusts, device=device).unsqueeze(1)
        vectors = model.query(rows.to(device), preference, has.to(device) if has.any() else None, weights)
        scores: NDArray[np.float32] = (vectors @ snapshot.item_vectors.T).cpu().numpy()
    for index, (history, wish) in enumerate(zip(histories, wishes, strict=True)):
        if not len(history) and not wish:
            scores[index] = snapshot.popularity
        scores[index][~filtered[index].mask] = -np.inf
    return scores, filtered


def _encode(snapshot: Snapshot, encoder: Encoder, wishes: Sequence[str]) -> torch.Tensor:
    encoded = encode_preferences(encoder, snapshot.artifact.catalogue, wishes)
    width = snapshot.artifact.text_embeddings.shape[1]
    if encoded.shape != (len(wishes), width):
        raise ConfigError(
            f"The text encoder {encoder.id!r} gave vectors {encoded.shape[1]} wide where the artifact needs "
            f"{width}. Use the encoder that the artifact was trained with."
        )
    return torch.from_numpy(encoded)


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
