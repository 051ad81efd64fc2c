"""Which rollouts a trainer gets: the best ones, and groups dealt into steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from transformers import LlamaForCausalLM

from deeprec.training import RewardedRollout, TokenCredit, score_groups
from deeprec.training.rollouts.selection import best_rollouts, logged_steps
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import make_rollout


def rewarded(model: LlamaForCausalLM, rewards: list[float], group: str = "g", first: int = 0) -> list[RewardedRollout]:
    return [
        RewardedRollout(make_rollout(model, seed=first + at, group=group), {}, reward)
        for at, reward in enumerate(rewards)
    ]


def test_the_best_are_those_of_the_highest_reward_whatever_the_order(tiny_model: LlamaForCausalLM) -> None:
    runs = rewarded(tiny_model, [1.0, float("nan"), 3.0, 2.0, 3.0])
    for given in (runs, runs[::-1]):
        assert [each.run_id.int - 1 for each in best_rollouts(given)] == [2, 4, 3, 0]
        assert [each.run_id.int - 1 for each in best_rollouts(given, best=2)] == [2, 4]
        assert [each.run_id.int - 1 for each in best_rollouts(given, min_reward=2)] == [2, 4, 3]


def test_logged_groups_are_dealt_whole_and_each_once_a_pass_flat_ones_too(tiny_model: LlamaForCausalLM) -> None:
    runs = [run for at in range(5) for run in rewarded(tiny_model, [0, 1, at], f"g{at}", 10 * at)]
    scored = score_groups([*runs, *rewarded(tiny_model, [2, 2], "flat", 90)])
    source, steps = logged_steps(scored, groups_a_step=2)
    assert steps == 3
    dealt = [[each.rollout.group_id for each in source(step)] for step in range(6)]
    assert all(groups.count(name) == (2 if name == "flat" else 3) for groups in dealt for name in groups)
    passes = [{name for groups in dealt[at : at + 3] for name in groups} for at in (0, 3)]
    assert passes == [{"flat", *(f"g{at}" for at in range(5))}] * 2
    assert dealt[:3] != dealt[3:]
    again, _ = logged_steps(scored[::-1], groups_a_step=2)
    assert [each.rollout.run_id for each in again(4)] == [each.rollout.run_id for each in source(4)]
    with pytest.raises(ConfigError, match="None of 1 groups has rewards that differ"):
        logged_steps(scored[-2:], groups_a_step=2)


def test_runs_of_equal_rewards_are_dealt_where_their_tokens_earned_something(tiny_model: LlamaForCausalLM) -> None:
    flat = score_groups(rewarded(tiny_model, [2, 2]))
    size = flat[0].rollout.token_ids.size
    for earned in (0.0, 0.5):
        credit = TokenCredit(advantages=np.full(size, earned, np.float32), positions=np.zeros(size, np.int64))
        credited = [replace(flat[0], credit=credit), flat[1]]
        if earned:
            assert logged_steps(credited, groups_a_step=2)[1] == 1
        else:
            with pytest.raises(ConfigError, match="None of 1 groups has rewards that differ"):
                logged_steps(credited, groups_a_step=2)
