"""The list that is shown: what may still be recommended of a ranking, as diverse as the settings ask."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.recommender_calls import ItemFilter, is_unavailable, keep_allowed
from deeprec.agent.graph.state import Recommended
from deeprec.agent.traces.records import RecommendationRecord
from deeprec.trm_tool import AnyRecommender, CatalogueView
from deeprec.trm_tool.recommender import ItemVectors
from deeprec.trm_tool.trm.ranking import diversify

_log = logging.getLogger(__name__)


def pool_size(k: int, diversity: float) -> int:
    """How many items of a ranking a list of `k` is chosen from."""
    return 4 * k if diversity else k


async def choose_shown(
    ranking: Sequence[RecommendationRecord],
    recommender: AnyRecommender,
    filters: Sequence[ItemFilter],
    config: AgentConfig,
) -> list[RecommendationRecord]:
    """Choose the `config.k` positions of a ranking that are shown.

    The filters are asked once more, since a run takes a while. One that is unavailable now was available when the items
    were retrieved, so that its answer of then holds.
    """
    if ranking and filters:
        try:
            allowed = await keep_allowed([position.item_id for position in ranking], filters)
            ranking = [position for position in ranking if position.item_id in allowed]
        except Exception as error:
            if not is_unavailable(error):
                raise
            _log.warning("The item filter is unavailable, so that a list is filtered as of its retrievals: %s", error)
    item_ids = [position.item_id for position in ranking]
    order = diverse_order(recommender, item_ids, k=config.k, diversity=config.diversity)
    return [replace(ranking[at], rank=rank) for rank, at in enumerate(order, start=1)]


def as_recommended(listed: Sequence[RecommendationRecord], catalogue: CatalogueView) -> list[Recommended]:
    """A list as callers get it, with titles."""
    return [
        {
            "rank": position.rank,
            "item_id": position.item_id,
            "title": catalogue.item(position.item_id).title,
            "retrieval": position.retrieval,
            "score": position.score,
            "source": position.source,
        }
        for position in listed
    ]


def diverse_order(recommender: AnyRecommender, item_ids: Sequence[str], *, k: int, diversity: float) -> list[int]:
    """Choose the `k` positions of a ranking that are shown, by maximal marginal relevance (`diversify`).

    An item's relevance is the share of the ranking that it is before. Items are similar by the recommender's own
    vectors where it is an `ItemVectors`, else by the attributes that they share.

    Args:
        recommender: Which knows the items.
        item_ids: The ranking, best first, each item once.
        k: Positions to choose, at most.
        diversity: 0 chooses the first `k`; 1 chooses the first item and then by dissimilarity alone.
    """
    if not diversity or len(item_ids) < 2:
        return list(range(min(k, len(item_ids))))
    if isinstance(recommender, ItemVectors):
        vectors = recommender.item_vectors(item_ids)
    else:
        vectors = _attribute_vectors(recommender.catalogue, item_ids)
    relevance = np.linspace(1, 0, len(item_ids), endpoint=False, dtype=np.float32)
    return [int(at) for at in diversify(relevance, vectors, k=k, diversity=diversity)]


def _attribute_vectors(catalogue: CatalogueView, item_ids: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of unit length (n, values) with a column for each tag and category; numbers are left out."""
    columns: dict[tuple[str, str], int] = {}
    marked = []
    for row, item_id in enumerate(item_ids):
        for name, value in catalogue.item(item_id).attributes.items():
            if isinstance(value, float | int):
                continue
            for each in (value,) if isinstance(value, str) else value:
                marked.append((row, columns.setdefault((name, each), len(columns))))
    vectors = np.zeros((len(item_ids), max(1, len(columns))), dtype=np.float32)
    for row, column in marked:
        vectors[row, column] = 1
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(lengths, 1e-9)
    return vectors
