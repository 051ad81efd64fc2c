"""Records of the figures of a store report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from deeprec.evals.metrics.streaming import Spread
from deeprec.training.rewards.reward_tally import RewardFigures
from deeprec.training.rollouts.logprob_gap import LogprobGap


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Runs that are not rollouts for one reason."""

    reason: str
    runs: int
    example: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSizes:
    """The groups by their number of rollouts."""

    groups: int
    smallest: int
    median: float
    largest: int
    alone: int
    """Groups of one rollout, which has nothing to compare with."""
    sizes: Mapping[int, int]
    """Number of rollouts -> number of groups."""
    of_several_policies: int
    """Groups whose rollouts come from different models, adapters or versions, so that their mean compares policies."""
    of_several_prompts: int = 0
    """Groups whose rollouts have different prompts, so that their mean compares requests."""


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
    """The runs that used one recommender."""

    fingerprint: str
    holdout: int | None
    """None where the run did not log it."""
    split: str | None
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """The fit of the rollouts to a model, and the gap between the model and the policies that sampled them."""

    gap: LogprobGap
    """The gap over a sample of the rollouts."""
    temperatures: tuple[float, ...]
    """The temperatures of the runs in the sample."""
    foreign_tokens: int
    """Rollouts with a token id outside the model's vocabulary."""
    foreign_example: UUID | None
    too_long: int
    """Rollouts longer than the model's context."""
    too_long_example: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """The runs of a store as trainers see them."""

    runs: int
    rollouts: int
    guided: int
    """Rollouts that were sampled under constraints; there are some only where they are allowed."""
    refused: tuple[Refusals, ...]
    groups: GroupSizes | None
    """None where there are no rollouts."""
    lengths: Mapping[str, Spread]
    """`prompt`, `tool`, `policy` and `total` -> the spread of their tokens in a rollout."""
    policies: tuple[PolicyRuns, ...]
    """Oldest first, by their last run."""
    recommenders: tuple[RecommenderRuns, ...]
    rewards: RewardFigures | None
    distance: Distance | None
    obstacle: str | None
    """The reason why GRPO cannot learn from these runs, and the remedy; None where it can or guided runs count."""
    leaks: tuple[str, ...]
    """Reasons why figures of a policy that learns from these runs could not be trusted; trainers refuse such runs."""
    notes: tuple[str, ...]
    """Weaknesses of these runs as examples, each in full sentences."""
