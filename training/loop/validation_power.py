"""The people that a validation needs to see a difference between two versions of a policy."""

from __future__ import annotations

import math
from statistics import NormalDist

DEVIATION = 0.11
"""The standard deviation of a person's difference of NDCG@10 between two versions, where nothing better is known: 64
people of ml-100k had an interval of .027 to either side (docs/log.md)."""
CONFIDENCE, POWER = 0.95, 0.8


def people_needed(difference: float, deviation: float) -> int:
    """Compute how many people show a difference of means four times out of five.

    Args:
        difference: the true difference, above 0.
        deviation: the standard deviation of a person's difference.

    Source:
        The normal approximation of a paired test's power, as in `smallest_difference`.
    """
    normal = NormalDist()
    reach = normal.inv_cdf((1 + CONFIDENCE) / 2) + normal.inv_cdf(POWER)
    return max(2, math.ceil((reach * deviation / difference) ** 2))
