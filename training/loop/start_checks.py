"""Checks before a loop starts: its stages, the adapter that it starts from, and the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeprec.agent import CompletionPolicy
from deeprec.evals.metrics.rewards import Reward
from deeprec.training.loop.config import LoopConfig
from deeprec.training.loop.start_adapter import check_given_adapter
from deeprec.training.loop.versions import PolicyVersions
from deeprec.training.rewards.stage_rewards import check_computed
from deeprec.training.rollouts.instances import Selection
from deeprec.training.rollouts.rollout_filter import policy_version
from deeprec.training.trainers.model_folders import fingerprint_adapter
from deeprec.trm_tool.errors import ConfigError


def check_stages(
    config: LoopConfig, selection: Selection, rewards: Mapping[str, Reward], *, own: tuple[str, ...]
) -> None:
    """Raise ConfigError where a stage has too few instances, or needs a component that no reward computes.

    Args:
        config: the loop's settings.
        selection: the instances of the stages.
        rewards: component -> its reward, those of your own included.
        own: the names of the rewards of your own.
    """
    for plan in config.stages:
        instances = len(selection.of(plan.stage))
        if plan.users > instances:
            raise ConfigError(
                f"The stage {plan.stage} asks for {plan.users} users a step, and has {instances}. Ask for fewer, "
                "change interaction_share, or use more data."
            )
        check_computed(plan.reward(own), rewards)


def loop_course(config: LoopConfig, versions: PolicyVersions) -> dict[str, Any]:
    """Collect what decides the outcome of a loop: its settings, and fingerprints of all that it starts from.

    Raises:
        ConfigError: the adapter to start from cannot be served and trained on.
    """
    course: dict[str, Any] = {**config.course(), **versions.fingerprints}
    if config.start is not None:
        if versions.exists(1):
            course["start_fingerprint"] = fingerprint_adapter(versions.folder(1))
        else:
            check_given_adapter(config.start, versions.base, versions.fingerprints["base_fingerprint"])
            course["start_fingerprint"] = fingerprint_adapter(config.start)
    return course


async def check_no_versions(base_url: str) -> None:
    """Refuse a server that has adapters of another loop: a name stands for one set of weights there.

    Raises:
        ConfigError: it has.
    """
    async with CompletionPolicy(base_url) as policy:
        loaded = [name for name in (await policy.connect()).adapters if policy_version(name) is not None]
    if loaded:
        raise ConfigError(
            f"The server at {base_url} has {', '.join(loaded)} of another loop loaded, which this one's versions would "
            "be taken for. Restart the server, or let the loop start one."
        )
