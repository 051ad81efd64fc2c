"""Baselines that need no training: popularity and item co-occurrence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.systems.catalogue_rows import FindRows, make_row_finder
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import CatalogueView

Scorer = Callable[[Sequence[Sequence[str]]], NDArray[np.float64]]
"""Histories (item ids, oldest first) -> scores (histories, items) in catalogue order, higher is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoOccurrenceConfig:
    """How near two items of a history have to be to co-occur, and which items of a history count.

    The window was chosen on the validation targets of ml-100k (NDCG@10, seen items masked), out of 1, 3, 5, 10, 20 and
    the whole history, each with raw counts and with cosines.
    """

    window: int = 20
    """Two items co-occur when at most this many steps lie between them in one history."""
    last: int = 5
    """Items of a history that count, from its end."""

    def __post_init__(self) -> None:
        for name in ("window", "last"):
            if getattr(self, name) < 1:
                raise ConfigError(f"CoOccurrenceConfig.{name} is {getattr(self, name)}. Set it to 1 or more.")


def make_popularity_scorer(dataset: Dataset, *, holdout: int, catalogue: CatalogueView | None = None) -> Scorer:
    """Score every item by its interactions, the last `holdout` of each user left out; the same for every history.

    Args:
        dataset: What is counted.
        holdout: Items at the end of each user's sequence that are not counted.
        catalogue: Whose order the scores have; None is the data's own.
    """
    counts = count_interactions(dataset, holdout, catalogue)

    def score(histories: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        return np.tile(counts, (len(histories), 1))

    return score


def count_interactions(dataset: Dataset, holdout: int, catalogue: CatalogueView | None = None) -> NDArray[np.float64]:
    """Interactions of each item (items,), the last `holdout` of each user left out, in the catalogue's order."""
    known = dataset.catalogue if catalogue is None else catalogue
    return _counts(_sequences(dataset, holdout, make_row_finder(known)), len(known))


def make_cooccurrence_scorer(
    dataset: Dataset,
    *,
    holdout: int,
    catalogue: CatalogueView | None = None,
    config: CoOccurrenceConfig | None = None,
) -> Scorer:
    """Score every item by its co-occurrence with the last items of the history.

    The score is the sum, over the last `config.last` items of the history, of count(item, other) /
    sqrt(count(item) * count(other)); 0 for a pair that never stood within `config.window` steps.

    Args:
        dataset: What is counted, without the last `holdout` items of each user.
        holdout: Items at the end of each user's sequence that are not counted.
        catalogue: Whose order the scores have; None is the data's own.
        config: The window, and how much of a history counts.
    """
    config = config or CoOccurrenceConfig()
    known = dataset.catalogue if catalogue is None else catalogue
    items, rows_of = len(known), make_row_finder(known)
    sequences = _sequences(dataset, holdout, rows_of)
    counts = np.maximum(_counts(sequences, items), 1)
    first, second, together = _pairs(sequences, items, config.window)
    cosine = together / np.sqrt(counts[first] * counts[second])
    start = np.searchsorted(first, np.arange(items + 1))  # (items + 1,): where each item's pairs begin

    def score(histories: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        scores = np.zeros((len(histories), items))
        for line, history in zip(scores, histories, strict=True):
            for row in rows_of(history[-config.last :]):
                pairs = slice(start[row], start[row + 1])
                line[second[pairs]] += cosine[pairs]  # an item's partners are distinct
        return scores

    return score


def _sequences(dataset: Dataset, holdout: int, rows_of: FindRows) -> list[NDArray[np.int64]]:
    return [rows_of(dataset.history(user, holdout)) for user in dataset.users]


def _counts(sequences: Sequence[NDArray[np.int64]], items: int) -> NDArray[np.float64]:
    flat = np.concatenate([np.empty(0, np.int64), *sequences])
    return np.bincount(flat, minlength=items).astype(np.float64)


def _pairs(
    sequences: Sequence[NDArray[np.int64]], items: int, window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count ordered pairs of different items within `window` steps, sorted, in both directions."""
    keys, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    longest = max(map(len, sequences), default=0)
    for step in range(1, min(window, longest - 1) + 1):
        left = np.concatenate([sequence[:-step] for sequence in sequences])
        right = np.concatenate([sequence[step:] for sequence in sequences])
        different = left != right
        low, high = np.minimum(left, right)[different], np.maximum(left, right)[different]
        new, new_counts = np.unique(low * items + high, return_counts=True)
        merged, inverse = np.unique(np.concatenate([keys, new]), return_inverse=True)
        total = np.zeros(len(merged), np.int64)
        np.add.at(total, inverse, np.concatenate([counts, new_counts]))
        keys, counts = merged, total
    low, high = np.divmod(keys, items)
    first, second = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((second, first))
    return first[order], second[order], np.concatenate([counts, counts])[order]
