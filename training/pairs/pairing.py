"""Pairs made of scored groups: the best and the worst run of each group, where their rewards differ enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple
from uuid import UUID

import numpy as np

from deeprec.agent.traces import Part, RunFilter, RunPair, TraceStore, write_pairs
from deeprec.evals.metrics.rewards import REWARD_SCHEME
from deeprec.training.rewards.stages import REWARD, StageReward
from deeprec.training.rollouts.group_checks import GroupChecks, group_key
from deeprec.training.rollouts.rollouts import Rollout, RolloutError, read_rollouts
from deeprec.training.store_report.target_leaks import find_leaks
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

LeftOut = Literal[
    "one run", "several prompts", "several policies", "equal rewards", "gap below the margin", "same text"
]
_REMEDIES: Mapping[LeftOut, str] = {
    "one run": "Run the agent several times for each person, under one group id.",
    "several prompts": "Give the runs of each prompt a group id of their own.",
    "several policies": "Choose the runs of one policy with --model, --adapter-version or --since.",
    "equal rewards": "Sample at a temperature above 0, or collect larger groups.",
    "gap below the margin": "Lower the margin, or collect larger groups.",
    "same text": "Sample at a temperature above 0; a reward that differs for one text is noise.",
}
_PAGE = 256
_TEXTS_ONLY: tuple[Part, ...] = ("tokens", "settings", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReward:
    """A reward that is stored under its own scheme, such as that of a recommender for a piece of knowledge."""

    scheme: str
    component: str

    @property
    def name(self) -> str:
        """The reward's name, `scheme.component`, as columns of `Traces.rewards(wide=True)` have it."""
        return f"{self.scheme}.{self.component}"


PairReward = StageReward | StoredReward
"""A stage's reward, which is composed of stored components, or one reward as it is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingReport:
    """The result of `make_pairs`."""

    name: str
    reward: str
    margin: float
    runs: int
    """Rollouts that match."""
    refused: Mapping[str, int]
    """Reason -> runs that are not rollouts."""
    without_reward: int
    """Rollouts without a finite reward. They do not count in their group."""
    groups: int
    """Groups of rollouts with a reward."""
    pairs: int
    left_out: Mapping[LeftOut, int]
    """Reason -> groups that give no pair."""
    gap: float
    """The mean difference of the two rewards of a pair."""


class _Scored(NamedTuple):
    """A run of a group; its tokens are not kept."""

    reward: float
    run_id: UUID


def make_pairs(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    reward: PairReward,
    name: str = "pairs",
    margin: float = 0.0,
    dataset: Dataset | None = None,
    allow_leaks: bool = False,
    on_progress: Callable[[int], Any] | None = None,
) -> PairingReport:
    """Pair the best and the worst run of each group, and store the pairs under a name, in place of an earlier set.

    Guided runs count as well. Of equal rewards the run with the smallest id is taken, so that the order of the store
    does not matter. Tokens are read a run at a time, and memory grows by some 200 bytes a run.

    Args:
        store: the store of the runs and of their rewards, to which the pairs are written.
        where: which runs; None for all.
        reward: what the runs are compared by.
        name: the name of the set of pairs.
        margin: the smallest gap of the two rewards that makes a pair; equal rewards never do.
        dataset: the data of the runs, in which their targets are looked up; None takes the embedded ml-100k for the
            runs that are of it.
        allow_leaks: also pair runs about held-out targets, or whose recommender has learned their targets.
        on_progress: called after each page with the number of rollouts so far.

    Raises:
        ConfigError: the margin is negative or not finite, runs have not been scored, runs are of a held-out split, or
            no group gives a pair. What the set held before is unchanged.
    """
    if not (margin >= 0 and math.isfinite(margin)):
        raise ConfigError(f"The margin of pairs is {margin}. Set it to 0 or more, in units of the reward.")
    found = [] if allow_leaks else find_leaks(store, where, dataset)
    if found:
        raise ConfigError(f"{' '.join(found)} Or allow leaks, and evaluate on other people.")
    refused: Counter[str] = Counter()

    def refuse(error: RolloutError) -> None:
        refused[error.reason] += 1

    rollouts = read_rollouts(store, where, allow_guided=True, on_refused=refuse)
    groups: dict[str, list[_Scored]] = {}
    checks = GroupChecks()
    runs, unscored, without_reward = 0, [], 0
    while page := list(islice(rollouts, _PAGE)):
        rewards = read_pair_rewards(store, [rollout.run_id for rollout in page], reward)
        for rollout in page:
            runs += 1
            value = rewards.get(rollout.run_id)
            if value is None:
                unscored.append(rollout.run_id)
            elif math.isfinite(value):
                groups.setdefault(group_key(rollout), []).append(_Scored(value, rollout.run_id))
                checks.add(rollout)
            else:
                without_reward += 1
        if on_progress is not None:
            on_progress(runs)
    if unscored:
        raise ConfigError(_unscored(unscored, runs, reward))
    pairs, left_out = _pairs(store, groups, checks, reward, margin)
    if not pairs:
        raise ConfigError(_nothing(groups, left_out, refused, without_reward, margin))
    write_pairs(store, name, pairs)
    return PairingReport(
        name=name,
        reward=reward_name(reward),
        margin=margin,
        runs=runs,
        refused=dict(refused),
        without_reward=without_reward,
        groups=len(groups),
        pairs=len(pairs),
        left_out=dict(left_out),
        gap=float(np.mean([pair.chosen_reward - pair.rejected_reward for pair in pairs])),
    )


def reward_name(reward: PairReward) -> str:
    """The name of a reward that pairs are stored with, `scheme.component`."""
    return reward.name if isinstance(reward, StoredReward) else f"{reward.scheme}.{REWARD}"


def read_pair_rewards(store: TraceStore, run_ids: Sequence[UUID], reward: PairReward) -> dict[UUID, float]:
    """Read the reward of some runs; a run that has not been scored is missing, and NaN is kept."""
    if isinstance(reward, StoredReward):
        stored = store.rewards(run_ids, reward.scheme)
        return {run_id: own[reward.component] for run_id, own in stored.items() if reward.component in own}
    stored = store.rewards(run_ids, REWARD_SCHEME)
    return {run_id: reward.compose(own) for run_id, own in stored.items() if not reward.lacks(own)}


def prompt_of(rollout: Rollout) -> np.ndarray:
    """The tokens before the first one that the policy wrote, int64 (n,)."""
    return rollout.token_ids[: int(np.argmax(rollout.env_mask == 1))]


def _pairs(
    store: TraceStore,
    groups: Mapping[str, Sequence[_Scored]],
    checks: GroupChecks,
    reward: PairReward,
    margin: float,
) -> tuple[list[RunPair], Counter[LeftOut]]:
    pairs: list[RunPair] = []
    left_out: Counter[LeftOut] = Counter()
    for key, group in groups.items():
        best = min(group, key=lambda each: (-each.reward, each.run_id))
        worst = min(group, key=lambda each: (each.reward, each.run_id))
        reason: LeftOut | None = None
        if key in checks.of_several_prompts:
            reason = "several prompts"
        elif key in checks.of_several_policies:
            reason = "several policies"
        if reason := reason or _reason(store, group, best, worst, margin):
            left_out[reason] += 1
            continue
        pairs.append(
            RunPair(
                chosen_id=best.run_id,
                rejected_id=worst.run_id,
                reward=reward_name(reward),
                chosen_reward=best.reward,
                rejected_reward=worst.reward,
                margin=margin,
                runs=len(group),
            )
        )
    return pairs, left_out


def _reason(
    store: TraceStore, group: Sequence[_Scored], best: _Scored, worst: _Scored, margin: float
) -> LeftOut | None:
    """The reason why a group of one prompt and one policy gives no pair; None where it gives one."""
    if len(group) == 1:
        return "one run"
    if best.reward == worst.reward:
        return "equal rewards"
    if best.reward - worst.reward < margin:
        return "gap below the margin"
    texts = [[turn.text for turn in store.run(each.run_id, omit=_TEXTS_ONLY).turns] for each in (best, worst)]
    return "same text" if texts[0] == texts[1] else None


def _unscored(unscored: Sequence[UUID], runs: int, reward: PairReward) -> str:
    seen = f"{len(unscored)} of {runs} rollouts have no reward {reward_name(reward)!r} (such as run {unscored[0]})"
    if isinstance(reward, StageReward):
        return f"{seen}, so none is best. Score them: `deeprec train score --stage {reward.stage}`."
    return f"{seen}, so none is best. Score them, choose other runs (--suite, --since), or name a stored reward."


def _nothing(
    groups: Mapping[str, object],
    left_out: Counter[LeftOut],
    refused: Mapping[str, int],
    without_reward: int,
    margin: float,
) -> str:
    if not groups:
        others = [f"{count} {reason}" for reason, count in refused.items()]
        others += [f"{without_reward} without a finite reward"] if without_reward else []
        seen = f" ({', '.join(others)})" if others else ""
        return f"No run with a reward can be paired{seen}. `deeprec traces ls` lists the runs that there are."
    [(most, _)] = left_out.most_common(1)
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
    return f"None of {len(groups)} groups gives a pair at a margin of {margin:g}: {reasons}. {_REMEDIES[most]}"
