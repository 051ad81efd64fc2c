"""How training was started: in one process, or in several by `accelerate launch` or `torchrun`. Loads no torch."""

from __future__ import annotations

import os

from deeprec.trm_tool.errors import ConfigError


def process_count() -> int:
    """How many processes train together, as their launcher sets it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_number() -> int:
    """The number of this process, from 0, as the launcher sets it."""
    return int(os.environ.get("RANK", "0"))


def is_first_process() -> bool:
    """Whether this process is the one that writes files and reports."""
    return process_number() == 0


def is_sharded() -> bool:
    """Whether the launcher asks for FSDP, so that each process has a part of each weight."""
    return process_count() > 1 and _is_set("ACCELERATE_USE_FSDP")


def check_launcher(*, whole_model: bool = False) -> None:
    """Raise ConfigError where the launcher asks for what a training cannot keep its promises with.

    Args:
        whole_model: Whether the training needs the whole model in each process, as DPO does for its reference.
    """
    if _is_set("ACCELERATE_USE_DEEPSPEED"):
        raise ConfigError(
            "Training was started with DeepSpeed, which updates the weights inside the backward pass: a step whose "
            "runs another policy sampled could not be refused, and its checkpoints are pickles. Use FSDP: accelerate "
            "launch --use_fsdp --fsdp_version 2."
        )
    if is_sharded() and os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError(
            "Training was started with the first version of FSDP, whose weights have no names of their own. Start it "
            "with accelerate launch --use_fsdp --fsdp_version 2."
        )
    if is_sharded() and whole_model:
        raise ConfigError(
            "DPO was started with FSDP, but computes its reference with the whole model in each process before the "
            "first step. Start it with accelerate launch --multi_gpu, and train an adapter to save memory."
        )


def refuse_several(what: str) -> None:
    """Raise ConfigError where this process is one of several, and `what` was started in them: "The loop"."""
    if process_count() > 1:
        raise ConfigError(
            f"{what} was started in {process_count()} processes, but takes one, which collects runs and serves "
            "adapters between its steps. Start it without accelerate launch or torchrun; `deeprec train grpo`, `sft` "
            "and `dpo` on stored runs take several."
        )


def _is_set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")
