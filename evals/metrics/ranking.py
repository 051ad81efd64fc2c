"""Rank metrics on item ids, once for evaluation and training. Pure; a score that cannot be computed is NaN."""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.trm.ranking import ranks_with_ties

DRAWS_AT_ONCE = 2_000_000
"""Random draws held in memory at once."""
_FEW_DISTINCT, _GATHERED = 500, 200_000
"""Up to this many distinct values their counts are drawn; with more, the values are, as many as the cache holds."""


def recall_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Share of the relevant items among the first `k` of a list.

    Args:
        ranked: Item ids, best first. A repeated id counts once: its later copies are dropped before
            positions are counted, so what follows them moves up. A list shorter than `k` is not padded.
        relevant: Item ids, any order, repeats counted once.
        k: Positions that count, 1 or more.

    Returns:
        A share in [0, 1]; NaN if `relevant` is empty.
    """
    top, wanted = _distinct(ranked)[: _positive(k)], _wanted(relevant)
    return sum(item in wanted for item in top) / len(wanted) if wanted else math.nan


def ndcg_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Discounted gain of the first `k` of a list over that of the best list possible.

    Args:
        ranked: Item ids, best first; repeats and short lists as in `recall_at_k`.
        relevant: Item ids, any order, repeats counted once.
        k: Positions that count, 1 or more.

    Returns:
        A score in [0, 1]; NaN if `relevant` is empty.

    Source:
        Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418; binary gain, discount log2(rank + 1).
    """
    top, wanted = _distinct(ranked)[: _positive(k)], _wanted(relevant)
    if not wanted:
        return math.nan
    gain = sum(1 / math.log2(rank + 1) for rank, item in enumerate(top, start=1) if item in wanted)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))


def reciprocal_rank(ranked: Sequence[str], relevant: Collection[str], k: int | None = None) -> float:
    """One over the rank of the first relevant item among the first `k` of a list (None: of the whole list).

    Args:
        ranked: Item ids, best first; repeats and short lists as in `recall_at_k`.
        relevant: Item ids, any order.
        k: Positions that count, 1 or more.

    Returns:
        A score in [0, 1], 0 without a hit; NaN if `relevant` is empty.
    """
    top, wanted = _distinct(ranked)[: None if k is None else _positive(k)], _wanted(relevant)
    if not wanted:
        return math.nan
    return next((1 / rank for rank, item in enumerate(top, start=1) if item in wanted), 0.0)


def average_precision(ranked: Sequence[str], relevant: Collection[str], k: int | None = None) -> float:
    """Mean, over the relevant items, of the precision at the rank of each; its mean over cases is the MAP.

    With one relevant item it is `reciprocal_rank`, so that `reciprocal_from_ranks` gives it for ranks of one target.

    Args:
        ranked: Item ids, best first; repeats and short lists as in `recall_at_k`.
        relevant: Item ids, any order, repeats counted once.
        k: Positions that count, 1 or more; None counts all. At most `k` relevant items can stand there, and the mean is
            over as many.

    Returns:
        A score in [0, 1], 0 without a hit; NaN if `relevant` is empty.

    Source:
        Manning, Raghavan & Schütze 2008, Introduction to Information Retrieval, section 8.4.
    """
    top, wanted = _distinct(ranked)[: None if k is None else _positive(k)], _wanted(relevant)
    if not wanted:
        return math.nan
    hits = [rank for rank, item in enumerate(top, start=1) if item in wanted]
    reachable = len(wanted) if k is None else min(k, len(wanted))
    return sum(number / rank for number, rank in enumerate(hits, start=1)) / reachable


def target_ranks(
    scores: NDArray[np.floating], targets: NDArray[np.int64], masked: Sequence[NDArray[np.int64]] | None = None
) -> NDArray[np.float64]:
    """Rank of one target a row among all items, ties in score by position (catalogue order).

    Args:
        scores: (rows, items), higher is better; -inf for an item that cannot come back.
        targets: Position of each row's target, (rows,).
        masked: For each row the positions that cannot come back.

    Returns:
        1-based ranks (rows,); inf where the target itself cannot come back.

    Raises:
        ValueError: a score is NaN; it would compare as neither better nor worse and so improve the rank.
    """
    if np.isnan(scores).any():
        raise ValueError("A score is NaN, so the items have no order. Give -inf to an item that must not come back.")
    if masked is not None:
        scores = scores.copy()
        for row, positions in enumerate(masked):
            scores[row, positions] = -np.inf
    return ranks_with_ties(scores, targets)


def recall_from_ranks(ranks: ArrayLike, k: int) -> NDArray[np.float64]:
    """`recall_at_k` for one target each: 1 where the rank is `k` or better, 0 where not, NaN where it is NaN.

    Args:
        ranks: 1-based ranks of the targets, (n,); inf for a target that did not come back.
        k: Positions that count, 1 or more.
    """
    ranks = _checked(ranks)
    return np.where(np.isnan(ranks), np.nan, (ranks <= _positive(k)).astype(np.float64))


def ndcg_from_ranks(ranks: ArrayLike, k: int) -> NDArray[np.float64]:
    """`ndcg_at_k` for one target each: 1 / log2(rank + 1) where the rank is `k` or better, else 0; NaN stays NaN.

    Args:
        ranks: 1-based ranks of the targets, (n,); inf for a target that did not come back.
        k: Positions that count, 1 or more.
    """
    ranks = _checked(ranks)
    gains: NDArray[np.float64] = recall_from_ranks(ranks, k) / np.log2(ranks + 1)
    return gains


def reciprocal_from_ranks(ranks: ArrayLike, k: int | None = None) -> NDArray[np.float64]:
    """`reciprocal_rank` for one target each: 1 / rank, 0 beyond `k` or for a target that did not come back.

    Args:
        ranks: 1-based ranks of the targets, (n,); inf for a target that did not come back, NaN stays NaN.
        k: Positions that count, 1 or more; None counts all.
    """
    ranks = _checked(ranks)
    return 1 / ranks if k is None else recall_from_ranks(ranks, k) / ranks


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and how well the sample fixes it."""

    mean: float
    low: float
    high: float
    n: int
    """Values that the mean is taken over. Missing ones (NaN) are not among them."""

    def text(self, digits: int = 3, *, signed: bool = False, two_lines: bool = False) -> str:
        """Return the interval in words: `.216 (.191 to .242)`.

        Args:
            digits: Decimal places.
            signed: The mean is a difference, and has its sign: `+.012 (-.003 to .027)`.
            two_lines: The bounds stand under the mean, so that tables fit the width of a terminal.

        Returns:
            The mean alone where the sample shows no spread, and a dash where there is nothing to take a mean of.
        """
        if math.isnan(self.mean):
            return "–"
        mean = without_leading_zero(f"{self.mean:{'+' if signed else ''}z.{digits}f}")
        if math.isnan(self.low):
            return mean
        low, high = (without_leading_zero(f"{bound:z.{digits}f}") for bound in (self.low, self.high))
        return f"{mean}{chr(10) if two_lines else ' '}({low} to {high})"

    def to_dict(self) -> dict[str, float | None]:
        """Return the fields for JSON: a missing number is None."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def without_leading_zero(number: str) -> str:
    """Return a number in words without the zero before its point: `.5` of `0.5`, `-.5` of `-0.5`."""
    return re.sub(r"^([+-]?)0\.", r"\1.", number)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0) -> Interval:
    """Mean with a percentile bootstrap interval over the values (users, as a rule).

    NaN values are missing: left out, and seen in `n`. The bounds are NaN where the sample shows nothing of its own
    spread: fewer than two values, or all alike (0 hits of 8 does not prove that the next is none).

    Args:
        values: Any numbers (n,).
        confidence: Share of the resampled means inside the interval, in (0, 1).
        resamples: Resamples drawn.
        seed: Of the resampling: equal values and seed, equal interval.

    Source:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. Counts of the distinct values are drawn
        instead of the values, where those are few: the same distribution, in time that does not grow with n for rank
        metrics.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}. Give a share between 0 and 1, such as 0.95.")
    present = np.asarray(values, dtype=np.float64).ravel()
    present = present[~np.isnan(present)]
    n = len(present)
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(present.mean())
    distinct, counts = np.unique(present, return_counts=True)
    if len(distinct) < 2:
        return Interval(mean, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    is_few = len(distinct) <= _FEW_DISTINCT
    step = max(1, DRAWS_AT_ONCE // len(distinct) if is_few else _GATHERED // n)
    means = []
    for start in range(0, _positive(resamples, "resamples"), step):
        size = min(step, resamples - start)
        if is_few:
            means.append(rng.multinomial(n, counts / n, size=size) @ distinct / n)
        else:
            means.append(present[rng.integers(n, size=(size, n), dtype=np.int32)].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), n)


def clustered_interval(
    values: ArrayLike, clusters: ArrayLike, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """Estimate a mean of values that come in clusters, such as several targets of one user: clusters are resampled.

    Values of one cluster are alike, so an interval that takes them for independent ones is too narrow. With one value a
    cluster, this is `mean_interval`, drawn otherwise.

    Args:
        values: Any numbers (n,). NaN values are missing: left out, and seen in `n`.
        clusters: What each value belongs to, (n,), numbers or text; clusters may differ in size.
        confidence: Share of the resampled means inside the interval, in (0, 1).
        resamples: Resamples drawn.
        seed: Of the resampling: equal values and seed, equal interval.

    Returns:
        The mean over all values (not over the clusters' means); `n` counts values. The bounds are NaN where fewer than
        two clusters are left, or where all values are alike.

    Source:
        Davison & Hinkley 1997, Bootstrap Methods and their Application, section 3.8: whole clusters are resampled.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}. Give a share between 0 and 1, such as 0.95.")
    given, owners = np.asarray(values, dtype=np.float64).ravel(), np.asarray(clusters).ravel()
    if len(given) != len(owners):
        raise ValueError(f"{len(given)} values belong to {len(owners)} clusters; give one cluster a value.")
    present = ~np.isnan(given)
    given = given[present]
    if not len(given):
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(given.mean())
    names, owner = np.unique(owners[present], return_inverse=True)
    if len(names) < 2 or (given == given[0]).all():
        return Interval(mean, math.nan, math.nan, len(given))
    totals, sizes = np.bincount(owner, weights=given), np.bincount(owner)
    rng = np.random.default_rng(seed)
    step = max(1, DRAWS_AT_ONCE // len(names))
    means = []
    for start in range(0, _positive(resamples, "resamples"), step):
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=min(step, resamples - start))
        means.append(drawn @ totals / (drawn @ sizes))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), len(given))


def paired_interval(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Estimate how far `first` is above `second` on the same cases: the mean difference with its bootstrap interval.

    What both find easy or hard cancels out, so this tells two systems apart that two separate intervals cannot.

    Args:
        first: A score of each case (n,).
        second: The other system's score of the same cases, in the same order. A pair with a NaN is left out.
        clusters: What each case belongs to (n,), such as its user; None takes the cases as independent.
        confidence: Share of the resampled differences inside the interval, in (0, 1).
        resamples: Resamples drawn.
        seed: Of the resampling.

    Returns:
        mean(first - second); `n` counts pairs. The bounds are NaN where all differences are alike.

    Raises:
        ValueError: the two differ in length, so that it is unknown which cases belong together.
    """
    one, other = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if len(one) != len(other):
        raise ValueError(f"{len(one)} scores cannot be paired with {len(other)}. Score the same cases, in one order.")
    if clusters is None:
        return mean_interval(one - other, confidence=confidence, resamples=resamples, seed=seed)
    return clustered_interval(one - other, clusters, confidence=confidence, resamples=resamples, seed=seed)


def _distinct(ranked: Sequence[str]) -> list[str]:
    if isinstance(ranked, str):
        raise TypeError(f"ranked is the text {ranked[:80]!r}. Give a list of item ids.")
    return list(dict.fromkeys(ranked))


def _wanted(relevant: Collection[str]) -> frozenset[str]:
    if isinstance(relevant, str):  # `in` would then search for text
        raise TypeError(f"relevant is the text {relevant[:80]!r}. Give a set of item ids.")
    return frozenset(relevant)


def _positive(value: int, name: str = "k") -> int:
    if value < 1:
        raise ConfigError(f"{name} is {value}. Set it to 1 or more.")
    return value


def _checked(ranks: ArrayLike) -> NDArray[np.float64]:
    checked = np.asarray(ranks, dtype=np.float64)
    if (checked < 1).any():
        raise ValueError(f"A rank is {checked.min():g}; ranks are counted from 1.")
    return checked
