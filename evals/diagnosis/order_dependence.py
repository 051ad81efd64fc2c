"""How much a ranking depends on the order in which its candidates were shown: pairs of runs that differ in that alone.

Pure: shown orders and written lists in, numbers out. Where the order was drawn by chance, a ranking that judges the
items has nothing to do with it; so the association of the two is a measure of what the order alone decides, and drawing
the order anew is its test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import Interval, clustered_interval, mean_interval

CUTOFFS = (1, 5)
"""Positions from the top at which two lists are compared."""
RESAMPLES = 20_000
"""Draws of the permutation test: no p-value is below 1 / (RESAMPLES + 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRun:
    """The candidates that a run showed its model, and the list that the model made of them."""

    user: str
    seed: int | None
    """The seed of the sampling; the run of the other order that it is paired with has the same."""
    shown: tuple[str, ...]
    """Candidates in the order in which the model saw them."""
    written: tuple[str, ...]
    """The model's own list, best first; repeats count once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How much of the top of two lists is the same."""

    k: int
    share: Interval
    """The share of the first `k` of the longer list that is among the first `k` of the other."""
    chance: float
    """That share if one of the lists were drawn at random from the candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDependence:
    """What the order of the candidates decides. Means over pairs of runs, with intervals over users."""

    pairs: int
    """Runs of the same user and seed with the same candidates in two orders, both with a list."""
    left_out: int
    """Runs with drawn order that have no such partner."""
    drawn: Interval
    """Kendall's tau of position shown and position written where the order was drawn: 0 for a ranking that does not
    heed the order, 1 for one that repeats it."""
    p_value: float
    """How often a drawn order alone gives a mean tau this far from 0."""
    own: Interval
    """The same where the recommender's own order was shown; a ranking that agrees with the recommender has it too."""
    agreement: Interval
    """Kendall's tau-b of the two written lists: 1 where the order decides nothing, 0 where they agree as by chance.
    Sampling at a temperature lowers it as well."""
    overlaps: tuple[Overlap, ...]
    copied: Interval
    """Share of the lists, order drawn, that are exactly the first candidates as shown."""
    copied_chance: float
    """That share if lists were drawn at random."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; a missing number is None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def measure_order(own: Sequence[ShownRun], drawn: Sequence[ShownRun], *, seed: int = 0) -> OrderDependence:
    """Compare runs that were shown the same candidates in the recommender's order and in one drawn at random.

    Args:
        own: Runs with the recommender's order.
        drawn: Runs with the drawn order, each drawn for itself.
        seed: Of the intervals and of the test.

    Returns:
        The figures over the pairs of one user and seed; NaN where there is no pair.

    Source:
        Kendall 1938, doi:10.1093/biomet/30.1-2.81; an item that was not written ranks below those that were. Pairs of
        the orders shown and written that this leaves tied are not counted; for two written lists, both of which have
        ties, it is tau-b (Kendall 1945, doi:10.1093/biomet/33.3.239).
    """
    partners = {(run.user, run.seed): _distinct(run) for run in own}
    pairs = []
    for run in map(_distinct, drawn):
        partner = partners.get((run.user, run.seed))
        if partner is None or not (run.written and partner.written) or len(run.shown) < 2:
            continue
        if set(partner.shown) == set(run.shown):
            pairs.append((partner, run))
    users = [run.user for _, run in pairs]

    def interval(values: Sequence[float]) -> Interval:
        if len(set(users)) == len(users):
            return mean_interval(values, seed=seed)
        return clustered_interval(values, users, seed=seed)

    taus = [shown_written_tau(run) for _, run in pairs]
    sizes = Counter((len(run.shown), len(run.written)) for _, run in pairs)
    overlaps = []
    for k in CUTOFFS:
        tops = [(set(one.written[:k]), set(other.written[:k]), len(other.shown)) for one, other in pairs]
        overlaps.append(
            Overlap(
                k=k,
                share=interval([len(one & other) / max(len(one), len(other)) for one, other, _ in tops]),
                chance=_mean([min(len(one), len(other)) / n for one, other, n in tops]),
            )
        )
    return OrderDependence(
        pairs=len(pairs),
        left_out=len(drawn) - len(pairs),
        drawn=interval(taus),
        p_value=permutation_test(taus, sizes, seed=seed),
        own=interval([shown_written_tau(run) for run, _ in pairs]),
        agreement=interval([list_tau(one.written, other.written, len(other.shown)) for one, other in pairs]),
        overlaps=tuple(overlaps),
        copied=interval([float(run.written == run.shown[: len(run.written)]) for _, run in pairs]),
        copied_chance=_mean([1 / math.perm(len(run.shown), len(run.written)) for _, run in pairs]),
    )


def shown_written_tau(run: ShownRun) -> float:
    """Compute Kendall's tau, in [-1, 1], of the positions shown and written; NaN without two candidates.

    1: the list is the first candidates as shown. Its expectation is 0 where the order shown was drawn at random.
    """
    counted = _ordered_pairs(len(run.written), len(run.shown))
    if not counted:
        return math.nan
    position = {item: index for index, item in enumerate(run.shown)}
    left, discordant = set(run.shown), 0
    for item in run.written:
        left.remove(item)
        discordant += sum(position[other] < position[item] for other in left)
    return 1 - 2 * discordant / counted


def list_tau(first: Sequence[str], second: Sequence[str], candidates: int) -> float:
    """Kendall's tau-b of two lists out of the same candidates; NaN where one of them orders no pair.

    Candidates that neither list names count too: both lists set what they share above them. So the expectation is 0
    where one of the lists was drawn at random, however short they are.

    Args:
        first: Different items, best first.
        second: The same of the other list.
        candidates: How many items the lists were made from.
    """
    ordered = math.sqrt(_ordered_pairs(len(first), candidates) * _ordered_pairs(len(second), candidates))
    if not ordered:
        return math.nan
    names = list(dict.fromkeys((*first, *second)))
    positions = []
    for listed in (first, second):
        position = {item: index for index, item in enumerate(listed)}
        positions.append(np.array([position.get(item, len(listed)) for item in names]))
    signs = [np.sign(own[:, None] - own[None, :]) for own in positions]
    above_unnamed = len(set(first) & set(second)) * (candidates - len(names))
    return float((signs[0] * signs[1]).sum() / 2 + above_unnamed) / ordered


def permutation_test(
    taus: Sequence[float], sizes: Mapping[tuple[int, int], int], *, resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """How often lists that do not heed the order give taus whose mean is as far from 0 as theirs (two-sided).

    Args:
        taus: `shown_written_tau` of each run.
        sizes: (candidates, items written) -> how many of the runs have them.
        resamples: Draws of all orders. The smallest p-value that can come out is 1 / (resamples + 1).
        seed: Of the draws.

    Returns:
        A p-value in (0, 1]; NaN without a run.

    Source:
        Under a random order, the number of candidates shown before the i-th of the list and not listed above it is
        uniform on 0..n - i, independently (the Lehmer code of a permutation). So the distribution of tau is exact, and
        runs of equal size are drawn together, as one multinomial.
    """
    if not len(taus):
        return math.nan
    rng, totals = np.random.default_rng(seed), np.zeros(resamples)
    for (n, m), count in sizes.items():
        values, chances = _null_taus(n, m)
        totals += rng.multinomial(count, chances, size=resamples) @ values
    seen = abs(float(np.sum(taus)))
    return (int((np.abs(totals) >= seen - 1e-9).sum()) + 1) / (resamples + 1)


def _ordered_pairs(written: int, candidates: int) -> int:
    """Pairs of candidates of which a list names at least one."""
    return written * candidates - written * (written + 1) // 2


def _null_taus(n: int, m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every tau that `m` items written of `n` can have, and its probability under a random order."""
    chances = np.ones(1)
    for i in range(1, m + 1):
        chances = np.convolve(chances, np.full(n - i + 1, 1 / (n - i + 1)))
    most = len(chances) - 1  # discordant pairs, 0 to all
    return 1 - 2 * np.arange(most + 1) / most, chances / chances.sum()


def _distinct(run: ShownRun) -> ShownRun:
    written = tuple(item for item in dict.fromkeys(run.written) if item in run.shown)
    return ShownRun(user=run.user, seed=run.seed, shown=tuple(dict.fromkeys(run.shown)), written=written)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
