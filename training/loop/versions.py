"""The versions of a loop's policy: adapters `rec-v1`, `rec-v2`, …, each in a folder of its own with its lineage."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.training.rollouts.rollout_filter import PolicyWeights, policy_version, version_name
from deeprec.training.trainers.adapter_lineage import LINEAGE_FILE, AdapterLineage, library_versions
from deeprec.training.trainers.model_folders import name_of_base

ADAPTERS = "adapters"
_NEWEST_KEPT = 3
"""Newest versions whose folders stay at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersions:
    """The versions of one loop by their number. Version 0, the model without an adapter, has no folder."""

    out: Path
    """The loop's folder."""
    base: Path | str
    """The base model's folder or id."""
    fingerprints: Mapping[str, str]
    """The fingerprints of data, recommender and base model, by the names of the fields of `AdapterLineage`."""
    identity: str = ""
    """8 hex digits that the names of its versions carry on a server and in traces (`LoopState.identity`)."""

    def served_name(self, number: int) -> str:
        """The name of a version's adapter on a server and in traces, which no other loop uses: "rec-v3-1a2b3c4d"."""
        return "-".join(filter(None, (version_name(number), self.identity)))

    def weights(self, number: int) -> PolicyWeights:
        """Read the fingerprints of a version's weights."""
        adapter = fingerprint_adapter(self.folder(number)) if number else None
        return PolicyWeights(
            base=self.fingerprints["base_fingerprint"], adapter=adapter, version=number, identity=self.identity or None
        )

    def folder(self, number: int) -> Path:
        """The folder of a version's adapter, which may not exist yet."""
        return self.out / ADAPTERS / version_name(number)

    def exists(self, number: int) -> bool:
        """Whether a version is complete; its lineage is written last."""
        return (self.folder(number) / LINEAGE_FILE).is_file()

    def lineage(
        self,
        number: int,
        *,
        method: Literal["sft", "grpo", "given"],
        settings: dict[str, Any],
        stage: str | None = None,
        step: int = 0,
        suite: str | None = None,
    ) -> AdapterLineage:
        """Build the lineage of a version; the arguments are fields of `AdapterLineage`."""
        return AdapterLineage(
            name=self.served_name(number),
            parent=self.served_name(number - 1) if number > 1 else None,
            base=name_of_base(self.base),
            method=method,
            stage=stage,
            step=step,
            suite=suite,
            settings=settings,
            versions=library_versions(),
            **self.fingerprints,
        )

    def delete_old(self, newest: int, *, kept: int, keep: Collection[str]) -> None:
        """Delete the folders of old versions.

        Args:
            newest: the version that was trained last. Later ones, of a loop that goes on from a checkpoint before them,
                stay.
            kept: versions up to `newest` that stay, 3 at least: a loop that goes on from its last checkpoint needs
                those from which its runs there were sampled.
            keep: the names of further versions that stay.
        """
        for folder in (self.out / ADAPTERS).iterdir():
            number = policy_version(folder.name)
            if number is not None and number <= newest - max(kept, _NEWEST_KEPT) and folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)
