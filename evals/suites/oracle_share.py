"""How much of the way from a recommender with the raw words to the oracle a system goes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import DRAWS_AT_ONCE, Interval
from deeprec.evals.suites.comparison import masks_alike
from deeprec.evals.suites.results import SuiteResults, SystemResults

RESAMPLES = 2_000


def shares_of_the_way(results: SuiteResults, baseline: str, measure: str, *, seed: int = 0) -> dict[str, Interval]:
    """Estimate (system - baseline) / (oracle - baseline) of every other system, on the cases that all three have.

    0 is as good as the baseline, 1 as good as the oracle, which receives every attribute of the target; below 0 is
    worse than the baseline. Both differences are of the same resampled users, or conversations of requests.

    Args:
        results: A suite with an oracle; the first one counts.
        baseline: The system that the way begins at.
        measure: What is compared, such as `ndcg@10 filled`.
        seed: Of the resampling.

    Returns:
        System -> its share, with a percentile bootstrap interval; empty for a suite without an oracle. The share is NaN
        where the oracle is no better than the baseline, the bounds where that is so in a resample, or where there is
        one conversation only.
    """
    start = results.system(baseline)
    oracle = next((system for system in results.systems if system.oracle and system is not start), None)
    if oracle is None:
        return {}
    return {
        system.name: _share(system, start, oracle, measure, seed=seed)
        for system in results.systems
        if not system.oracle and system is not start and masks_alike(system, start)
    }


def _share(system: SystemResults, start: SystemResults, oracle: SystemResults, measure: str, *, seed: int) -> Interval:
    rows = [{user: row for row, user in enumerate(each.users)} for each in (system, start, oracle)]
    users = [user for user in system.users if all(user in each for each in rows)]
    own, low, high = (
        each.measures[measure][[of[user] for user in users]]
        for each, of in zip((system, start, oracle), rows, strict=True)
    )
    whole = ~np.isnan(own + low + high)
    names = np.array([system.clusters[rows[0][user]] for user in users], dtype=str)[whole]
    _, owner = np.unique(names, return_inverse=True)
    gained = np.bincount(owner, weights=(own - low)[whole]).astype(np.float64)
    possible = np.bincount(owner, weights=(high - low)[whole]).astype(np.float64)
    if not possible.sum() > 0:
        return Interval(np.nan, np.nan, np.nan, len(names))
    share = float(gained.sum() / possible.sum())
    ratios = _resampled(gained, possible, seed)
    if len(gained) < 2 or np.isnan(ratios).any():
        return Interval(share, np.nan, np.nan, len(names))
    bounds = np.quantile(ratios, [0.025, 0.975])
    return Interval(share, float(bounds[0]), float(bounds[1]), len(names))


def _resampled(gained: NDArray[np.float64], possible: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Ratios of the sums over resampled clusters (RESAMPLES,); NaN where the oracle is no better than the baseline."""
    rng, clusters = np.random.default_rng(seed), len(gained)
    step = max(1, DRAWS_AT_ONCE // clusters)
    parts = []
    for first in range(0, RESAMPLES, step):
        drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=min(step, RESAMPLES - first))
        way = drawn @ possible
        parts.append(np.where(way > 0, drawn @ gained / np.where(way > 0, way, 1.0), np.nan))
    return np.concatenate(parts)
