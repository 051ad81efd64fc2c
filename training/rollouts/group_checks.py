"""Checks of groups: their runs answer one prompt with one policy, or their mean reward compares something else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

import numpy as np

from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError


class _First(NamedTuple):
    """The first run of a group."""

    run_id: UUID
    prompt: bytes
    names: tuple[str | None, ...]


class _Known(NamedTuple):
    """The first run of a group whose fingerprint is known."""

    run_id: UUID
    fingerprint: str


class GroupChecks:
    """Compares the runs of each group with its first one, run by run; memory grows with the groups.

    Fingerprints are compared with the first known one of the group: runs that were logged without any hide no others.
    """

    def __init__(self) -> None:
        self._first: dict[str, _First] = {}
        self._known: dict[tuple[str, str], _Known] = {}
        self.of_several_policies: dict[str, tuple[UUID, UUID]] = {}
        """Group -> two of its runs, of different policies."""
        self.of_several_prompts: dict[str, tuple[UUID, UUID]] = {}
        """Group -> two of its runs, with different prompts."""

    def add(self, rollout: Rollout) -> None:
        """Compare a run with the first one of its group."""
        key = group_key(rollout)
        prompt = rollout.token_ids[: int(np.argmax(rollout.env_mask))]
        own = _First(rollout.run_id, hashlib.sha256(prompt.tobytes()).digest(), policy_names(rollout))
        first = self._first.setdefault(key, own)
        pair = (first.run_id, own.run_id)
        if first.names != own.names:
            self.of_several_policies.setdefault(key, pair)
        for part, fingerprint in (("base", rollout.base_fingerprint), ("adapter", rollout.adapter_fingerprint)):
            if fingerprint is None:
                continue
            known = self._known.setdefault((key, part), _Known(own.run_id, fingerprint))
            if not same_weights(known.fingerprint, fingerprint):
                self.of_several_policies.setdefault(key, (known.run_id, own.run_id))
        if first.prompt != own.prompt:
            self.of_several_prompts.setdefault(key, pair)

    def fault(self) -> str | None:
        """The reason why the groups cannot be learned from, and the remedy; None where there is none."""
        for key, (one, other) in self.of_several_prompts.items():
            return (
                f"{len(self.of_several_prompts)} groups have runs of different prompts (such as {key}: {one} and "
                f"{other}), so that their advantages compare requests. Give the runs of each request a group id of "
                "their own, and choose these by --since or --suite."
            )
        for key, (one, other) in self.of_several_policies.items():
            return (
                f"{len(self.of_several_policies)} groups have runs of different policies (such as {key}: {one} and "
                f"{other}), so that their advantages compare policies. Choose the runs of one with --model, "
                "--adapter-version or --since."
            )
        return None


def check_groups(rollouts: Iterable[Rollout]) -> None:
    """Raise ConfigError where a group has runs of different prompts or policies."""
    checks = GroupChecks()
    for rollout in rollouts:
        checks.add(rollout)
    fault = checks.fault()
    if fault is not None:
        raise ConfigError(fault)


def policy_names(rollout: Rollout) -> tuple[str | None, ...]:
    """The names of the model, its adapter and the adapter's version."""
    return rollout.policy_model, rollout.adapter, rollout.adapter_version


def group_key(rollout: Rollout) -> str:
    """The key that a rollout is grouped by: its group id, or its run id where it has none."""
    return str(rollout.run_id) if rollout.group_id is None else rollout.group_id
