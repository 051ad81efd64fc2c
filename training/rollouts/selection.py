"""Which logged runs a trainer gets: the best ones for a warm start, slices of groups for GRPO."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from deeprec.training.rollouts.advantages import RewardedRollout, ScoredRollout, group_key
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError


def best_rollouts(
    rewarded: Iterable[RewardedRollout], *, best: int | None = None, min_reward: float | None = None
) -> list[Rollout]:
    """The rollouts with the highest rewards.

    Args:
        rewarded: In any order. Those without a reward are never among the best.
        best: At most so many; None for all.
        min_reward: None of a lower reward.

    Returns:
        highest reward first, equal ones by run id: the order of the store does not matter.
    """
    usable = [each for each in rewarded if math.isfinite(each.reward)]
    if min_reward is not None:
        usable = [each for each in usable if each.reward >= min_reward]
    usable.sort(key=lambda each: (-each.reward, each.rollout.run_id))
    return [each.rollout for each in usable[:best]]


def logged_steps(
    scored: Sequence[ScoredRollout], *, groups_a_step: int, seed: int = 0
) -> tuple[Callable[[int], list[ScoredRollout]], int]:
    """Deal logged groups into optimizer steps. Groups without a difference teach nothing and are left out.

    Args:
        scored: Groups, in any order.
        groups_a_step: How many groups one step learns from.
        seed: Of the deal.

    Returns:
        step -> its rollouts, dealt anew once all groups have been seen; and the steps of one pass.

    Raises:
        ConfigError: no group has a difference.
    """
    groups: dict[str, list[ScoredRollout]] = {}
    for each in sorted(scored, key=lambda each: each.rollout.run_id):
        groups.setdefault(group_key(each.rollout), []).append(each)
    keys = sorted(key for key, group in groups.items() if any(each.advantage for each in group))
    if not keys:
        raise ConfigError(
            f"None of {len(groups)} groups has rewards that differ, so there is nothing to learn. See "
            "`deeprec train check`."
        )
    steps = math.ceil(len(keys) / groups_a_step)

    def source(step: int) -> list[ScoredRollout]:
        deal, place = divmod(step, steps)
        order = np.random.default_rng([seed, deal]).permutation(len(keys))
        return [each for at in np.array_split(order, steps)[place] for each in groups[keys[at]]]

    return source, steps
