"""DPO on pairs of logged runs: a policy learns which of two answers to one prompt earned more."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.training.pairs.rollout_pairs import RolloutPair, check_pairs
from deeprec.training.rollouts.rollout_filter import check_base, check_tokens
from deeprec.training.trainers.first_answers import FirstAnswer
from deeprec.training.trainers.launcher import check_launcher
from deeprec.training.trainers.lock_files import alone_in_folder
from deeprec.training.trainers.policy_model import load_policy
from deeprec.training.trainers.step_report import StepReport
from deeprec.training.trainers.trainer_config import DpoConfig
from deeprec.trm_tool.errors import ConfigError

_log = logging.getLogger(__name__)


@alone_in_folder
def train_dpo(
    pairs: Sequence[RolloutPair],
    *,
    base: Path | str,
    start: Path | None = None,
    out: Path,
    config: DpoConfig | None = None,
    answer: FirstAnswer | None = None,
    on_step: Callable[[StepReport], Any] | None = None,
) -> Path:
    """Train a policy to prefer the chosen run of each pair to the rejected one, with TRL's DPO loss.

    Nothing is tokenised: token ids are used as they were logged. The loss is over the tokens that the policy wrote, in
    all turns of a run; tool output is context only. The reference is the policy as the training begins, with `start`.
    Some pairs are held out: their loss, reward margins and accuracy, and with `answer` the share of valid answers to
    their prompts, are measured before the first step and after each epoch.

    A training that was killed resumes like one of `train_grpo`, from the same kind of folder.

    Args:
        pairs: The pairs (`read_rollout_pairs`); their runs may be guided.
        base: The base model: a folder, or a Hugging Face id.
        start: An adapter to go on from, best the one that wrote the runs.
        out: A folder for `adapter/` (or `model/`, where all weights are trained), `log.jsonl` and `checkpoints/`.
        config: The settings.
        answer: How an answer ends and when it is valid. None measures no answers.
        on_step: Called after each optimizer step.

    Returns:
        the folder of the trained adapter, or of the model.

    Raises:
        ConfigError: there are no pairs, one does not compare two answers to one prompt, one has tokens that the model
            does not have or was sampled by another base model, all are too long for it, another process trains in
            `out`, or the disk is full.
        TrainingError: the loss is NaN or infinite.
    """
    check_launcher(whole_model=True)
    config = config or DpoConfig()
    check_pairs(pairs)
    policy = load_policy(
        base, lora=config.lora, start=start, device=config.device, dtype=config.dtype, seed=config.seed
    )
    for pair in pairs:
        for rollout in (pair.chosen, pair.rejected):
            check_tokens(rollout, policy.vocabulary)
        check_base((pair.chosen, pair.rejected), policy.fingerprint)
    pairs = _short_enough(pairs, policy.context)
    from deeprec.training.trainers.dpo_trainer import make_dpo_trainer

    identity = {
        "method": "dpo",
        "base": policy.fingerprint,
        "start": None if start is None else fingerprint_adapter(start),
        "pairs": _digest(pairs),
        **config.identity(),
    }
    return make_dpo_trainer(policy, config, out, pairs=pairs, identity=identity, answer=answer, on_step=on_step).run()


def _short_enough(pairs: Sequence[RolloutPair], context: int) -> list[RolloutPair]:
    kept = [pair for pair in pairs if max(pair.chosen.token_ids.size, pair.rejected.token_ids.size) <= context]
    if len(kept) < len(pairs):
        seen = f"{len(pairs) - len(kept)} of {len(pairs)} pairs have a run that is longer than the {context} tokens"
        if not kept:
            raise ConfigError(
                f"{seen} that the model reads. Train a model with a longer context, or let the agent write shorter "
                "runs."
            )
        _log.warning("%s that the model reads; they are left out.", seen)
    return kept


def _digest(pairs: Sequence[RolloutPair]) -> str:
    """16 hex digits over the pairs and their tokens, in their order, which decides the step that learns from each."""
    digest = hashlib.sha256()
    for pair in pairs:
        for rollout in (pair.chosen, pair.rejected):
            digest.update(rollout.run_id.bytes + rollout.token_ids.tobytes() + rollout.env_mask.tobytes())
    return digest.hexdigest()[:16]
