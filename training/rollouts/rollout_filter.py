"""The filter of scored rollouts: those that a policy cannot learn from are left out, with a reason."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import numpy as np

from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError

Refusal = Literal["stale", "too long", "no advantage"]

_VERSION = re.compile(r"rec-v(\d+)(?:-([0-9a-f]{8}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWeights:
    """The weights of a policy, as fingerprints, and its version."""

    base: str
    """The fingerprint of the base model."""
    adapter: str | None
    """The fingerprint of the adapter; None without one."""
    version: int | None
    """The number of the version; None where it is not known."""
    identity: str | None = None
    """The identity of the loop that counts the versions, as in "rec-v3-1a2b3c4d"; None where it is not known."""


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
    scored: Sequence[ScoredRollout],
    *,
    vocabulary: int,
    context: int,
    version: int | None,
    max_staleness: int,
    identity: str | None = None,
) -> FilteredRollouts:
    """Leave out the rollouts that a step cannot learn from.

    A rollout whose advantage is exactly 0 stays: it has no gradient, but counts in the means.

    Args:
        scored: The rollouts of one step, whatever their number.
        vocabulary: The model's token ids go from 0 to below this.
        context: Tokens of the longest sequence that the model can read.
        version: The version of the policy that is being trained; None where it is not known.
        max_staleness: By how many versions a rollout's policy may be behind `version`.
        identity: The identity of the loop that counts `version`: rollouts of another loop have no age. None where it is
            not known.

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
        is_other = _is_of_another_loop(rollout.adapter_version, identity)
        if version is not None and sampled_by is not None and not is_other:
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


def policy_fault(rollout: Rollout, weights: PolicyWeights, *, has_moved: bool = False) -> str | None:
    """Find out why a policy cannot have sampled a run, nor be a later version of the one that did.

    Fingerprints that a run lacks are not compared: it was logged before they were kept, or its server did not show the
    weights. Then the names decide, and later the gap of the log-probabilities.

    Args:
        rollout: the run.
        weights: the policy.
        has_moved: the policy has been trained since `weights.adapter` was saved, so that this one is not compared.

    Returns:
        the reason and the remedy; None where there is none.
    """
    name = rollout.adapter_version or rollout.adapter
    fault = _base_fault(rollout, weights.base)
    if fault is not None:
        return fault
    own = rollout.adapter_fingerprint
    if own is not None and own == weights.adapter:
        return None  # the same weights, whatever they are called
    if _is_of_another_loop(name, weights.identity):
        return (
            f"Run {rollout.run_id} was sampled by {name}, an adapter of another training loop than the one that is "
            f"trained (identity {weights.identity}). Start from the adapter that sampled it (--start), or choose runs "
            "of this loop with --adapter-version."
        )
    version = policy_version(name)
    if version is not None and weights.version is not None and version > weights.version:
        return (
            f"Run {rollout.run_id} was sampled by {name}, a later version than the one that is trained "
            f"({version_name(weights.version) if weights.version else 'the base model without an adapter'}). Start "
            f"from the adapter of {name} (--start), or choose earlier runs with --adapter-version."
        )
    if version is not None and weights.version is not None and version < weights.version:
        return None  # an earlier version, whose weights are others
    if has_moved:
        return None
    if (name is None) != (weights.adapter is None) or (own is not None and own != weights.adapter):
        plain = "the base model without an adapter"
        sampled_by = plain if name is None else f"the adapter {name} with the weights {own or '(not logged)'}"
        start = plain if weights.adapter is None else f"an adapter with the weights {weights.adapter}"
        return (
            f"Run {rollout.run_id} was sampled by {sampled_by}, and training starts from {start}. Start from the "
            "adapter that sampled it (--start), or choose runs of this one with --adapter-version."
        )
    return None


def check_policy(rollouts: Iterable[Rollout], weights: PolicyWeights, *, has_moved: bool = False) -> None:
    """Raise ConfigError for the first run that a policy cannot have sampled (`policy_fault`)."""
    for rollout in rollouts:
        fault = policy_fault(rollout, weights, has_moved=has_moved)
        if fault is not None:
            raise ConfigError(fault)


def check_base(rollouts: Iterable[Rollout], fingerprint: str) -> None:
    """Raise ConfigError for the first run that another base model wrote; runs without a fingerprint are not compared.

    Args:
        rollouts: the runs.
        fingerprint: the fingerprint of the base model that is trained (`fingerprint_base`).
    """
    for rollout in rollouts:
        fault = _base_fault(rollout, fingerprint)
        if fault is not None:
            raise ConfigError(fault)


def version_name(number: int) -> str:
    """The name of a policy's version, under which its adapter is stored: "rec-v3".

    A loop serves and logs it with the loop's identity behind it: "rec-v3-1a2b3c4d".
    """
    return f"rec-v{number}"


def policy_version(adapter_version: str | None) -> int | None:
    """The number in "rec-v3" or "rec-v3-1a2b3c4d"; 0 for a base model without an adapter; None for another name."""
    if adapter_version is None:
        return 0
    match = _VERSION.fullmatch(adapter_version)
    return int(match[1]) if match else None


def loop_identity(adapter_version: str | None) -> str | None:
    """The identity of the loop in "rec-v3-1a2b3c4d"; None for a name without one."""
    match = _VERSION.fullmatch(adapter_version or "")
    return match[2] if match else None


def _is_of_another_loop(name: str | None, identity: str | None) -> bool:
    """Whether the identities are known and differ."""
    own = loop_identity(name)
    return own is not None and identity is not None and own != identity


def _base_fault(rollout: Rollout, fingerprint: str) -> str | None:
    own = rollout.base_fingerprint
    if own is None or same_weights(own, fingerprint):
        return None
    return (
        f"Run {rollout.run_id} was sampled by another base model ({rollout.policy_model}, {own}) "
        f"than the one that is trained ({fingerprint}). Name its model with --base, or choose the runs of one model "
        "with --model."
    )


def _refusal(each: ScoredRollout, context: int, behind: int | None, max_staleness: int) -> Refusal | None:
    if not (math.isfinite(each.advantage) and np.isfinite(each.policy_advantages).all()):
        return "no advantage"
    if each.rollout.token_ids.size > context:
        return "too long"
    if behind is not None and behind > max_staleness:
        return "stale"
    return None
