"""Checks before a loop starts: its stages, the adapter that it starts from, and the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeprec.agent import CompletionPolicy
from deeprec.agent.policy.completion import ServedModel
from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter, same_weights
from deeprec.agent.serving.adapter_loading import has_adapter
from deeprec.evals.metrics.rewards import Reward
from deeprec.training.loop.config import LoopConfig
from deeprec.training.loop.start_adapter import check_given_adapter, fingerprint_taken_over
from deeprec.training.loop.versions import PolicyVersions
from deeprec.training.rewards.stage_rewards import check_computed
from deeprec.training.rollouts.instances import Selection
from deeprec.training.rollouts.rollout_filter import policy_version
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import hide_passwords


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
            course["start_fingerprint"] = fingerprint_taken_over(config.start)
    return course


async def check_base(base_url: str, base: Path | str, fingerprint: str) -> ServedModel:
    """Describe what a server serves, and refuse one of another base model, where it shows which it has.

    Args:
        base_url: the server.
        base: the base model that is trained.
        fingerprint: the fingerprint of its weights.

    Raises:
        ConfigError: the server has another one.
    """
    async with CompletionPolicy(base_url) as policy:
        served = await policy.connect()
    if served.base_fingerprint is not None and not same_weights(served.base_fingerprint, fingerprint):
        raise ConfigError(
            f"The server at {hide_passwords(base_url)} serves another base model ({served.name}, "
            f"{served.base_fingerprint}) than the one that is trained ({base}, {fingerprint}). Start one of that "
            "model, or name none, so that one is started."
        )
    return served


async def check_server(base_url: str, versions: PolicyVersions, *, newest: int) -> None:
    """Refuse a server of another base model, or with other weights under the name of a version of the loop.

    Args:
        base_url: the server.
        versions: the versions of the loop.
        newest: the newest version that the loop has served. A server still has those up to it whose folders the loop
            has deleted since.

    Raises:
        ConfigError: it is one.
    """
    served = await check_base(base_url, versions.base, versions.fingerprints["base_fingerprint"])
    for name in served.adapters:
        number = policy_version(name)
        if not number or name != versions.served_name(number):
            continue
        if versions.exists(number):
            await has_adapter(base_url, name, versions.folder(number))
        elif number > newest:
            raise ConfigError(
                f"The server at {hide_passwords(base_url)} has {name} of another loop loaded, which this one's version "
                "would be taken for. Restart the server, or let the loop start one."
            )
