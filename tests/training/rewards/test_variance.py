"""What share of a reward's variance each component brings, by hand and against numpy."""

import math

import numpy as np
import pytest

from deeprec.training import stage_reward
from deeprec.training.rewards.variance import VarianceShares, VarianceTally

STAGE = stage_reward("recommendation", preset="paper")


def held(similarity: float, hit: float = 0.0, rank: float = 0.0) -> dict[str, float]:
    return {"format": 0.0, "similarity": similarity, "hit": hit, "rank": rank}


def tally(*rollouts: tuple[str, dict[str, float]], stage: object = STAGE) -> VarianceShares:
    gathered = VarianceTally(stage)  # type: ignore[arg-type]
    for group, components in rollouts:
        gathered.add(group, components)
    return gathered.shares()


def test_the_shares_are_covariances_within_groups() -> None:
    # Group a differs by 2 in similarity and 4 in hit, b by 2 in similarity; the groups' means are far apart.
    found = tally(("a", held(1)), ("b", held(99)), ("a", held(3, hit=4)), ("b", held(101)))
    # Parts around their means: a (-1, -2), (1, 2); b (-1, 0), (1, 0). Totals -3, 3, -1, 1: variance 20.
    # similarity: 3 + 3 + 1 + 1 = 8; hit: 6 + 6 = 12.
    assert found.shares == pytest.approx({"format": 0, "similarity": 0.4, "hit": 0.6, "rank": 0})
    assert (found.within_groups, found.rollouts) == (True, 4)
    assert found.deviation == pytest.approx(math.sqrt(20 / 2))  # four rollouts, two means


def test_the_shares_sum_to_one_and_agree_with_numpy() -> None:
    random = np.random.default_rng(5)
    parts = random.normal(size=(60, 3)) @ random.normal(size=(3, 3)) + 1e3  # correlated, and far from zero
    groups = random.integers(0, 7, 60)
    found = tally(*((str(group), held(*row)) for group, row in zip(groups, parts.tolist(), strict=True)))
    centred = parts.copy()
    for group in range(7):
        centred[groups == group] -= parts[groups == group].mean(axis=0)
    total = centred.sum(axis=1)
    expected = centred.T @ total / (total @ total)
    assert [found.shares[name] for name in ("similarity", "hit", "rank")] == pytest.approx(expected.tolist())
    assert sum(found.shares.values()) == pytest.approx(1)


def test_a_format_error_counts_as_what_it_is_worth_alone() -> None:
    broken = {"format": -1.0, "similarity": 50.0, "hit": 1.0, "rank": 2.0}
    found = tally(("a", broken), ("a", held(1)))
    # -1 against 1: format brings half, and the similarity of the good one the other half.
    assert found.shares == pytest.approx({"format": 0.5, "similarity": 0.5, "hit": 0, "rank": 0})


def test_what_has_no_reward_or_does_not_vary_has_no_share() -> None:
    found = tally(("a", held(1)), ("a", held(math.nan)), ("a", held(1)))
    assert found.rollouts == 2
    assert all(math.isnan(share) for share in found.shares.values())
    assert (found.deviation, found.advice) == (0, None)
    assert math.isnan(tally().deviation)


def test_without_groups_the_variance_is_that_of_all() -> None:
    found = tally(("a", held(1)), ("b", held(3)))
    assert (found.within_groups, found.shares["similarity"]) == (False, 1)


def test_a_term_that_outweighs_the_target_is_reported_with_the_weight_that_levels_it() -> None:
    random = np.random.default_rng(3)
    rollouts = []
    for number in range(200):
        hit = float(random.random() < 0.15)
        rollouts.append((str(number // 8), held(5 * random.normal() + hit, hit, hit * 1.2)))
    found = tally(*rollouts)
    assert found.advice is not None
    weight = float(found.advice.partition("similarity=")[2].split()[0])
    level = tally(*rollouts, stage=stage_reward("recommendation", {"similarity": weight}, preset="paper")).shares
    assert level["similarity"] == pytest.approx(level["hit"] + level["rank"], abs=0.05)  # two digits
    light = tally(*rollouts, stage=stage_reward("recommendation", {"similarity": weight / 2}, preset="paper"))
    assert light.advice is None


def test_without_any_hit_no_weight_levels_it() -> None:
    found = tally(("a", held(1)), ("a", held(2)))
    assert found.advice is not None
    assert "hardly for the target" in found.advice


def test_a_stage_without_a_target_has_nothing_to_outweigh() -> None:
    stage = stage_reward("interaction", preset="paper")
    found = tally(
        ("a", {"format": 0.0, "invocations": 0.0, "diversity": 0.1}),
        ("a", {"format": 0.0, "invocations": 0.5, "diversity": 0.1}),
        stage=stage,
    )
    assert found.shares["invocations"] == pytest.approx(1)
    assert found.advice is None
