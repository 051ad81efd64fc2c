"""Advantages: how much more or less reward each run of a group earned than the group on average.

Source:
    Shao et al. 2024 (GRPO), arXiv:2402.03300; Zheng et al. 2025 (DeepRec), arXiv:2505.16810, as Liu et al. 2025
    (Dr. GRPO), arXiv:2503.20783: the reward minus the group's mean, without division by the deviation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deeprec.training.rollouts.group_checks import check_groups, group_key
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError

Scale = Literal["none", "group"]
SCALES: tuple[Scale, ...] = ("none", "group")
_EPSILON = 1e-4
"""Added to a deviation before it divides, as TRL does."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class RewardedRollout:
    """A rollout and its reward."""

    rollout: Rollout
    components: Mapping[str, float]
    """Reward component -> its value, NaN where it cannot be computed."""
    reward: float
    """The stage's reward, composed of the components; NaN where a component that it needs is NaN."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenCredit:
    """Advantages of single tokens of a rollout: those of `credit_turns`, or your own."""

    advantages: NDArray[np.float32]
    """(n,), unitless; they count where the policy wrote the token."""
    positions: NDArray[np.int64]
    """(n,); the position in the recommended list that a token belongs to, from 1, and 0 elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRollout(RewardedRollout):
    """A rollout with a finite reward, and its advantage: what GRPO learns from."""

    advantage: float
    """Over all rollouts of its group that have a reward, whatever their number."""
    credit: TokenCredit | None = None
    """The advantages of its tokens, which `GrpoConfig(credit="token")` learns from in place of `advantage`."""

    def __post_init__(self) -> None:
        length = self.rollout.token_ids.size
        if self.credit is not None and {self.credit.advantages.size, self.credit.positions.size} != {length}:
            raise ConfigError(
                f"The credit of run {self.rollout.run_id} has {self.credit.advantages.size} advantages and "
                f"{self.credit.positions.size} positions for {length} tokens. Give one of each for every token."
            )

    @property
    def policy_advantages(self) -> NDArray[np.float32]:
        """The advantages of the tokens that the policy wrote; empty without `credit`."""
        if self.credit is None:
            return np.zeros(0, dtype=np.float32)
        own: NDArray[np.float32] = self.credit.advantages[self.rollout.env_mask == 1]
        return own


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFaults:
    """Rollouts and groups from which no gradient can come."""

    without_reward: tuple[UUID, ...]
    """Runs whose reward is NaN or infinite. They are left out, and do not count in their group's mean."""
    alone: tuple[str, ...]
    """Groups with one rollout left. They are kept, with advantage 0."""
    flat: tuple[str, ...]
    """Groups of two or more whose rewards are all equal. They are kept, with advantage 0."""

    def __str__(self) -> str:
        faults = [
            f"{len(self.without_reward)} runs without a reward were left out (such as {self.without_reward[0]})"
            if self.without_reward
            else "",
            f"{len(self.alone)} groups have one rollout (such as {self.alone[0]})" if self.alone else "",
            f"{len(self.flat)} groups have equal rewards (such as {self.flat[0]})" if self.flat else "",
        ]
        return "; ".join(filter(None, faults))


def score_groups(
    rollouts: Iterable[RewardedRollout],
    *,
    scale: Scale = "none",
    on_faults: Callable[[GroupFaults], Any] | None = None,
) -> list[ScoredRollout]:
    """Group rollouts and compute the advantage of each over its group.

    Args:
        rollouts: in any order. Those with the same `group_id` are a group; one without is a group by itself.
        scale: as for `advantages`.
        on_faults: called once with the rollouts that were left out and the groups without a gradient. None logs a
            warning about them, if there are any.

    Returns:
        the rollouts group by group, in the order in which the groups first occur, and as given within each. Rollouts
        whose reward is NaN or infinite are missing.

    Raises:
        ConfigError: a group has runs of different prompts or policies, so that its mean compares something else than
            answers.
    """
    rollouts = list(rollouts)
    check_groups(each.rollout for each in rollouts)
    groups: dict[str, list[RewardedRollout]] = {}
    without_reward = []
    for rewarded in rollouts:
        if math.isfinite(rewarded.reward):
            groups.setdefault(group_key(rewarded.rollout), []).append(rewarded)
        else:
            without_reward.append(rewarded.rollout.run_id)
    scored = [
        ScoredRollout(rollout=each.rollout, components=each.components, reward=each.reward, advantage=float(advantage))
        for group in groups.values()
        for each, advantage in zip(group, advantages([one.reward for one in group], scale=scale), strict=True)
    ]
    faults = GroupFaults(
        without_reward=tuple(without_reward),
        alone=tuple(key for key, group in groups.items() if len(group) == 1),
        flat=tuple(key for key, group in groups.items() if len(group) > 1 and is_flat([one.reward for one in group])),
    )
    if on_faults is not None:
        on_faults(faults)
    elif str(faults):
        _log.warning("Some of %d groups have no gradient: %s.", len(groups), faults)
    return scored


def advantages(rewards: Sequence[float], *, scale: Scale = "none") -> NDArray[np.float64]:
    """Compute the advantages of the rollouts of one group.

    Args:
        rewards: (n,), finite, all of the group.
        scale: `none` is the reward minus the group's mean; `group` divides that by the group's deviation (n - 1 in the
            denominator, plus 1e-4), as TRL's `scale_rewards="group"` does.

    Returns:
        float64 (n,), unitless; exactly 0 for all where the group has one rollout, or equal rewards.

    Raises:
        ConfigError: `scale` is neither of the two.
    """
    if scale not in SCALES:
        raise ConfigError(f"Advantages cannot be scaled by {scale!r}. Choose {' or '.join(SCALES)}.")
    values = np.asarray(rewards, dtype=np.float64)
    if is_flat(values):
        return np.zeros_like(values)
    centred: NDArray[np.float64] = values - values.mean()
    return centred if scale == "none" else centred / (values.std(ddof=1) + _EPSILON)


def is_flat(rewards: Sequence[float] | NDArray[np.float64]) -> bool:
    """Whether a group's rewards are all equal, so that no gradient comes from them; also for one reward and none."""
    return len(rewards) == 0 or bool(np.max(rewards) == np.min(rewards))
