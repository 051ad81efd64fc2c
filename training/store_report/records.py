"""The figures of a store report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from deeprec.evals.metrics.streaming import Spread
from deeprec.training.rewards.variance import VarianceShares
from deeprec.training.rollouts.logprob_gap import LogprobGap


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Runs that are no rollouts for one reason."""

    reason: str
    runs: int
    example: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSizes:
    """How many rollouts the groups have."""

    groups: int
    smallest: int
    median: float
    largest: int
    alone: int
    """Groups of one: nothing to compare with."""
    sizes: Mapping[int, int]
    """Size -> groups."""
    of_several_policies: int
    """Groups whose rollouts come from different models, adapters or versions: their mean compares policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRuns:
    """The runs of one policy version."""

    model: str
    adapter: str | None
    version: str | None
    guided: bool
    runs: int
    rollouts: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommenderRuns:
    """The runs that searched with one recommender."""

    fingerprint: str
    holdout: int | None
    """None where a run did not keep it."""
    split: str | None
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardFigures:
    """A stage's reward over the rollouts."""

    stage: str
    weights: Mapping[str, float]
    unscored: int
    with_reward: int
    mean: float
    components: Mapping[str, float]
    """Component -> its mean where it can be computed, unweighted."""
    not_computable: Mapping[str, int]
    """Component -> in how many rollouts it counts and is NaN."""
    format_held: float
    """Share of the rollouts with a format score."""
    flat_groups: int
    """Groups of two or more with a reward, all equal: no gradient."""
    flat_example: str | None
    variance: VarianceShares


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How the rollouts fit a model, and how far it is from the policies that sampled them."""

    gap: LogprobGap
    """Over a sample."""
    temperatures: tuple[float, ...]
    """That the sampled runs were made at."""
    foreign_tokens: int
    """Rollouts with a token id outside the model's vocabulary."""
    foreign_example: UUID | None
    too_long: int
    """Rollouts longer than the model's context."""
    too_long_example: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """What there is to train on."""

    runs: int
    rollouts: int
    guided: int
    """Of the rollouts, those under constraints; they count only where they are allowed."""
    refused: tuple[Refusals, ...]
    groups: GroupSizes | None
    """None where there are no rollouts."""
    lengths: Mapping[str, Spread]
    """`prompt`, `tool`, `policy` and `total` tokens a rollout."""
    policies: tuple[PolicyRuns, ...]
    """Oldest first, by their last run."""
    recommenders: tuple[RecommenderRuns, ...]
    rewards: RewardFigures | None
    distance: Distance | None
    obstacle: str | None
    """Why GRPO could learn nothing from this, and what to do; None where it can, and where guided runs count."""
    notes: tuple[str, ...]
    """What weakens what can be learned, one sentence each."""
