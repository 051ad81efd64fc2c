"""Accumulates the figures of a store report over its rollouts, one by one; only lengths and groups stay in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random
from statistics import median
from uuid import UUID

import numpy as np

from deeprec.evals.metrics.streaming import Quantiles
from deeprec.training.rewards.reward_tally import RewardTally
from deeprec.training.rewards.stages import StageReward
from deeprec.training.rollouts.group_checks import GroupChecks, group_key
from deeprec.training.rollouts.logprob_gap import CurrentPolicy
from deeprec.training.rollouts.rollout_filter import policy_fault
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.store_report.records import GroupSizes

PolicyKey = tuple[str, str | None, str | None, bool]
"""Model, adapter, its version, and whether the run was guided."""


class StoreTally:
    """Counts of the rollouts of a store, and of their groups, lengths and rewards."""

    def __init__(self, stage: StageReward | None, policy: CurrentPolicy | None, sample: int, random: Random) -> None:
        self.rollouts = self.guided = 0
        self.lengths = {name: Quantiles() for name in ("prompt", "tool", "policy", "total")}
        self.by_policy: Counter[PolicyKey] = Counter()
        self.misfits: dict[str, tuple[int, UUID]] = {}
        """Reason why rollouts do not fit the current policy -> how many do not, and one of their runs."""
        self.without_fingerprint = 0
        """Rollouts that do not carry the fingerprint of their base model."""
        self.policy_fault: str | None = None
        """The reason why the current policy cannot have sampled one of the free rollouts."""
        self.sample: list[Rollout] = []
        """A random sample of the free rollouts that fit the current policy."""
        self.rewards = None if stage is None else RewardTally(stage)
        """Their rewards; None where no stage is given."""
        self._policy, self._size, self._random = policy, sample, random
        self.checks = GroupChecks()
        """The groups that compare something else than answers."""
        self._groups: Counter[str] = Counter()
        self._fitting = 0

    def add(self, rollout: Rollout, components: Mapping[str, float]) -> None:
        """Add a rollout with its stored components."""
        self.rollouts += 1
        self.guided += rollout.guided
        written = np.flatnonzero(rollout.env_mask)
        sizes = {"total": rollout.token_ids.size, "policy": written.size, "prompt": int(written[0])}
        for name, size in {**sizes, "tool": sizes["total"] - sizes["policy"] - sizes["prompt"]}.items():
            self.lengths[name].add(size)
        key = (rollout.policy_model, rollout.adapter, rollout.adapter_version, rollout.guided)
        self.by_policy[key] += 1
        self._groups[group_key(rollout)] += 1
        self.checks.add(rollout)
        if self.rewards is not None:
            self.rewards.add(rollout, components)
        self.without_fingerprint += rollout.base_fingerprint is None
        if self._policy is not None:
            if self._policy.weights is not None and not rollout.guided and self.policy_fault is None:
                self.policy_fault = policy_fault(rollout, self._policy.weights)
            self._add_to_sample(rollout, self._policy)

    def group_sizes(self) -> GroupSizes | None:
        """Count the groups by their size; None where there are no rollouts."""
        if not self._groups:
            return None
        sizes = list(self._groups.values())
        return GroupSizes(
            groups=len(sizes),
            smallest=min(sizes),
            median=float(median(sizes)),
            largest=max(sizes),
            alone=sizes.count(1),
            sizes=dict(sorted(Counter(sizes).items())),
            of_several_policies=len(self.checks.of_several_policies),
            of_several_prompts=len(self.checks.of_several_prompts),
        )

    @property
    def groups_of_two(self) -> int:
        """Groups with two or more rollouts; where a stage is given, only rollouts with a reward count."""
        if self.rewards is not None:
            return self.rewards.groups_of_two
        return sum(size > 1 for size in self._groups.values())

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
        elif (position := self._random.randrange(self._fitting)) < self._size:
            self.sample[position] = rollout  # Vitter's algorithm R: every rollout stays with the same probability
