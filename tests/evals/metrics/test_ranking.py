import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deeprec.evals import (
    Interval,
    average_precision,
    clustered_interval,
    mean_interval,
    ndcg_at_k,
    ndcg_from_ranks,
    paired_interval,
    recall_at_k,
    recall_from_ranks,
    reciprocal_from_ranks,
    reciprocal_rank,
    target_ranks,
)
from deeprec.trm_tool import ConfigError

TOY_STORY, TOY_STORY_2, OTHER_TOY_STORY = "900", "893", "886"  # the tiny catalogue: two share a title, one contains it


def test_recall_by_hand() -> None:
    assert recall_at_k(["a", "b", "c"], {"b"}, 2) == 1
    assert recall_at_k(["a", "b", "c"], {"c"}, 2) == 0
    assert recall_at_k(["a", "b", "c"], {"b", "c", "x"}, 3) == pytest.approx(2 / 3)
    assert recall_at_k(["a"], {"a", "b", "c"}, 1) == pytest.approx(1 / 3)


def test_ndcg_by_hand() -> None:
    assert ndcg_at_k(["a", "b"], {"a"}, 10) == 1
    assert ndcg_at_k(["a", "b"], {"b"}, 10) == pytest.approx(0.63093, abs=1e-5)
    assert ndcg_at_k(["a", "b", "c"], {"c"}, 10) == pytest.approx(0.5)
    assert ndcg_at_k(["a", "b", "c"], {"a", "c"}, 10) == pytest.approx(1.5 / (1 + 1 / math.log2(3)))
    assert ndcg_at_k(["a", "b", "c"], {"a", "b", "c", "d"}, 2) == pytest.approx(1)  # no list of 2 is better
    assert ndcg_at_k(["a", "b", "c"], {"c"}, 2) == 0


def test_reciprocal_rank_by_hand() -> None:
    assert reciprocal_rank(["a", "b", "c"], {"c", "b"}) == 0.5
    assert reciprocal_rank(["a", "b", "c"], {"c"}) == pytest.approx(1 / 3)
    assert reciprocal_rank(["a", "b", "c"], {"c"}, k=2) == 0
    assert reciprocal_rank(["a", "b", "c"], {"x"}) == 0


def test_average_precision_by_hand() -> None:
    assert average_precision(["a", "b", "c", "d"], {"b", "d"}) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(["a", "b", "c"], {"a", "x"}) == pytest.approx(1 / 2)  # what is not found counts as 0
    assert average_precision(["b", "b", "a"], {"a"}) == 1 / 2  # a repeated item counts once
    assert average_precision(["a", "b", "c"], {"c"}, k=2) == 0
    assert average_precision(["a", "b"], {"a", "b", "c", "d"}, k=2) == 1  # no list of 2 is better
    assert average_precision(["a", "b", "c"], {"c"}) == reciprocal_rank(["a", "b", "c"], {"c"})


@pytest.mark.parametrize("metric", [average_precision, recall_at_k, ndcg_at_k, reciprocal_rank])
class TestTraps:
    def test_a_title_inside_a_title_is_no_hit(self, metric: Callable[..., float]) -> None:
        assert metric([TOY_STORY_2, "x"], {TOY_STORY}, 10) == 0
        assert metric(["90", "9000"], {TOY_STORY}, 10) == 0  # nor an id inside an id
        assert metric(["Toy Story 2"], {"Toy Story"}, 10) == 0

    def test_another_item_of_the_same_title_is_no_hit(self, metric: Callable[..., float]) -> None:
        assert metric([OTHER_TOY_STORY], {TOY_STORY}, 10) == 0

    def test_a_repeated_item_counts_once(self, metric: Callable[..., float]) -> None:
        once = metric(["a", "b"], {"b", "c"}, 10)
        assert metric(["a", "b", "b", "b"], {"b", "c"}, 10) == once
        assert metric(["b"] * 10, {"b"}, 10) == 1

    def test_copies_are_dropped_before_positions_are_counted(self, metric: Callable[..., float]) -> None:
        assert metric(["a", "a", "a", "b"], {"b"}, 2) == metric(["a", "b"], {"b"}, 2) > 0

    def test_a_short_list_is_not_padded(self, metric: Callable[..., float]) -> None:
        assert metric([], {"a"}, 10) == 0
        assert metric(["a"], {"a"}, 10) == 1

    def test_nothing_relevant_is_missing_and_not_zero(self, metric: Callable[..., float]) -> None:
        assert math.isnan(metric(["a"], set(), 10))

    def test_relevant_items_may_repeat(self, metric: Callable[..., float]) -> None:
        assert metric(["a"], ["a", "a"], 10) == 1

    def test_text_in_place_of_ids_is_refused(self, metric: Callable[..., float]) -> None:
        with pytest.raises(TypeError, match="set of item ids"):
            metric(["a"], "abc", 10)
        with pytest.raises(TypeError, match="list of item ids"):
            metric("abc", {"a"}, 10)

    def test_k_below_one_is_refused(self, metric: Callable[..., float]) -> None:
        with pytest.raises(ConfigError, match="k is 0"):
            metric(["a"], {"a"}, 0)


@given(ranked=st.permutations([str(item) for item in range(12)]), k=st.integers(1, 15), target=st.integers(0, 11))
def test_ranks_give_what_lists_give(ranked: list[str], k: int, target: int) -> None:
    rank = [ranked.index(str(target)) + 1]
    assert recall_from_ranks(rank, k)[0] == recall_at_k(ranked, {str(target)}, k)
    assert ndcg_from_ranks(rank, k)[0] == pytest.approx(ndcg_at_k(ranked, {str(target)}, k), abs=1e-12)
    assert reciprocal_from_ranks(rank, k)[0] == reciprocal_rank(ranked, {str(target)}, k)
    assert reciprocal_from_ranks(rank)[0] == reciprocal_rank(ranked, {str(target)})


@given(
    ranked=st.lists(st.sampled_from("abcdefgh"), max_size=12), relevant=st.sets(st.sampled_from("abcdefgh"), min_size=1)
)
def test_scores_stay_between_0_and_1(ranked: list[str], relevant: set[str]) -> None:
    for metric in (average_precision, recall_at_k, ndcg_at_k, reciprocal_rank):
        assert 0 <= metric(ranked, relevant, 5) <= 1 + 1e-12


def test_a_target_that_did_not_come_back_scores_0_and_a_missing_rank_stays_missing() -> None:
    ranks = [1.0, math.inf, math.nan]
    for scores in (recall_from_ranks(ranks, 10), ndcg_from_ranks(ranks, 10), reciprocal_from_ranks(ranks)):
        assert scores[:2].tolist() == [1, 0]
        assert math.isnan(scores[2])


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        recall_from_ranks([0, 3], 10)


def test_ties_in_score_go_by_position() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.5, 0.1]] * 4)
    assert target_ranks(scores, np.array([0, 1, 2, 3])).tolist() == [2, 1, 3, 4]


def test_masked_items_do_not_come_back_and_are_not_counted() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    masked = [np.array([0]), np.array([], dtype=np.int64), np.array([1])]
    assert target_ranks(scores, np.array([1, 1, 1]), masked).tolist() == [1, 2, math.inf]
    assert scores[0, 0] == 3  # the caller's scores are as they were


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        target_ranks(np.array([[math.nan, math.nan, 1.0]]), np.array([1]))


def test_the_interval_agrees_with_the_normal_one_on_many_values() -> None:
    values = np.repeat([0.0, 1.0], [800, 200])
    interval = mean_interval(values)
    half = 1.96 * math.sqrt(0.2 * 0.8 / 1000)
    assert interval.mean == pytest.approx(0.2)
    assert interval.n == 1000
    assert interval.low == pytest.approx(0.2 - half, abs=0.003)
    assert interval.high == pytest.approx(0.2 + half, abs=0.003)


def test_the_interval_of_values_that_all_differ_is_the_normal_one_too() -> None:
    values = np.random.default_rng(2).normal(3.0, 1.0, 2000)
    interval = mean_interval(values)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.004)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.004)
    assert interval == mean_interval(values)


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    intervals = [mean_interval(rng.normal(3.0, 1.0, 100), resamples=400, seed=draw) for draw in range(300)]
    assert 0.91 <= sum(interval.low <= 3.0 <= interval.high for interval in intervals) / 300 <= 0.985


def test_the_interval_repeats_with_its_seed_and_widens_with_its_confidence() -> None:
    values = np.random.default_rng(1).random(50)
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4) != mean_interval(values, seed=5)
    narrow, wide = mean_interval(values, confidence=0.5), mean_interval(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_missing_values_are_left_out_of_a_mean_and_of_its_count() -> None:
    interval = mean_interval([1.0, math.nan, 0.0, 1.0, 0.0])
    assert (interval.mean, interval.n) == (0.5, 4)
    assert math.isnan(mean_interval([math.nan]).mean)
    assert mean_interval([]).n == 0


def test_a_sample_without_spread_has_no_interval() -> None:
    for values in ([0.0] * 8, [1.0]):
        interval = mean_interval(values)
        assert interval.mean == values[0]
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_an_interval_that_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="confidence"):
        mean_interval([0.0, 1.0], confidence=95)
    with pytest.raises(ConfigError, match="resamples"):
        mean_interval([0.0, 1.0], resamples=0)


def test_the_clustered_bootstrap_by_hand() -> None:
    """Two clusters, {1, 1, 1} and {0}: a draw of two gives 1, 3/4, 3/4 or 0, each with probability 1/4."""
    interval = clustered_interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"], resamples=8_000)
    assert (interval.mean, interval.n) == (0.75, 4)
    assert (interval.low, interval.high) == (0.0, 1.0)  # 95%: the extreme quarters reach both ends
    half = clustered_interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"], confidence=0.4, resamples=8_000)
    assert (half.low, half.high) == (0.75, 0.75)  # the middle 40% lie within the middle half


def test_values_of_one_user_that_are_alike_count_as_one() -> None:
    hits = np.random.default_rng(2).integers(0, 2, 200).astype(float)
    once = mean_interval(hits)
    naive = mean_interval(np.repeat(hits, 5))
    honest = clustered_interval(np.repeat(hits, 5), np.repeat(np.arange(200), 5))
    assert honest.mean == pytest.approx(once.mean)
    assert honest.high - honest.low == pytest.approx(once.high - once.low, rel=0.1)
    assert naive.high - naive.low < 0.6 * (honest.high - honest.low)


@pytest.mark.slow
def test_the_clustered_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    users = np.repeat(np.arange(100), rng.integers(1, 6, 100))  # of unequal size
    covered = 0
    for draw in range(300):
        values = rng.normal(3.0, 1.0, 100)[users] + rng.normal(0.0, 0.5, len(users))
        interval = clustered_interval(values, users, resamples=400, seed=draw)
        covered += interval.low <= 3.0 <= interval.high
    assert 0.9 <= covered / 300 <= 0.985


def test_a_pair_tells_apart_what_two_intervals_cannot() -> None:
    rng = np.random.default_rng(3)
    ease = rng.normal(0.0, 1.0, 300)  # of each case, for both systems alike
    first, second = ease + 0.1 + rng.normal(0, 0.2, 300), ease + rng.normal(0, 0.2, 300)
    assert mean_interval(first).low < mean_interval(second).high
    difference = paired_interval(first, second)
    assert 0 < difference.low < 0.1 < difference.high
    assert difference.mean == pytest.approx(first.mean() - second.mean())
    assert paired_interval(second, first).mean == pytest.approx(-difference.mean)


def test_a_clustered_pair_by_hand() -> None:
    """Differences: user a +1 and +1, user b -1. Draws aa, ab, ba, bb give 1, 1/3, 1/3, -1."""
    interval = paired_interval([1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [7, 7, 9], resamples=8_000)
    assert interval.mean == pytest.approx(1 / 3)
    assert (interval.low, interval.high, interval.n) == (-1.0, 1.0, 3)


def test_a_pair_with_a_missing_score_is_left_out() -> None:
    first, second = [1.0, math.nan, 0.0, 1.0], [0.0, 1.0, math.nan, 0.5]
    assert paired_interval(first, second).n == 2
    clustered = paired_interval(first, second, ["a", "a", "b", "b"])
    assert (clustered.mean, clustered.n) == (0.75, 2)


def test_equal_systems_have_a_difference_of_none_and_no_interval() -> None:
    for clusters in (None, [0, 0, 1, 1]):
        interval = paired_interval([1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], clusters)
        assert interval.mean == 0
        assert math.isnan(interval.low)


def test_one_cluster_alone_has_no_interval() -> None:
    assert math.isnan(clustered_interval([1.0, 0.0, 1.0], ["a", "a", "a"]).low)


def test_scores_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="2 scores cannot be paired with 3"):
        paired_interval([0.0, 1.0], [0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="3 values belong to 2 clusters"):
        clustered_interval([0.0, 1.0, 1.0], ["a", "b"])
    with pytest.raises(ConfigError, match="confidence"):
        paired_interval([0.0, 1.0], [1.0, 1.0], [0, 1], confidence=95)


@pytest.mark.parametrize(
    ("interval", "settings", "text"),
    [
        (Interval(mean=0.216, low=0.191, high=0.242, n=9), {}, ".216 (.191 to .242)"),
        (Interval(mean=0.0123, low=-0.003, high=0.027, n=9), {"signed": True}, "+.012 (-.003 to .027)"),
        (Interval(mean=-0.5, low=-1.0, high=0.0, n=9), {"signed": True}, "-.500 (-1.000 to .000)"),
        (Interval(mean=10.05, low=9.5, high=12.0, n=9), {"digits": 1, "two_lines": True}, "10.1\n(9.5 to 12.0)"),
        (Interval(mean=-0.0001, low=-0.0003, high=0.0002, n=9), {}, ".000 (.000 to .000)"),
        (Interval(mean=0.0, low=math.nan, high=math.nan, n=9), {"signed": True}, "+.000"),
        (Interval(mean=math.nan, low=math.nan, high=math.nan, n=0), {}, "–"),
    ],
)
def test_an_interval_in_words(interval: Interval, settings: dict[str, Any], text: str) -> None:
    assert interval.text(**settings) == text
