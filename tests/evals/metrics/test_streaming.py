import math
import tracemalloc

import numpy as np
import pytest

from deeprec.evals import Interval
from deeprec.evals.metrics.streaming import MAX_DISTINCT, Commonest, Quantiles, Ratio, proportion_interval


def test_wilsons_interval_of_known_cases() -> None:
    # By hand: p = .5, n = 10, z² = 3.8415; middle (.5 + .19207) / 1.38415, half √(.025 + .09604·.09604...) / 1.38415
    half = proportion_interval(5, 10)
    assert (half.mean, half.n) == (0.5, 10)
    assert half.low == pytest.approx(0.2366, abs=1e-4)
    assert half.high == pytest.approx(0.7634, abs=1e-4)
    none = proportion_interval(0, 8)  # nothing in eight does not prove never: z² / (n + z²)
    assert none.low == 0
    assert none.high == pytest.approx(3.8415 / 11.8415, abs=1e-4)
    assert proportion_interval(8, 8).high == 1
    nothing = proportion_interval(0, 0)
    assert nothing.n == 0
    assert math.isnan(nothing.mean)


def test_a_ratio_takes_runs_as_what_is_independent() -> None:
    ratio = Ratio(0, 1)
    for part, whole in ((1, 2), (0, 4), (3, 4)):
        ratio.add(part, whole)
    ratio.add(0, 0)  # nothing to count
    got = ratio.interval()
    # r = 4/10; residuals .2, -1.6, 1.4: squares .04 + 2.56 + 1.96 = 4.56; variance 4.56 · 3/2 / 100
    half = 1.959964 * math.sqrt(4.56 * 1.5 / 100)
    assert (got.mean, got.n) == (0.4, 10)
    assert got.low == pytest.approx(max(0, 0.4 - half))
    assert got.high == pytest.approx(0.4 + half, rel=1e-6)


def test_a_mean_over_runs_has_the_usual_standard_error() -> None:
    mean = Ratio()
    values = [1.0, 2.0, 4.0, math.nan]
    for value in values:
        mean.add(value)
    got = mean.interval()
    half = 1.959964 * float(np.std(values[:3], ddof=1)) / math.sqrt(3)
    assert got.n == 3
    assert (got.low, got.high) == (pytest.approx(7 / 3 - half, rel=1e-6), pytest.approx(7 / 3 + half, rel=1e-6))


@pytest.mark.parametrize("values", [[], [0.3], [0.3, 0.3, 0.3], [0.0, 0.0]])
def test_a_sample_without_spread_has_no_bounds(values: list[float]) -> None:
    ratio = Ratio(0, 1)
    for value in values:
        ratio.add(value)
    got: Interval = ratio.interval()
    assert got.n == len(values)
    assert math.isnan(got.low)
    assert math.isnan(got.high)
    assert math.isnan(got.mean) if not values else got.mean == pytest.approx(values[0])


def test_quantiles_are_exact_and_leave_missing_values_out() -> None:
    quantiles = Quantiles()
    for value in (4, 1, 3, 2, math.nan, math.inf, -1):
        quantiles.add(value)
    got = quantiles.spread()
    assert (got.n, got.mean, got.median, got.largest) == (4, 2.5, 2.5, 4)
    assert got.p95 == pytest.approx(3.85)
    quantiles.add(0)  # a spread does not end the stream
    assert quantiles.spread().median == 2
    empty = Quantiles().spread()
    assert empty.n == 0
    assert math.isnan(empty.median)


def test_many_values_take_eight_bytes_each() -> None:
    values = np.random.default_rng(0).lognormal(5, 2, 100_000)
    tracemalloc.start()
    try:
        quantiles = Quantiles()
        for value in values:
            quantiles.add(float(value))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10 * values.size  # an array grows in steps
    got = quantiles.spread()
    assert (got.n, got.median, got.largest) == (values.size, np.median(values), values.max())
    assert got.p95 == np.quantile(values, 0.95)


def test_texts_are_counted_one_by_one_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_DISTINCT > 1_000
    monkeypatch.setattr("deeprec.evals.metrics.streaming.MAX_DISTINCT", 2)
    texts = Commonest()
    for text in ("b", "a", "a", "c", "b", "x" * 10_000):
        texts.add(text)
    assert (texts.n, texts.distinct, texts.is_floor) == (6, 2, True)
    assert texts.top(5) == (("a", 2), ("b", 2))
