"""Gathers what a store report tells of its rollouts, one by one; memory grows with the groups alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from statistics import median
from uuid import UUID

import numpy as np

from deeprec.evals.metrics.streaming import Quantiles, Ratio
from deeprec.training.rewards.learning_obstacles import RewardCounts, not_computable
from deeprec.training.rewards.stages import FORMAT, StageReward
from deeprec.training.rewards.variance import VarianceTally
from deeprec.training.rollouts.advantages import group_key
from deeprec.training.rollouts.logprob_gap import CurrentPolicy
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.store_report.records import GroupSizes, RewardFigures

PolicyKey = tuple[str, str | None, str | None, bool]
"""Model, adapter, its version, guided."""


@dataclass(slots=True)
class _Group:
    policy: PolicyKey
    rollouts: int = 0
    with_reward: int = 0
    low: float = math.inf
    high: float = -math.inf
    is_mixed: bool = False


class StoreTally:
    """The rollouts of a store, their groups and their rewards."""

    def __init__(self, stage: StageReward | None, policy: CurrentPolicy | None, sample: int, random: Random) -> None:
        self.rollouts = self.guided = 0
        self.lengths = {name: Quantiles() for name in ("prompt", "tool", "policy", "total")}
        self.by_policy: Counter[PolicyKey] = Counter()
        self.misfits: dict[str, tuple[int, UUID]] = {}
        """Why a rollout does not fit the current policy -> how many, and one of them."""
        self.sample: list[Rollout] = []
        """Of the free ones that fit it."""
        self._stage, self._policy, self._size, self._random = stage, policy, sample, random
        self._groups: dict[str, _Group] = {}
        self._fitting = 0
        self._unscored = 0
        self._unscored_example: UUID | None = None
        self._means: dict[str, Ratio] = {}
        self._not_computable: Counter[str] = Counter()
        self._reward, self._held = Ratio(), Ratio()
        self._variance = None if stage is None else VarianceTally(stage)

    def add(self, rollout: Rollout, components: Mapping[str, float]) -> None:
        """Take one rollout with its stored components; there are none where no stage is looked at."""
        self.rollouts += 1
        self.guided += rollout.guided
        written = np.flatnonzero(rollout.env_mask)
        sizes = {"total": rollout.token_ids.size, "policy": written.size, "prompt": int(written[0])}
        for name, size in {**sizes, "tool": sizes["total"] - sizes["policy"] - sizes["prompt"]}.items():
            self.lengths[name].add(size)
        key = (rollout.policy_model, rollout.adapter, rollout.adapter_version, rollout.guided)
        self.by_policy[key] += 1
        group = self._groups.setdefault(group_key(rollout), _Group(key))
        group.rollouts += 1
        group.is_mixed |= key != group.policy
        if self._stage is not None:
            self._add_reward(rollout, components, self._stage, group)
        if self._policy is not None:
            self._add_to_sample(rollout, self._policy)

    def group_sizes(self) -> GroupSizes | None:
        """None where there are no rollouts."""
        if not self._groups:
            return None
        sizes = [group.rollouts for group in self._groups.values()]
        return GroupSizes(
            groups=len(sizes),
            smallest=min(sizes),
            median=float(median(sizes)),
            largest=max(sizes),
            alone=sizes.count(1),
            sizes=dict(sorted(Counter(sizes).items())),
            of_several_policies=sum(group.is_mixed for group in self._groups.values()),
        )

    @property
    def groups_of_two(self) -> int:
        """Groups with two or more rollouts, with a reward where rewards are looked at."""
        if self._stage is None:
            return sum(group.rollouts > 1 for group in self._groups.values())
        return sum(group.with_reward > 1 for group in self._groups.values())

    def reward_counts(self) -> RewardCounts | None:
        """For `obstacle`."""
        if self._stage is None:
            return None
        return RewardCounts(
            stage=self._stage,
            unscored=self._unscored,
            unscored_example=self._unscored_example,
            with_reward=sum(group.with_reward for group in self._groups.values()),
            groups_that_differ=sum(group.low < group.high for group in self._groups.values()),
            not_computable=self._not_computable,
        )

    def rewards(self) -> RewardFigures | None:
        """None where no stage is looked at."""
        if self._stage is None or self._variance is None:
            return None
        flat = [key for key, group in self._groups.items() if group.with_reward > 1 and group.low == group.high]
        return RewardFigures(
            stage=self._stage.stage,
            weights=dict(self._stage.weights),
            unscored=self._unscored,
            with_reward=sum(group.with_reward for group in self._groups.values()),
            mean=self._reward.value,
            components={name: self._means[name].value for name in sorted(self._means)},
            not_computable=dict(self._not_computable),
            format_held=self._held.value,
            flat_groups=len(flat),
            flat_example=flat[0] if flat else None,
            variance=self._variance.shares(),
        )

    def _add_reward(self, rollout: Rollout, components: Mapping[str, float], stage: StageReward, group: _Group) -> None:
        if stage.lacks(components):
            self._unscored += 1
            self._unscored_example = self._unscored_example or rollout.run_id
            return
        for name, value in components.items():
            self._means.setdefault(name, Ratio()).add(value)
        self._not_computable.update(not_computable(components, stage))
        held = components[FORMAT]
        self._held.add(math.nan if math.isnan(held) else float(held >= 0))
        reward = stage.compose(components)
        if math.isfinite(reward):
            self._reward.add(reward)
            group.with_reward += 1
            group.low, group.high = min(group.low, reward), max(group.high, reward)
            if self._variance is not None:
                self._variance.add(group_key(rollout), components)

    def _add_to_sample(self, rollout: Rollout, policy: CurrentPolicy) -> None:
        misfit = policy.misfit(rollout)
        if misfit is not None:
            count, example = self.misfits.get(misfit, (0, rollout.run_id))
            self.misfits[misfit] = (count + 1, example)
            return
        if rollout.guided:
            return  # its log-probabilities are those of constrained sampling
        self._fitting += 1
        if len(self.sample) < self._size:
            self.sample.append(rollout)
        elif (place := self._random.randrange(self._fitting)) < self._size:
            self.sample[place] = rollout  # Vitter's algorithm R: every rollout is as likely to stay
