"""Reciprocal rank fusion: one ranking of everything that the retrievals of a run found.

Source:
    Cormack et al. 2009, doi:10.1145/1571941.1572114, with their constant of 60.
"""

from __future__ import annotations

from collections.abc import Iterable

FUSION_CONSTANT = 60
"""What is added to each rank, so that the first positions of a retrieval count only a little more than the next."""


def reciprocal_rank(rank: int) -> float:
    """What one retrieval adds to the fused score of an item that it ranks at `rank`, from 1."""
    return 1 / (FUSION_CONSTANT + rank)


def fuse_rankings(rankings: Iterable[Iterable[str]]) -> dict[str, int]:
    """Rank items by the sum of their reciprocal ranks.

    Args:
        rankings: The item ids of each retrieval of a run, best first; the retrievals in their order.

    Returns:
        Item id -> the number under which the run's model saw the item, from 1. The keys are in fused order, best
        first; items of equal scores stay in the order in which they were found.
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, item_id in enumerate(ranking, start=1):
            scores[item_id] = scores.get(item_id, 0.0) + reciprocal_rank(rank)
    numbers = {item_id: number for number, item_id in enumerate(scores, start=1)}
    return {item_id: numbers[item_id] for item_id in sorted(scores, key=lambda item_id: -scores[item_id])}
