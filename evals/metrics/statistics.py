"""Statistics of the difference between two systems: a paired test, its correction for many tests, and its power."""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deeprec.trm_tool.errors import ConfigError

FEW_USERS = 100
"""Below this many users a result is reported as one of too few users."""
DRAWS_AT_ONCE = 2_000_000
"""Random draws held in memory at once."""


def randomisation_test(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 20_000,
    seed: int = 0,
) -> float:
    """Estimate how often chance sets two systems as far apart as they are: a paired, two-sided randomisation test.

    If the systems were alike, the two scores of a user could be swapped. Swaps are drawn; the p-value is the share of
    draws whose mean difference is at least as far from zero as the one seen, the one seen counted as a draw.

    Args:
        first: A score of each user (n,).
        second: The other system's scores of the same users, in the same order. A pair with a NaN is left out.
        clusters: What each pair belongs to (n,), such as its conversation: the pairs of one cluster are swapped
            together, since they are alike. None takes the pairs as independent.
        resamples: Draws. The smallest p-value that can come out is 1 / (resamples + 1).
        seed: Of the draws: equal values and seed, equal p-value.

    Returns:
        A p-value in (0, 1]; 1 where no pair differs, NaN where there is no pair.

    Raises:
        ValueError: the two differ in length, so that it is unknown which scores belong together.

    Source:
        Smucker, Allan & Carterette 2007, doi:10.1145/1321440.1321528. Signs of equal differences are drawn together, as
        one binomial number: the same distribution, in time that does not grow with n for rank metrics.
    """
    differences = _cluster_sums(*_differences(first, second, clusters))
    if not len(differences):
        return math.nan
    seen = abs(differences.sum())
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    rng = np.random.default_rng(seed)
    as_far, step = 0, max(1, DRAWS_AT_ONCE // len(counts))
    for start in range(0, resamples, step):
        drawn = rng.binomial(counts, 0.5, size=(min(step, resamples - start), len(counts)))  # (draws, distinct sizes)
        sums = (2.0 * drawn - counts) @ sizes
        as_far += int((np.abs(sums) >= seen * (1 - 1e-12)).sum())  # sums in another order round otherwise
    return (as_far + 1) / (resamples + 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values for several comparisons, so that one false alarm among all of them stays rare.

    Args:
        p_values: Comparison -> p-value. NaN stays NaN and counts as no comparison.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    known = sorted((value, name) for name, value in p_values.items() if not math.isnan(value))
    corrected = dict.fromkeys(p_values, math.nan)
    highest = 0.0
    for index, (value, name) in enumerate(known):
        highest = max(highest, min(1.0, value * (len(known) - index)))
        corrected[name] = highest
    return corrected


def smallest_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float:
    """Estimate the true difference that a sample like this one would have shown with probability `power`.

    A comparison that found no difference leaves differences smaller than this open.

    Args:
        first: A score of each user (n,).
        second: The other system's scores of the same users. A pair with a NaN is left out.
        clusters: What each pair belongs to (n,), such as its conversation; None takes the pairs as independent.
        confidence: Of the two-sided interval that has to leave out zero.
        power: Share of such samples that would show the difference.

    Returns:
        A difference of means, above 0; NaN with fewer than two pairs or clusters, or where all differences are alike.

    Source:
        The normal approximation of a paired test's power, such as in Sakai 2018, Laboratory Experiments in Information
        Retrieval, chapter 6; the variance of a mean over sampled clusters: Cochran 1977, Sampling Techniques, 6.4.
    """
    for name, share in (("confidence", confidence), ("power", power)):
        if not 0 < share < 1:
            raise ConfigError(f"{name} is {share}. Give a share between 0 and 1.")
    differences, owners = _differences(first, second, clusters)
    if len(differences) < 2 or (differences == differences[0]).all():
        return math.nan
    spread = _cluster_sums(differences - differences.mean(), owners)
    if len(spread) < 2:
        return math.nan
    normal = NormalDist()
    reach = normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)
    groups = len(spread)
    return float(reach * math.sqrt((spread @ spread) * groups / (groups - 1)) / len(differences))


def _differences(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.generic] | None]:
    """The differences of all pairs that are whole, and the cluster of each; None where pairs are independent."""
    one, other = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if len(one) != len(other):
        raise ValueError(f"{len(one)} scores cannot be paired with {len(other)}. Score the same users, in one order.")
    differences = one - other
    is_whole = ~np.isnan(differences)
    if clusters is None:
        return differences[is_whole], None
    owners = np.asarray(clusters).ravel()
    if len(owners) != len(differences):
        raise ValueError(f"{len(differences)} pairs belong to {len(owners)} clusters; give one cluster a pair.")
    return differences[is_whole], owners[is_whole]


def _cluster_sums(values: NDArray[np.float64], owners: NDArray[np.generic] | None) -> NDArray[np.float64]:
    """Sum the values of each cluster; without clusters every value stands alone."""
    if owners is None:
        return values
    _, owner = np.unique(owners, return_inverse=True)
    sums: NDArray[np.float64] = np.bincount(owner, weights=values).astype(np.float64)
    return sums
