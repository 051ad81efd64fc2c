"""Supervised fine-tuning: a policy learns to write what good runs wrote, as a warm start."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.training.rollouts.rollout_filter import check_base, check_tokens
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.trainers.launcher import check_launcher
from deeprec.training.trainers.lock_files import alone_in_folder
from deeprec.training.trainers.policy_model import load_policy
from deeprec.training.trainers.step_report import StepReport
from deeprec.training.trainers.trainer_config import SftConfig
from deeprec.trm_tool.errors import ConfigError

_log = logging.getLogger(__name__)


@alone_in_folder
def train_sft(
    rollouts: Sequence[Rollout],
    *,
    base: Path | str,
    start: Path | None = None,
    out: Path,
    config: SftConfig | None = None,
    on_step: Callable[[StepReport], Any] | None = None,
) -> Path:
    """Train a policy on the tokens that the policy wrote in good runs; prompts and tool output are context only.

    A training that was killed resumes like one of `train_grpo`, from the same kind of folder.

    Args:
        rollouts: The good runs, as the caller selects them; they may be guided.
        base: The base model: a folder, or a Hugging Face id.
        start: An adapter to go on from.
        out: A folder for `adapter/` (or `model/`, where all weights are trained), `log.jsonl` and `checkpoints/`.
        config: The settings.
        on_step: Called after each optimizer step.

    Returns:
        the folder of the trained adapter, or of the model.

    Raises:
        ConfigError: there are no rollouts, one has tokens that the model does not have or was sampled by another base
            model, all are too long for it, another process trains in `out`, or the disk is full.
        TrainingError: the loss is NaN or infinite.
    """
    check_launcher()
    config = config or SftConfig()
    if not rollouts:
        raise ConfigError("There is no run to train on. Name a store and a filter that find some, or collect runs.")
    policy = load_policy(
        base, lora=config.lora, start=start, device=config.device, dtype=config.dtype, seed=config.seed
    )
    for rollout in rollouts:
        check_tokens(rollout, policy.vocabulary)
    check_base(rollouts, policy.fingerprint)
    rollouts = _short_enough(rollouts, policy.context)
    from deeprec.training.trainers.sft_trainer import make_sft_trainer

    identity = {
        "method": "sft",
        "base": policy.fingerprint,
        "start": None if start is None else fingerprint_adapter(start),
        "runs": _digest(rollouts),
        **config.identity(),
    }
    return make_sft_trainer(policy, config, out, rollouts=rollouts, identity=identity, on_step=on_step).run()


def _short_enough(rollouts: Sequence[Rollout], context: int) -> list[Rollout]:
    kept = [rollout for rollout in rollouts if rollout.token_ids.size <= context]
    long = [rollout for rollout in rollouts if rollout.token_ids.size > context]
    if long:
        seen = (
            f"{len(long)} of {len(rollouts)} runs are longer than the {context} tokens that the model reads, such as "
            f"{long[0].run_id} with {long[0].token_ids.size}"
        )
        if not kept:
            raise ConfigError(f"{seen}. Train a model with a longer context, or let the agent write shorter runs.")
        _log.warning("%s; they are left out.", seen)
    return kept


def _digest(rollouts: Sequence[Rollout]) -> str:
    """16 hex digits over the runs and their tokens, in their order, which decides the step that learns from each."""
    digest = hashlib.sha256()
    for rollout in rollouts:
        digest.update(rollout.run_id.bytes + rollout.token_ids.tobytes() + rollout.env_mask.tobytes())
    return digest.hexdigest()[:16]
