"""Selection of logged rollouts for a trainer: the best ones for a warm start, groups dealt into steps for GRPO."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from deeprec.training.rollouts.advantages import RewardedRollout, ScoredRollout
from deeprec.training.rollouts.group_checks import group_key
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError


def best_rollouts(
    rewarded: Iterable[RewardedRollout], *, best: int | None = None, min_reward: float | None = None
) -> list[Rollout]:
    """Select the rollouts with the highest rewards.

    Args:
        rewarded: In any order. Rollouts without a reward are never selected.
        best: How many to select at most; None for all.
        min_reward: The lowest reward to select; None for any.

    Returns:
        the rollouts by falling reward, equal ones by run id, so that the order of the store does not matter.
    """
    usable = [each for each in rewarded if math.isfinite(each.reward)]
    if min_reward is not None:
        usable = [each for each in usable if each.reward >= min_reward]
    usable.sort(key=lambda each: (-each.reward, each.rollout.run_id))
    return [each.rollout for each in usable[:best]]


def logged_steps(
    scored: Sequence[ScoredRollout], *, groups_a_step: int, seed: int = 0
) -> tuple[Callable[[int], list[ScoredRollout]], int]:
    """Deal logged groups into optimizer steps.

    Groups with equal rewards have no gradient, unless the credit of their tokens differs, and count in the means of
    their step, as they do in a loop.

    Args:
        scored: The rollouts, in any order.
        groups_a_step: How many groups one step learns from.
        seed: Decides the order of the groups in each pass.

    Returns:
        a function from a step, counted from 0, to its rollouts, which begins another pass once all groups have been
        dealt; and the number of steps of one pass.

    Raises:
        ConfigError: every group has equal rewards, and no credit of tokens.
    """
    groups: dict[str, list[ScoredRollout]] = {}
    for each in sorted(scored, key=lambda each: each.rollout.run_id):
        groups.setdefault(group_key(each.rollout), []).append(each)
    keys = sorted(groups)
    if not any(each.advantage or each.policy_advantages.any() for each in scored):
        raise ConfigError(
            f"None of {len(groups)} groups has rewards that differ, so there is nothing to learn. See "
            "`deeprec train check`."
        )
    steps = math.ceil(len(keys) / groups_a_step)

    def source(step: int) -> list[ScoredRollout]:
        a_pass, position = divmod(step, steps)
        order = np.random.default_rng([seed, a_pass]).permutation(len(keys))
        return [each for at in np.array_split(order, steps)[position] for each in groups[keys[at]]]

    return source, steps
