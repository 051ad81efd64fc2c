"""Stage rewards of stored runs: computed and written where they are missing, and read with the rollouts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from uuid import UUID

from deeprec.agent.traces import PARTS, RunFilter, RunNotFoundError, RunTrace, TraceStore, TraceStoreError
from deeprec.evals.metrics.rewards import REWARD_SCHEME, Reward, TokenFree, score_run
from deeprec.training.rewards.learning_obstacles import obstacle
from deeprec.training.rewards.reward_tally import RewardTally
from deeprec.training.rewards.stages import KNOWN_COMPONENTS, REWARD, StageReward
from deeprec.training.rollouts.advantages import GroupFaults, RewardedRollout, Scale, ScoredRollout, score_groups
from deeprec.training.rollouts.rollouts import RolloutError, read_rollouts
from deeprec.trm_tool.errors import ConfigError

_PAGE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringReport:
    """The result of `score_stored_runs`."""

    runs: int
    """Runs of an agent that match and have ended; runs of redacted people do not count."""
    scored: int
    """Runs that lacked a component, which was computed and written."""
    composed: int
    """Runs whose reward of the stage was missing or different, and was written."""
    without_reward: int
    """Runs whose reward is NaN."""
    unreadable: tuple[UUID, ...]
    """Further runs, which could not be scored because their steps are damaged."""


def score_stored_runs(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    rewards: Mapping[str, Reward],
    stage: StageReward,
    again: bool = False,
    on_progress: Callable[[int], Any] | None = None,
) -> ScoringReport:
    """Score stored runs for a stage: all components under the scheme `deeprec`, the reward under `stage-NAME`.

    Components that a run has are kept, so a second call scores new runs only. The stage's reward is always composed
    again, because weights may have changed. Runs are read a page at a time, so memory does not grow with the store.

    Args:
        store: the store of the runs and their rewards.
        where: which runs; None for all.
        rewards: component -> its reward: those of `make_rewards`, and your own (`load_rewards`).
        stage: the weights of the components.
        again: compute components that a run has as well, as after a change of your own reward.
        on_progress: called after each page with the number of runs so far.

    Raises:
        ConfigError: no reward computes a component that the stage needs, or a reward of your own failed.
    """
    check_computed(stage, rewards)
    counts: Counter[str] = Counter()
    unreadable = []
    scorable = replace(where or RunFilter(), kind="agent", ended=True, redacted=False)
    for ids in store.run_ids(scorable, batch=_PAGE):
        stored, composed = store.rewards(ids, REWARD_SCHEME), store.rewards(ids, stage.scheme)
        for run_id in ids:
            components = stored.get(run_id, {})
            lacking = {name: reward for name, reward in rewards.items() if again or name not in components}
            try:
                if lacking:
                    trace = _read(store, run_id, lacking.values())
                    if trace is None:
                        unreadable.append(run_id)
                        continue
                    components = {**components, **score_run(trace, lacking)}
                    store.write_rewards(run_id, REWARD_SCHEME, components)
                    counts["scored"] += 1
                total = stage.compose(components)
                if not _same(composed.get(run_id, {}).get(REWARD), total):
                    store.write_rewards(run_id, stage.scheme, {REWARD: total})
                    counts["composed"] += 1
            except RunNotFoundError:
                continue  # deleted meanwhile
            counts["runs"] += 1
            counts["without_reward"] += math.isnan(total)
        if on_progress is not None:
            on_progress(counts["runs"])
    return ScoringReport(
        runs=counts["runs"],
        scored=counts["scored"],
        composed=counts["composed"],
        without_reward=counts["without_reward"],
        unreadable=tuple(unreadable),
    )


def check_computed(stage: StageReward, rewards: Mapping[str, Reward]) -> None:
    """Raise ConfigError where no reward computes a component that a stage gives a weight to.

    The weight 0 leaves out a component of the paper that cannot be computed, as `similarity` without the TRM's vectors.
    """
    unknown = [
        name
        for name, weight in stage.weights.items()
        if name not in rewards and (weight or name not in KNOWN_COMPONENTS)
    ]
    if unknown:
        raise ConfigError(
            f"The stage {stage.stage} gives a weight to {unknown[0]!r}, which nothing computes. There are "
            f"{', '.join(rewards)}; name a reward of your own as module:function, or give the weight 0."
        )


def read_rewarded(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    stage: StageReward,
    allow_guided: bool = False,
    on_refused: Callable[[RolloutError], Any] | None = None,
) -> Iterator[RewardedRollout]:
    """Read the rollouts of a store with their rewards, oldest first, a page at a time in memory that does not grow.

    The reward is composed here of the stored components, so that it always follows the weights of `stage`. A rollout
    that has not been scored (`score_stored_runs`) lacks components, and its reward is NaN.

    Args:
        store: the store to read.
        where: which runs; None for all.
        stage: the weights of the components.
        allow_guided: as for `read_rollouts`.
        on_refused: as for `read_rollouts`.
    """
    rollouts = read_rollouts(store, where, allow_guided=allow_guided, on_refused=on_refused)
    while page := list(islice(rollouts, _PAGE)):
        stored = store.rewards([rollout.run_id for rollout in page], REWARD_SCHEME)
        for rollout in page:
            components = stored.get(rollout.run_id, {})
            yield RewardedRollout(rollout, components, stage.compose(components))


def read_scored(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    stage: StageReward,
    scale: Scale = "none",
    strict: bool = False,
    allow_flat: bool = False,
    on_refused: Callable[[RolloutError], Any] | None = None,
    on_faults: Callable[[GroupFaults], Any] | None = None,
) -> list[ScoredRollout]:
    """Read the free rollouts of a store with their advantages, group by group, oldest group first, for GRPO.

    All of them are in memory at once, with 13 bytes a token.

    Args:
        store: the store to read.
        where: which runs; None for all.
        stage: the weights of the components.
        scale: the scale of the advantages, as for `advantages`.
        strict: raise where GRPO cannot learn from any of the rollouts. A loop does not, and goes on with its next step.
        allow_flat: with `strict`, do not raise where every group has equal rewards: the credit of tokens
            (`credit_turns`) may differ all the same.
        on_refused: as for `read_rollouts`.
        on_faults: as for `score_groups`.

    Raises:
        ConfigError: there are rollouts that have not been scored. With `strict` also: there are no runs, no rollouts,
            no rewards, no groups of two, or no group with different rewards.
    """
    refused: Counter[str] = Counter()

    def refuse(error: RolloutError) -> None:
        refused[error.reason] += 1
        if on_refused is not None:
            on_refused(error)

    listen = refuse if strict or on_refused is not None else None
    rewarded = list(read_rewarded(store, where, stage=stage, on_refused=listen))
    tally = RewardTally(stage)
    for each in rewarded:
        tally.add(each.rollout, each.components)
    counts = tally.counts()
    fault = obstacle(
        where=where,
        rollouts=len(rewarded),
        refused=refused,
        groups_of_two=tally.groups_of_two,
        rewards=counts,
        allow_flat=allow_flat,
    )
    if fault is not None and (strict or counts.unscored):
        raise ConfigError(fault)
    return score_groups(rewarded, scale=scale, on_faults=on_faults)


def _read(store: TraceStore, run_id: UUID, rewards: Iterable[Reward]) -> RunTrace | None:
    """Load the parts of a run that the rewards read; None where it is damaged.

    Where the whole store is unavailable, the next page or write raises.
    """
    is_light = all(isinstance(reward, TokenFree) for reward in rewards)
    try:
        return store.run(run_id, omit=PARTS if is_light else ())
    except RunNotFoundError:
        raise
    except TraceStoreError:
        return None


def _same(stored: float | None, value: float) -> bool:
    return stored is not None and (stored == value or (math.isnan(stored) and math.isnan(value)))
