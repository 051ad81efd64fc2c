"""Why GRPO could learn nothing from some runs, in words that say what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from uuid import UUID

from deeprec.agent.traces import RunFilter
from deeprec.training.rewards.stages import StageReward


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCounts:
    """What the rewards of some rollouts come to."""

    stage: StageReward
    unscored: int
    """Rollouts that lack a component."""
    unscored_example: UUID | None
    with_reward: int
    groups_that_differ: int
    """Groups with two different rewards."""
    not_computable: Mapping[str, int]
    """Component -> in how many rollouts it counts and is NaN."""


def not_computable(components: Mapping[str, float], stage: StageReward) -> list[str]:
    """Components that count, were looked at and are NaN."""
    return [name for name, part in stage.parts(components).items() if math.isnan(part) and name in components]


def unscored_message(counts: RewardCounts, rollouts: int) -> str:
    """What to do where some of the rollouts have not been scored."""
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
) -> str | None:
    """Why GRPO could learn nothing from some runs, and what to do; None where it can.

    Args:
        where: which runs were looked at.
        rollouts: how many of them are.
        refused: reason -> how many are none.
        groups_of_two: groups with two or more rollouts (and rewards, where there are).
        rewards: None where rewards were not looked at.
    """
    if not rollouts and not refused:
        chosen = [f"{field.name} {value}" for field in fields(RunFilter) if (value := getattr(where, field.name, None))]
        return (
            f"No run matches {', '.join(chosen)}. `deeprec traces ls` lists the runs that there are."
            if chosen
            else "The store has no runs. Collect some with the agent, several for each person under one group id."
        )
    left = refused.get("running", 0)
    to_be_ended = f" Not ended, of these: {left}. Collect on under the same label, then score." if left else ""
    if not rollouts:
        told = ", ".join(f"{count} {reason}" for reason, count in refused.items())
        return (
            f"None of {sum(refused.values())} runs can be trained on: {told}. GRPO takes free runs of the tagged "
            f"protocol that have ended; guided ones are for SFT (`train check --guided` counts them).{to_be_ended}"
        )
    if rewards is not None and rewards.unscored:
        return unscored_message(rewards, rollouts)
    if rewards is not None and not rewards.with_reward:
        why = ", ".join(f"{name} (in {count})" for name, count in rewards.not_computable.items())
        return (
            f"None of {rollouts} rollouts has a reward; not computable: {why}. Runs need a known target, and a list of "
            "the model's own; a component that cannot be had may get the weight 0."
        )
    if not groups_of_two:
        return (
            f"Every group has one rollout ({rollouts} in all), so that none is better than another. Run each person "
            f"several times under one group id.{to_be_ended}"
        )
    if rewards is not None and not rewards.groups_that_differ:
        return (
            f"In each of {groups_of_two} groups all rewards are equal, so every advantage is 0. Sample at a "
            "temperature above 0, take larger groups, or begin with `deeprec train sft` where no run keeps the format."
        )
    return None
