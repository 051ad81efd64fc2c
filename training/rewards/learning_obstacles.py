"""Obstacles to learning: reasons why GRPO cannot learn from some runs, each with a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from uuid import UUID

from deeprec.agent.traces import RunFilter
from deeprec.training.rewards.stages import StageReward


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCounts:
    """Counts of rollouts and groups by their rewards."""

    stage: StageReward
    unscored: int
    """Rollouts for which a component has not been computed."""
    unscored_example: UUID | None
    with_reward: int
    """Rollouts with a finite reward."""
    groups_that_differ: int
    """Groups with at least two different rewards."""
    not_computable: Mapping[str, int]
    """Component -> the number of rollouts in which it counts and is NaN."""


def not_computable(components: Mapping[str, float], stage: StageReward) -> list[str]:
    """The components of a rollout that count, have been computed and are NaN."""
    return [name for name, part in stage.parts(components).items() if math.isnan(part) and name in components]


def unscored_message(counts: RewardCounts, rollouts: int) -> str:
    """The message for rollouts that have not been scored."""
    needed = ", ".join(name for name, weight in counts.stage.weights.items() if weight)
    return (
        f"{counts.unscored} of {rollouts} rollouts have not been scored for {needed} (such as run "
        f"{counts.unscored_example}). Score them: `deeprec train score --stage {counts.stage.stage}`."
    )


def obstacle(
    *,
    where: RunFilter | None,
    rollouts: int,
    refused: Mapping[str, int],
    groups_of_two: int,
    rewards: RewardCounts | None = None,
    mixed: str | None = None,
    allow_flat: bool = False,
) -> str | None:
    """Find out why GRPO cannot learn from some runs.

    Args:
        where: the filter that selected the runs.
        rollouts: how many of the runs are rollouts.
        refused: reason -> how many of the runs were refused.
        groups_of_two: groups with two or more rollouts (with a reward, where `rewards` is given).
        rewards: the counts of their rewards; None where rewards were not read.
        mixed: what is wrong with groups that do not have one prompt and one policy (`GroupChecks.fault`), or with runs
            of another policy than the one that is trained (`policy_fault`); None where nothing is.
        allow_flat: equal rewards in every group are no reason.

    Returns:
        the reason and the remedy, in full sentences; None where GRPO can learn.
    """
    if not rollouts and not refused:
        filters = [
            f"{field.name} {value}" for field in fields(RunFilter) if (value := getattr(where, field.name, None))
        ]
        return (
            f"No run matches {', '.join(filters)}. `deeprec traces ls` lists all runs."
            if filters
            else "The store has no runs. Collect some with the agent, several for each person under one group id."
        )
    running = refused.get("running", 0) + refused.get("aborted", 0)
    to_be_ended = (
        f" Runs that have not ended: {running}; collect on under the same label, then score." if running else ""
    )
    if not rollouts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items())
        return (
            f"None of {sum(refused.values())} runs can be trained on: {reasons}. GRPO takes free runs of the tagged "
            f"protocol that have ended; guided ones are for SFT (`train check --guided` counts them).{to_be_ended}"
        )
    if mixed is not None:
        return mixed
    if rewards is not None and rewards.unscored:
        return unscored_message(rewards, rollouts)
    if rewards is not None and not rewards.with_reward:
        components = ", ".join(f"{name} (in {count})" for name, count in rewards.not_computable.items())
        return (
            f"None of {rollouts} rollouts has a reward; not computable: {components}. Runs need a known target, and a "
            "list that the model wrote; give the weight 0 to a component that cannot be computed."
        )
    if not groups_of_two:
        return (
            f"Every group has one rollout ({rollouts} in all), so that none is better than another. Run the agent "
            f"several times for each person, under one group id.{to_be_ended}"
        )
    if rewards is not None and not rewards.groups_that_differ and not allow_flat:
        return (
            f"All rewards are equal in each of {groups_of_two} groups, so every advantage is 0. Sample at a "
            "temperature above 0, use larger groups, or start with `deeprec train sft` where no run keeps the format."
        )
    return None
