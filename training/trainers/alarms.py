"""Alarms for a policy that collapses, found in the metrics of its training."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.group_checks import group_key

WINDOW = 3
"""Steps whose mean is compared, because a single step is noise."""
FORMAT_FALL = 0.2
"""The largest fall of the share of runs that keep the format below its highest mean."""
LEAST_ENTROPY = 0.05
"""The lowest entropy in nats per policy token; the likeliest token then has a probability of about 0.99."""
ENTROPY_SHARE = 0.2
"""The lowest entropy as a share of that at the start."""
SAME_ANSWER = 0.9
"""The share of people from which on one answer for all of them raises an alarm."""
ADVICE = "Stop, go back to an adapter from before, and lower the learning rate"


class Alarm(NamedTuple):
    """A development that a training does not recover from by itself."""

    name: Literal["format", "entropy", "one answer"]
    message: str


def find_alarms(steps: Sequence[Mapping[str, float]]) -> list[Alarm]:
    """Find the alarms that the logged steps of a training give reason for.

    Args:
        steps: Metrics of each optimizer step, oldest first. A step without a metric does not count for it.

    Returns:
        the alarms as of the last step; none before `WINDOW` steps have a metric.
    """
    found = [_format(_figures(steps, "format_valid")), _entropy(_figures(steps, "entropy"))]
    return [alarm for alarm in (*found, _one_answer(_figures(steps, "same_answer"))) if alarm is not None]


def same_answer(scored: Sequence[ScoredRollout]) -> float:
    """Compute the share of a step's groups, each of another person, in which its most common answer occurs.

    Returns:
        a share in [0, 1], 1 where everybody got the same sequence of policy tokens; NaN where there are fewer than two
        groups.
    """
    answers: dict[str, set[bytes]] = {}
    for each in scored:
        rollout = each.rollout
        answers.setdefault(group_key(rollout), set()).add(rollout.token_ids[rollout.env_mask == 1].tobytes())
    if len(answers) < 2:
        return float("nan")
    [(_, groups)] = Counter(answer for group in answers.values() for answer in group).most_common(1)
    return groups / len(answers)


def _figures(steps: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [value for step in steps if (value := step.get(name)) is not None and value == value]


def _windows(figures: Sequence[float]) -> list[float]:
    """The means of every `WINDOW` consecutive steps."""
    return [statistics.fmean(figures[at : at + WINDOW]) for at in range(len(figures) - WINDOW + 1)]


def _format(figures: Sequence[float]) -> Alarm | None:
    means = _windows(figures)
    if not means or max(means) - means[-1] <= FORMAT_FALL:
        return None
    return Alarm(
        "format",
        f"The share of runs that keep the format fell from {max(means):.2f} to {means[-1]:.2f} (means of {WINDOW} "
        f"steps): the policy forgets how to call the tool. {ADVICE}, or raise the weight of the format reward.",
    )


def _entropy(figures: Sequence[float]) -> Alarm | None:
    means = _windows(figures)
    if not means or (means[-1] >= LEAST_ENTROPY and means[-1] >= ENTROPY_SHARE * means[0]):
        return None
    return Alarm(
        "entropy",
        f"The entropy per token is {means[-1]:.3f} nats, from {means[0]:.3f} at the start (means of {WINDOW} steps): "
        f"the policy hardly tries anything else, so groups hold no differences to learn from. {ADVICE}, or raise "
        "clip_high.",
    )


def _one_answer(figures: Sequence[float]) -> Alarm | None:
    if len(figures) < WINDOW or min(figures[-WINDOW:]) < SAME_ANSWER:
        return None
    return Alarm(
        "one answer",
        f"The same answer was sampled for {figures[-1]:.0%} of the people of a step, {WINDOW} steps in a row: the "
        f"policy no longer reads whom it answers. {ADVICE}, and check whether the reward favours this answer.",
    )
