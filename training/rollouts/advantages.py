"""Groups: the scored runs of one instance, and what each earned beside the others.

Source:
    Shao et al. 2024 (GRPO), arXiv:2402.03300; Zheng et al. 2025 (DeepRec), arXiv:2505.16810, as Liu et al. 2025
    (Dr. GRPO), arXiv:2503.20783: the reward minus the group's mean, without division by the deviation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError

Scale = Literal["none", "group"]
SCALES: tuple[Scale, ...] = ("none", "group")
_EPSILON = 1e-4
"""Added to a deviation before it divides, as TRL does."""

_log = logging.getLogger(__name__)


class RewardedRollout(NamedTuple):
    """A rollout and what it earned."""

    rollout: Rollout
    components: Mapping[str, float]
    """By name, NaN where not computable."""
    reward: float
    """Composed of the components; NaN where one that it needs is NaN."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRollout:
    """A rollout, its reward, and its advantage over the group that it really has."""

    rollout: Rollout
    components: Mapping[str, float]
    """By name, NaN where not computable."""
    reward: float
    """Composed."""
    advantage: float
    """Over its real group, whatever its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFaults:
    """What no gradient can come from."""

    without_reward: tuple[UUID, ...]
    """Runs whose reward is NaN or infinite: left out, and not counted in their group's mean."""
    alone: tuple[str, ...]
    """Groups with one rollout left: kept, with advantage 0."""
    flat: tuple[str, ...]
    """Groups of two or more whose rewards are all equal: kept, with advantage 0."""

    def __str__(self) -> str:
        told = [
            f"{len(self.without_reward)} runs without a reward were left out (such as {self.without_reward[0]})"
            if self.without_reward
            else "",
            f"{len(self.alone)} groups have one rollout (such as {self.alone[0]})" if self.alone else "",
            f"{len(self.flat)} groups have equal rewards (such as {self.flat[0]})" if self.flat else "",
        ]
        return "; ".join(filter(None, told))


def score_groups(
    rollouts: Iterable[RewardedRollout],
    *,
    scale: Scale = "none",
    on_faults: Callable[[GroupFaults], Any] | None = None,
) -> list[ScoredRollout]:
    """Advantages of rollouts over their groups.

    Args:
        rollouts: in any order. Their `group_id` says what belongs together; one without is a group of its own.
        scale: as for `advantages`.
        on_faults: called once with what was left out and which groups teach nothing. Without it one log line says so,
            if there is anything to say.

    Returns:
        group by group in the order in which the groups first occur, and as given within each. Rollouts whose reward is
        NaN or infinite are missing.
    """
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
        _log.warning("Of %d groups nothing can be learned in some: %s.", len(groups), faults)
    return scored


def advantages(rewards: Sequence[float], *, scale: Scale = "none") -> NDArray[np.float64]:
    """What each rollout of one group earned beside the others.

    Args:
        rewards: (n,), finite, of the whole group.
        scale: `none` is the reward minus the group's mean; `group` divides that by the group's deviation (n - 1 in the
            denominator, plus 1e-4), as TRL's `scale_rewards="group"` does.

    Returns:
        (n,), unitless; exactly 0 for all where there is one rollout, or no variance.
    """
    if scale not in SCALES:
        raise ConfigError(f"Advantages cannot be scaled by {scale!r}. Choose {' or '.join(SCALES)}.")
    values = np.asarray(rewards, dtype=np.float64)
    if is_flat(values):
        return np.zeros_like(values)
    centred: NDArray[np.float64] = values - values.mean()
    return centred if scale == "none" else centred / (values.std(ddof=1) + _EPSILON)


def is_flat(rewards: Sequence[float] | NDArray[np.float64]) -> bool:
    """Whether a group's rewards have no variance: none of them is better than another. Also for one and for none."""
    return len(rewards) == 0 or bool(np.max(rewards) == np.min(rewards))


def group_key(rollout: Rollout) -> str:
    """What a rollout is grouped by: its group id, or its run id where it has none."""
    return str(rollout.run_id) if rollout.group_id is None else rollout.group_id
