"""Statistics of a stream that is read once, in memory that does not grow with it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from deeprec.evals.metrics.ranking import Interval

EXACT = 4_096
"""Values up to which quantiles are exact; beyond, they are within `ACCURACY` of a value of that rank."""
ACCURACY = 0.005
MAX_DISTINCT = 20_000
"""Different texts that are counted apart."""
MAX_TEXT_CHARS = 200
_Z = NormalDist().inv_cdf(0.975)


def proportion_interval(successes: int, n: int) -> Interval:
    """A proportion with its 95% interval, which holds for few trials and at 0 and 1 too. NaN for no trial.

    Args:
        successes: 0..n.
        n: Independent trials.

    Source:
        Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    share, spread = successes / n, _Z * _Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), n)


class Proportion:
    """A share of runs, each of which counts once."""

    def __init__(self) -> None:
        self.successes, self.n = 0, 0

    def add(self, is_so: bool) -> None:
        """Count one run."""
        self.successes += is_so
        self.n += 1

    def interval(self) -> Interval:
        """With Wilson's interval."""
        return proportion_interval(self.successes, self.n)


class Ratio:
    """A total over another, each summed over runs: a share of items or of turns, or (`whole` 1) a mean over runs.

    Items of one run are alike, so runs are what the interval takes as independent.
    """

    def __init__(self, low: float = -math.inf, high: float = math.inf) -> None:
        """`low`, `high`: where the interval is cut; 0 and 1 for a share."""
        self._low, self._high = low, high
        self._runs = self._parts = self._wholes = 0.0
        self._parts2 = self._wholes2 = self._cross = 0.0

    def add(self, part: float, whole: float = 1.0) -> None:
        """Take one run. One with nothing to count (`whole` 0, or NaN) says nothing and is left out."""
        if not whole or math.isnan(part):
            return
        self._runs += 1
        self._parts += part
        self._wholes += whole
        self._parts2 += part * part
        self._wholes2 += whole * whole
        self._cross += part * whole

    @property
    def value(self) -> float:
        """The ratio; NaN where nothing was counted."""
        return self._parts / self._wholes if self._wholes else math.nan

    def interval(self) -> Interval:
        """With its 95% interval; `n` is the lower total. The bounds are NaN for fewer than two runs, or all alike.

        Source:
            Cochran 1977, Sampling Techniques, section 6.4: the variance of a ratio of two sums over sampled clusters.
        """
        ratio, n = self.value, round(self._wholes)
        if self._runs < 2:
            return Interval(ratio, math.nan, math.nan, n)
        squares = self._parts2 - 2 * ratio * self._cross + ratio * ratio * self._wholes2
        if squares <= 1e-9 * max(self._parts2, ratio * ratio * self._wholes2):  # rounding apart, all alike
            return Interval(ratio, math.nan, math.nan, n)
        half = _Z * math.sqrt(squares * self._runs / (self._runs - 1)) / self._wholes
        return Interval(ratio, max(self._low, ratio - half), min(self._high, ratio + half), n)


@dataclass(frozen=True, slots=True)
class Spread:
    """How some values are spread; NaN for no value."""

    n: int
    mean: float
    median: float
    p95: float
    largest: float


class Quantiles:
    """The spread of values of 0 or more: exact for `EXACT` values, then from a histogram of bins of one relative width.

    Source:
        Masson, Rim & Lee 2019 (DDSketch), doi:10.14778/3352063.3352135.
    """

    def __init__(self) -> None:
        self._values: list[float] = []
        self._bins: Counter[int] = Counter()
        self._zeros, self._n, self._total, self._largest = 0, 0, 0.0, -math.inf

    def add(self, value: float) -> None:
        """Take one value; NaN, an infinite or a negative one is missing and left out."""
        if not 0 <= value < math.inf:
            return
        self._n += 1
        self._total += value
        self._largest = max(self._largest, value)
        self._values.append(value)
        if self._n > EXACT:
            for kept in self._values:
                if kept < 1e-9:
                    self._zeros += 1
                else:
                    self._bins[math.ceil(math.log(kept) / _LOG_WIDTH)] += 1
            self._values.clear()

    def spread(self) -> Spread:
        """Everything on the values so far."""
        if not self._n:
            return Spread(0, math.nan, math.nan, math.nan, math.nan)
        return Spread(self._n, self._total / self._n, self._quantile(0.5), self._quantile(0.95), self._largest)

    def _quantile(self, share: float) -> float:
        if self._values:
            return float(np.quantile(self._values, share))
        before, rank = self._zeros, share * (self._n - 1)
        if rank < before:
            return 0.0
        for place in sorted(self._bins):
            before += self._bins[place]
            if rank < before:
                return min(self._largest, math.exp(place * _LOG_WIDTH) * 2 / (1 + math.exp(_LOG_WIDTH)))
        return self._largest


_LOG_WIDTH = math.log((1 + ACCURACY) / (1 - ACCURACY))


class Commonest:
    """How often each text came, for the first `MAX_DISTINCT` different ones; long ones are cut."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.n = 0
        self.is_floor = False
        """Whether there were more different texts than are counted apart."""

    def add(self, text: str) -> None:
        """Count one text."""
        self.n += 1
        cut = text[:MAX_TEXT_CHARS]
        if cut in self._counts or len(self._counts) < MAX_DISTINCT:
            self._counts[cut] += 1
        else:
            self.is_floor = True

    @property
    def distinct(self) -> int:
        """Different texts, or how many of them are counted apart."""
        return len(self._counts)

    def top(self, count: int) -> tuple[tuple[str, int], ...]:
        """The commonest, then by the text itself."""
        return tuple(sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))[:count])
