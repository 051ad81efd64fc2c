"""What knowledge is worth: the first items of a recommender's list, ranked again with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import (
    Interval,
    clustered_interval,
    ndcg_from_ranks,
    paired_interval,
    recall_from_ranks,
    reciprocal_from_ranks,
)
from deeprec.training.feedback.knowledge_runs import KnowledgeRun
from deeprec.trm_tool.recommender import Recommender, retrieve_batch
from deeprec.trm_tool.trm.training.trust_calibration import TRUSTS

DEPTHS = (20, 100)
"""Items of the recommender's list that are ranked again."""
METRICS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "ndcg@10": lambda ranks: ndcg_from_ranks(ranks, 10),
    "map": reciprocal_from_ranks,
    "recall@10": lambda ranks: recall_from_ranks(ranks, 10),
}
"""Metric -> its values for the ranks of one target each (n,); with one target the MAP is the mean reciprocal rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankedRow:
    """One way to rank the first items again."""

    row: str
    depth: int
    """Items of the recommender's list that were ranked again."""
    metrics: Mapping[str, Interval]
    """Metric -> mean over people with its 95% interval."""
    above_alone: Mapping[str, Interval]
    """The same, less the recommender alone on the same people."""
    above_untuned: Mapping[str, Interval]
    """The same, less the recommender with untuned knowledge: what tuning and re-alignment add."""

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON: a missing number is None."""
        return {
            "row": self.row,
            "depth": self.depth,
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "above_alone": {name: interval.to_dict() for name, interval in self.above_alone.items()},
            "above_untuned": {name: interval.to_dict() for name, interval in self.above_untuned.items()},
        }


def first_items(recommender: Recommender, runs: Sequence[KnowledgeRun], depth: int) -> list[list[str]]:
    """Retrieve the first items for history and message, without knowledge, a list for each run."""
    found = retrieve_batch(recommender, [run.plain_query for run in runs], k=depth)
    return [[item.id for item in own] for own in found]


def reranked_ranks(
    recommender: Recommender,
    runs: Sequence[KnowledgeRun],
    first: Sequence[Sequence[str]],
    *,
    trust: float | None = None,
) -> NDArray[np.float64]:
    """Rank each run's target among the first items, in the order of a recommender with the knowledge -> (runs,).

    Args:
        recommender: Augmented by knowledge; often another one than that of the first items.
        runs: A run without knowledge keeps the recommender's own order.
        first: The items to rank again, for each run.
        trust: In the knowledge; None leaves it to the recommender.

    Returns:
        1-based ranks; inf where the target is not among the first items.
    """
    ranks = np.full(len(runs), np.inf)
    reached = [at for at, run in enumerate(runs) if run.target in first[at]]
    queries = [replace(runs[at].query, trust=trust) for at in reached]
    for at, found in zip(reached, retrieve_batch(recommender, queries, k=len(recommender.catalogue)), strict=True):
        allowed = frozenset(first[at])
        order = [item.id for item in found if item.id in allowed]
        ranks[at] = 1 + order.index(runs[at].target)
    return ranks


def best_of_each(ranks: NDArray[np.float64], runs: Sequence[KnowledgeRun]) -> dict[str, float]:
    """The best rank of each group, by whoever knows the target: what choosing among its pieces could reach at most."""
    best: dict[str, float] = {}
    for rank, run in zip(ranks.tolist(), runs, strict=True):
        best[run.group_id] = min(rank, best.get(run.group_id, np.inf))
    return best


def choose_trust(recommender: Recommender, runs: Sequence[KnowledgeRun], depth: int = max(DEPTHS)) -> float:
    """Choose the trust in knowledge above 0 with the highest MAP of the ranking again, on runs of validation."""
    first = first_items(recommender, runs, depth)
    gains = {
        trust: float(reciprocal_from_ranks(reranked_ranks(recommender, runs, first, trust=trust)).mean())
        for trust in TRUSTS
        if trust
    }
    return max(gains, key=lambda trust: (gains[trust], -trust))


def measure_rows(
    ranks: Mapping[str, NDArray[np.float64]], depth: int, people: Sequence[str], *, alone: str, untuned: str
) -> list[RerankedRow]:
    """Measure rows of ranks of the same people, each against two of them; people are resampled.

    Args:
        ranks: Row -> ranks (people,), inf where the target was not reached.
        depth: Items that were ranked again.
        people: Whom each rank belongs to.
        alone: The row of the recommender alone.
        untuned: The row of untuned knowledge.
    """
    values = {row: {name: of(own) for name, of in METRICS.items()} for row, own in ranks.items()}

    def above(own: Mapping[str, NDArray[np.float64]], other: str) -> dict[str, Interval]:
        return {name: paired_interval(own[name], values[other][name], people) for name in METRICS}

    return [
        RerankedRow(
            row=row,
            depth=depth,
            metrics={name: clustered_interval(own[name], people) for name in METRICS},
            above_alone=above(own, alone),
            above_untuned=above(own, untuned),
        )
        for row, own in values.items()
    ]


def pairwise_agreement(
    groups: Sequence[str], first: Sequence[float], second: Sequence[float], people: Sequence[str]
) -> Interval:
    """Estimate how often two scores order two pieces of knowledge of one group alike; ties count for neither.

    Args:
        groups: The group of each piece (n,).
        first: One score of each piece.
        second: The other score.
        people: Whom each piece is about; people are resampled.

    Returns:
        The share of pairs that are ordered alike, with its 95% interval; 0.5 is chance.
    """
    members: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    alike: list[float] = []
    owners: list[str] = []
    for own in members.values():
        for number, one in enumerate(own):
            for other in own[number + 1 :]:
                product = (first[one] - first[other]) * (second[one] - second[other])
                if product:  # NaN compares as true, and is left out as a missing value
                    alike.append(float(product > 0) if product == product else np.nan)
                    owners.append(people[one])
    return clustered_interval(alike, owners)
