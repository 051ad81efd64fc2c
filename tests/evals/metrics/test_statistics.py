import math

import numpy as np
import pytest

from deeprec.evals import holm, randomisation_test, smallest_difference


def test_the_p_value_is_the_share_of_sign_flips_that_reach_as_far() -> None:
    # Three differences of 1: of the eight ways to sign them, two (+++ and ---) reach a sum of 3.
    p = randomisation_test([1, 1, 1], [0, 0, 0], resamples=200_000)
    assert p == pytest.approx(2 / 8, abs=0.005)


def test_unequal_differences_are_flipped_each_by_itself() -> None:
    # 3 + 1 = 4: reached by ++ and -- only, out of four.
    assert randomisation_test([3, 1], [0, 0], resamples=200_000) == pytest.approx(0.5, abs=0.005)
    # 3 - 1 = 2 is reached by every way of signing 3 and 1.
    assert randomisation_test([3, 0], [0, 1], resamples=1_000) == 1.0


@pytest.mark.slow
def test_a_test_of_equal_systems_raises_false_alarms_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((400, 2, 60))
    alarms = [randomisation_test(first, second, resamples=999, seed=3) < 0.05 for first, second in scores]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.03)


@pytest.mark.slow
def test_a_test_drawn_in_parts_is_the_same_test(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.random.default_rng(3).random((2, 300))
    whole = randomisation_test(first, second)
    monkeypatch.setattr("deeprec.evals.metrics.statistics.DRAWS_AT_ONCE", 7_000)
    assert randomisation_test(first, second) == whole


def test_nothing_to_compare_and_no_difference() -> None:
    assert math.isnan(randomisation_test([], []))
    assert math.isnan(randomisation_test([math.nan], [1.0]))
    assert randomisation_test([0.5, 0.5], [0.5, 0.5]) == 1.0
    with pytest.raises(ValueError, match="2 scores cannot be paired with 1"):
        randomisation_test([1, 2], [1])


def test_a_pair_with_a_missing_score_is_left_out() -> None:
    whole = randomisation_test([1, 0, 1], [0, 0.5, 0], seed=1)
    assert randomisation_test([1, math.nan, 0, 1], [0, 1, 0.5, 0], seed=1) == whole


def test_holm_by_hand() -> None:
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": math.nan})
    # Sorted .01 .03 .04 -> .03, .06, max(.06, .04).
    assert corrected["a"] == pytest.approx(0.03)
    assert corrected["c"] == pytest.approx(0.06)
    assert corrected["b"] == pytest.approx(0.06)
    assert math.isnan(corrected["d"])
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_the_smallest_difference_is_found_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, 400)
    noise /= noise.std(ddof=1)
    needed = smallest_difference(noise, np.zeros(400))
    assert needed == pytest.approx((1.959964 + 0.841621) / 20)
    shown = []
    for _ in range(500):
        sample = rng.normal(needed, 1, 400)
        shown.append(abs(sample.mean()) > 1.959964 * sample.std(ddof=1) / 20)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.06)


def test_a_sample_without_spread_shows_no_power() -> None:
    assert math.isnan(smallest_difference([1.0], [0.0]))
    assert math.isnan(smallest_difference([1.0, 1.0], [0.0, 0.0]))
    with pytest.raises(ValueError, match="power is 1"):
        smallest_difference([1.0, 2.0], [0.0, 0.0], power=1)
