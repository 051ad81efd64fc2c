"""The filter of scored rollouts: those that a policy cannot learn from are left out, with a reason."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import numpy as np

from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError

Refusal = Literal["stale", "too long", "no advantage"]

_VERSION = re.compile(r"rec-v(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredRollouts:
    """The rollouts of a step that can be learned from, and the runs that were left out."""

    rollouts: tuple[ScoredRollout, ...]
    refused: Mapping[Refusal, tuple[UUID, ...]]
    """Reason -> runs that were left out."""
    staleness: tuple[int, ...]
    """The versions that the policies of `rollouts` are behind; rollouts of an unknown version are not in it."""

    def __str__(self) -> str:
        return "; ".join(f"{len(runs)} {reason} (such as {runs[0]})" for reason, runs in self.refused.items())


def filter_rollouts(
    scored: Sequence[ScoredRollout], *, vocabulary: int, context: int, version: int | None, max_staleness: int
) -> FilteredRollouts:
    """Leave out the rollouts that a step cannot learn from.

    A rollout whose advantage is exactly 0 stays: it has no gradient, but counts in the means.

    Args:
        scored: The rollouts of one step, whatever their number.
        vocabulary: The model's token ids go from 0 to below this.
        context: Tokens of the longest sequence that the model can read.
        version: The version of the policy that is being trained; None where it is not known.
        max_staleness: By how many versions a rollout's policy may be behind `version`.

    Raises:
        ConfigError: a rollout is guided, or has a token that the model does not have, so that the whole selection of
            runs is wrong.
    """
    rollouts: list[ScoredRollout] = []
    refused: dict[Refusal, list[UUID]] = {}
    staleness: list[int] = []
    for each in scored:
        rollout = each.rollout
        check_tokens(rollout, vocabulary)
        if rollout.guided:
            raise ConfigError(
                f"Run {rollout.run_id} was sampled under constraints, so its log-probabilities are not the policy's: "
                "GRPO cannot learn from it. Read runs without allow_guided, or train them with SFT."
            )
        behind = None
        sampled_by = policy_version(rollout.adapter_version)
        if version is not None and sampled_by is not None:
            behind = version - sampled_by
        reason = _refusal(each, context, behind, max_staleness)
        if reason is not None:
            refused.setdefault(reason, []).append(rollout.run_id)
            continue
        rollouts.append(each)
        if behind is not None:
            staleness.append(behind)
    return FilteredRollouts(
        rollouts=tuple(rollouts),
        refused={reason: tuple(runs) for reason, runs in refused.items()},
        staleness=tuple(staleness),
    )


def check_tokens(rollout: Rollout, vocabulary: int) -> None:
    """Raise ConfigError where a rollout has a token that the model does not have, because another model wrote it."""
    least, largest = int(rollout.token_ids.min()), int(rollout.token_ids.max())
    if least < 0 or largest >= vocabulary:
        raise ConfigError(
            f"Run {rollout.run_id} has the token {largest if largest >= vocabulary else least}, but the model's tokens "
            f"go from 0 to {vocabulary - 1}: another model wrote the run. Choose the runs of one policy, or name their "
            "base model."
        )


def version_name(number: int) -> str:
    """The name of a policy's version, under which its adapter is stored, served and logged: "rec-v3"."""
    return f"rec-v{number}"


def policy_version(adapter_version: str | None) -> int | None:
    """The number in "rec-v3"; 0 for a base model without an adapter; None for a name of another kind."""
    if adapter_version is None:
        return 0
    match = _VERSION.fullmatch(adapter_version)
    return int(match[1]) if match else None


def _refusal(each: ScoredRollout, context: int, behind: int | None, max_staleness: int) -> Refusal | None:
    if not (math.isfinite(each.advantage) and np.isfinite(each.policy_advantages).all()):
        return "no advantage"
    if each.rollout.token_ids.size > context:
        return "too long"
    if behind is not None and behind > max_staleness:
        return "stale"
    return None
