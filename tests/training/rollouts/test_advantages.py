"""Advantages by hand."""

import logging
import math
from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np
import pytest

from deeprec.training import GroupFaults, RewardedRollout, Rollout, ScoredRollout, advantages, score_groups
from deeprec.trm_tool import ConfigError

NAN = math.nan


def rewarded(reward: float, group: str | None = "g", run_id: UUID | None = None) -> RewardedRollout:
    rollout = Rollout(
        token_ids=np.array([1, 2]),
        env_mask=np.array([0, 1], dtype=np.int8),
        logprobs=np.array([NAN, -0.5], dtype=np.float32),
        run_id=run_id or uuid4(),
        group_id=group,
        policy_model="tiny",
        adapter=None,
        adapter_version=None,
        guided=False,
    )
    return RewardedRollout(rollout, {"format": reward}, reward)


def by_group(scored: list[ScoredRollout], group: str | None) -> list[float]:
    return [each.advantage for each in scored if each.rollout.group_id == group]


def faults_of(rollouts: list[RewardedRollout]) -> GroupFaults:
    told: list[GroupFaults] = []
    score_groups(rollouts, on_faults=told.append)
    [faults] = told
    return faults


def test_an_advantage_is_the_reward_minus_the_mean_of_the_real_group() -> None:
    mixed = [rewarded(1, "a"), rewarded(3, "b"), rewarded(2, "a"), rewarded(6, "a"), rewarded(5, "b")]
    scored = score_groups(mixed)
    assert by_group(scored, "a") == [-2, -1, 3]  # mean 3 over three
    assert by_group(scored, "b") == [-1, 1]  # mean 4 over two
    assert [each.rollout.group_id for each in scored] == ["a", "a", "a", "b", "b"]
    assert scored[0].reward == 1
    assert scored[0].components == {"format": 1}


def test_dividing_by_the_deviation_is_asked_for() -> None:
    assert advantages([1, 2, 6]).tolist() == [-2, -1, 3]
    # squared deviations 4 + 1 + 9 = 14, over n - 1 = 2: the deviation is sqrt(7)
    assert advantages([1, 2, 6], scale="group") == pytest.approx(np.array([-2, -1, 3]) / (7**0.5 + 1e-4))
    with pytest.raises(ConfigError, match="Choose none or group"):
        advantages([1, 2], scale="batch")  # type: ignore[arg-type]


def test_one_group_id_for_two_prompts_or_policies_is_refused() -> None:
    ann, bert = rewarded(0, "session-1"), rewarded(1, "session-1")
    other = replace(bert.rollout, token_ids=np.array([9, 2]))
    with pytest.raises(ConfigError, match=f"1 groups have runs of different prompts .*{ann.rollout.run_id}"):
        score_groups([ann, replace(bert, rollout=other)])
    for changed in ({"adapter_version": "rec-v2"}, {"policy_model": "other"}):
        later = replace(bert.rollout, **changed)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="1 groups have runs of different policies"):
            score_groups([ann, replace(bert, rollout=later)])
    written = replace(bert.rollout, token_ids=np.array([1, 9]))  # another answer
    assert by_group(score_groups([ann, replace(bert, rollout=written)]), "session-1") == [-0.5, 0.5]


def test_a_rollout_without_a_reward_does_not_move_the_mean_of_its_group() -> None:
    nan, infinite = rewarded(NAN, "a"), rewarded(math.inf, "a")
    rollouts = [rewarded(1, "a"), nan, rewarded(2, "a"), infinite]
    assert by_group(score_groups(rollouts), "a") == [-0.5, 0.5]
    faults = faults_of(rollouts)
    assert faults.without_reward == (nan.rollout.run_id, infinite.rollout.run_id)
    assert (faults.alone, faults.flat) == ((), ())


def test_a_group_of_one_and_a_group_of_equals_have_no_advantage_and_are_named() -> None:
    own = uuid4()
    rollouts = [
        *(rewarded(0.1, "equal") for _ in range(3)),  # the mean of three times 0.1 is not 0.1 in floating point
        rewarded(7, "alone"),
        rewarded(5, None, own),
        rewarded(6, None),
        rewarded(NAN, "lost"),
        rewarded(2, "lost"),
    ]
    for scale in ("none", "group"):
        assert {each.advantage for each in score_groups(rollouts, scale=scale)} == {0.0}  # type: ignore[arg-type]
    faults = faults_of(rollouts)
    assert faults.flat == ("equal",)
    assert faults.alone[:2] == ("alone", str(own))
    assert faults.alone[3] == "lost"
    assert len(faults.alone) == 4


def test_what_teaches_nothing_is_logged_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        score_groups([rewarded(1), rewarded(2)])
    assert not caplog.records
    nan = rewarded(NAN, "b")
    with caplog.at_level(logging.WARNING):
        score_groups([rewarded(1), nan, rewarded(4, "c"), rewarded(4, "c")])
    assert f"such as {nan.rollout.run_id}" in caplog.text
    assert "1 groups have one rollout (such as g)" in caplog.text
    assert "1 groups have equal rewards (such as c)" in caplog.text


def test_nothing_gives_nothing() -> None:
    assert score_groups([]) == []
