"""Statistics of runs that are read once, as a stream, in at most a few numbers for each run."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from deeprec.evals.metrics.ranking import Interval

MAX_DISTINCT = 20_000
"""Different texts that are counted one by one."""
MAX_TEXT_CHARS = 200
_Z = NormalDist().inv_cdf(0.975)


def proportion_interval(successes: int, n: int) -> Interval:
    """Return a proportion with its 95% interval, which holds for few trials and at 0 and 1 too. NaN for no trial.

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
        """Return the share with Wilson's interval."""
        return proportion_interval(self.successes, self.n)


class Ratio:
    """One total over another, each summed over runs: a share of items or of turns, or (`whole` 1) a mean over runs.

    The interval takes runs as independent, not items, since the items of one run are alike.
    """

    def __init__(self, low: float = -math.inf, high: float = math.inf) -> None:
        """`low`, `high`: where the interval is cut; 0 and 1 for a share."""
        self._low, self._high = low, high
        self._runs = self._parts = self._wholes = 0.0
        self._parts2 = self._wholes2 = self._cross = 0.0

    def add(self, part: float, whole: float = 1.0) -> None:
        """Count one run; one with nothing to count (`whole` 0, or `part` NaN) is left out."""
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
        """Return the ratio with its 95% interval; `n` is the lower total.

        The bounds are NaN for fewer than two runs, and for runs that are all alike.

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
    """How values are spread; NaN for no value."""

    n: int
    mean: float
    median: float
    p95: float
    largest: float


class Quantiles:
    """The spread of values of 0 or more. Keeps 8 bytes a value: 22 MB for a diagnosis of 100,000 runs of four turns."""

    def __init__(self) -> None:
        self._values = array("d")

    def add(self, value: float) -> None:
        """Take one value; NaN, an infinite or a negative one is missing and left out."""
        if 0 <= value < math.inf:
            self._values.append(value)

    def spread(self) -> Spread:
        """Return the spread of the values so far."""
        if not self._values:
            return Spread(0, math.nan, math.nan, math.nan, math.nan)
        values = np.frombuffer(self._values)
        median, p95 = np.quantile(values, (0.5, 0.95))
        return Spread(values.size, float(values.mean()), float(median), float(p95), float(values.max()))


class Commonest:
    """How often each text occurs, for the first `MAX_DISTINCT` different ones; long ones are cut."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.n = 0
        self.is_floor = False
        """Whether there were more different texts than are counted one by one."""

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
        """Number of different texts, at most `MAX_DISTINCT`."""
        return len(self._counts)

    def top(self, count: int) -> tuple[tuple[str, int], ...]:
        """Return the commonest texts with their counts; equally common ones in the order of the texts."""
        return tuple(sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))[:count])
