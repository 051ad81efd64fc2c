import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import kendalltau

from deeprec.evals import ShownRun, measure_order
from deeprec.evals.diagnosis.order_dependence import list_tau, permutation_test, shown_written_tau

ITEMS = tuple("abcdefghij")


def make_run(shown: str, written: str, user: str = "u", seed: int = 0) -> ShownRun:
    return ShownRun(user=user, seed=seed, shown=tuple(shown), written=tuple(written))


def simulate(users: int, heed: float, *, seed: int = 0) -> tuple[list[ShownRun], list[ShownRun]]:
    """A ranker that judges each item, noisily, and adds `heed` for a place nearer to the top of what it is shown."""
    rng = np.random.default_rng(seed)
    own, drawn = [], []
    for user in range(users):
        worth = -np.arange(10) / 10
        for runs, order in ((own, np.arange(10)), (drawn, rng.permutation(10))):
            place = np.empty(10)
            place[order] = np.arange(10)
            scores = worth - heed * place / 10 + rng.normal(scale=0.2, size=10)
            shown = "".join(ITEMS[item] for item in order)
            runs.append(make_run(shown, "".join(ITEMS[item] for item in np.argsort(-scores)), user=str(user)))
    return own, drawn


def test_tau_of_whole_lists_is_scipys() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        shown, written = rng.permutation(10), rng.permutation(10)
        run = make_run("".join(ITEMS[i] for i in shown), "".join(ITEMS[i] for i in written))
        expected = kendalltau(np.argsort(shown), np.argsort(written)).statistic
        assert shown_written_tau(run) == pytest.approx(expected, abs=1e-12)
        assert list_tau(run.shown, run.written, 10) == pytest.approx(expected, abs=1e-12)


def test_tau_of_short_lists_by_hand() -> None:
    assert shown_written_tau(make_run("abcd", "ab")) == 1.0
    assert shown_written_tau(make_run("abcd", "dc")) == -1.0
    assert shown_written_tau(make_run("abcd", "ba")) == pytest.approx(3 / 5)  # of 5 pairs with a or b, one is turned
    assert math.isnan(shown_written_tau(make_run("a", "a")))
    # What is not written stands below. Of abc all pairs are turned; with d beside them, b stands above it in both.
    assert list_tau("ab", "cb", 3) == pytest.approx(-1.0)
    assert list_tau("ab", "cb", 4) == pytest.approx(-2 / 5)
    assert list_tau("ab", "ab", 9) == pytest.approx(1.0)
    assert math.isnan(list_tau("a", "a", 1))


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_short_lists_agree_by_chance_exactly_as_often_as_they_differ(first: int, second: int) -> None:
    lists = list(itertools.permutations("abcd", second))
    taus = [list_tau("abcd"[:first], "".join(listed), 4) for listed in lists]
    assert sum(taus) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_tau_of_two_short_lists_is_scipys_tau_b(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [list(rng.permutation(list(ITEMS))[:length]) for length in (4, 6)]
    places = [[listed.index(item) if item in listed else len(listed) for item in ITEMS] for listed in lists]
    assert list_tau(*lists, 10) == pytest.approx(kendalltau(*places).statistic, abs=1e-12)


def test_a_tau_under_a_random_order_is_as_likely_as_counting_says() -> None:
    taus = [shown_written_tau(make_run("".join(order), "ab")) for order in itertools.permutations("abcd")]
    assert sum(taus) == pytest.approx(0)
    as_far = Counter(abs(tau) >= 0.99 for tau in taus)[True] / len(taus)
    p_value = permutation_test([1.0], {(4, 2): 1}, resamples=100_000)
    assert p_value == pytest.approx(as_far, abs=0.005)


@pytest.mark.slow
def test_a_ranker_that_judges_items_is_not_accused() -> None:
    p_values = [measure_order(*simulate(40, heed=0.0, seed=seed)).p_value for seed in range(60)]
    assert 0 <= np.mean(np.array(p_values) < 0.05) <= 0.15
    found = measure_order(*simulate(200, heed=0.0))
    assert abs(found.drawn.mean) < 0.05
    assert found.own.mean > 0.5  # agrees with the recommender, which proves nothing
    assert found.agreement.mean > 0.3


def test_a_ranker_that_copies_is_found_out() -> None:
    found = measure_order(*simulate(60, heed=50.0))
    assert found.drawn.mean == pytest.approx(1.0)
    assert found.p_value < 1e-4
    assert found.copied.mean == 1.0
    assert found.copied_chance == pytest.approx(1 / math.factorial(10))
    assert abs(found.agreement.mean) < 0.2
    top, five = found.overlaps
    assert (top.chance, five.chance) == (pytest.approx(0.1), pytest.approx(0.5))
    assert five.share.low < 0.5 < five.share.high


def test_a_ranker_that_heeds_both_lies_between() -> None:
    found = measure_order(*simulate(100, heed=0.5))
    assert 0.1 < found.drawn.mean < 0.7
    assert found.drawn.low > 0
    assert found.p_value < 0.01
    assert 0.1 < found.agreement.mean < 0.9


def test_only_runs_of_one_user_and_seed_with_the_same_candidates_are_paired() -> None:
    own = [
        make_run("abc", "abc", "1"),
        make_run("abc", "abc", "2"),
        make_run("abc", "", "3"),
        make_run("abc", "a", "4"),
    ]
    drawn = [make_run("cab", "abc", "1"), make_run("dab", "abd", "2"), make_run("cab", "abc", "3")]
    drawn += [make_run("cab", "abc", "4", seed=1), make_run("cab", "abc", "5")]
    found = measure_order(own, drawn)
    assert (found.pairs, found.left_out) == (1, 4)


def test_repeats_and_items_that_were_not_shown_count_for_nothing() -> None:
    once = measure_order([make_run("abc", "ab")], [make_run("cba", "ac")])
    again = measure_order([make_run("abc", "aab")], [make_run("cba", "aazc")])
    assert once.to_dict() == again.to_dict()


def test_seeds_of_one_user_do_not_pass_for_users() -> None:
    own, drawn = simulate(20, heed=0.3)
    seeds = [
        [ShownRun(user=run.user, seed=seed, shown=run.shown, written=run.written) for run in runs for seed in range(4)]
        for runs in (own, drawn)
    ]
    alone, four = measure_order(own, drawn), measure_order(*seeds)
    assert four.pairs == 80
    assert four.drawn.mean == pytest.approx(alone.drawn.mean)
    assert four.drawn.high - four.drawn.low == pytest.approx(alone.drawn.high - alone.drawn.low, rel=0.15)


def test_nothing_to_compare_is_missing_and_not_zero() -> None:
    found = measure_order([], [make_run("ab", "ab")])
    assert (found.pairs, found.left_out) == (0, 1)
    assert math.isnan(found.p_value)
    assert math.isnan(found.drawn.mean)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["p_value"] is None
