"""Counts and means of a stage's reward over many rollouts and their groups, in memory that grows with the groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from deeprec.evals.metrics.streaming import Ratio
from deeprec.training.rewards.learning_obstacles import RewardCounts, not_computable
from deeprec.training.rewards.stages import FORMAT, StageReward
from deeprec.training.rewards.variance import VarianceShares, VarianceTally
from deeprec.training.rollouts.group_checks import group_key
from deeprec.training.rollouts.rollouts import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardFigures:
    """A stage's reward over some rollouts."""

    stage: str
    weights: Mapping[str, float]
    unscored: int
    """Rollouts for which a component has not been computed."""
    with_reward: int
    """Rollouts with a finite reward."""
    mean: float
    """The mean reward; NaN where no rollout has one."""
    components: Mapping[str, float]
    """Component -> its mean over the rollouts for which it can be computed, without its weight."""
    not_computable: Mapping[str, int]
    """Component -> the number of rollouts in which it counts and is NaN."""
    format_held: float
    """The share of rollouts with a format score that keep the format."""
    flat_groups: int
    """Groups of two or more rewards that are all equal, and give no gradient."""
    flat_example: str | None
    variance: VarianceShares


@dataclass(slots=True)
class _Group:
    rewards: int = 0
    low: float = math.inf
    high: float = -math.inf


class RewardTally:
    """Accumulates the rewards of rollouts, one by one."""

    def __init__(self, stage: StageReward) -> None:
        self._stage = stage
        self._groups: dict[str, _Group] = {}
        self._unscored = 0
        self._unscored_example: UUID | None = None
        self._means: dict[str, Ratio] = {}
        self._not_computable: Counter[str] = Counter()
        self._reward, self._held = Ratio(), Ratio()
        self._variance = VarianceTally(stage)

    def add(self, rollout: Rollout, components: Mapping[str, float]) -> None:
        """Add a rollout with its stored components."""
        if self._stage.lacks(components):
            self._unscored += 1
            self._unscored_example = self._unscored_example or rollout.run_id
            return
        for name, value in components.items():
            self._means.setdefault(name, Ratio()).add(value)
        self._not_computable.update(not_computable(components, self._stage))
        held = components[FORMAT]
        self._held.add(math.nan if math.isnan(held) else float(held >= 0))
        reward = self._stage.compose(components)
        if math.isfinite(reward):
            key = group_key(rollout)
            group = self._groups.setdefault(key, _Group())
            group.rewards += 1
            group.low, group.high = min(group.low, reward), max(group.high, reward)
            self._reward.add(reward)
            self._variance.add(key, components)

    @property
    def groups_of_two(self) -> int:
        """Groups with two or more rewards."""
        return sum(group.rewards > 1 for group in self._groups.values())

    def counts(self) -> RewardCounts:
        """Count rollouts and groups, for `obstacle`."""
        return RewardCounts(
            stage=self._stage,
            unscored=self._unscored,
            unscored_example=self._unscored_example,
            with_reward=sum(group.rewards for group in self._groups.values()),
            groups_that_differ=sum(group.low < group.high for group in self._groups.values()),
            not_computable=self._not_computable,
        )

    def figures(self) -> RewardFigures:
        """Compute means, shares and the groups without a gradient."""
        flat = [key for key, group in self._groups.items() if group.rewards > 1 and group.low == group.high]
        return RewardFigures(
            stage=self._stage.stage,
            weights=dict(self._stage.weights),
            unscored=self._unscored,
            with_reward=sum(group.rewards for group in self._groups.values()),
            mean=self._reward.value,
            components={name: self._means[name].value for name in sorted(self._means)},
            not_computable=dict(self._not_computable),
            format_held=self._held.value,
            flat_groups=len(flat),
            flat_example=flat[0] if flat else None,
            variance=self._variance.shares(),
        )
