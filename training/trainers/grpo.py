"""GRPO on logged rollouts: a policy learns from the runs that it has made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.trainers.policy_model import fingerprint_adapter, load_policy
from deeprec.training.trainers.step_report import StepReport
from deeprec.training.trainers.trainer_config import GrpoConfig
from deeprec.trm_tool.errors import ConfigError

Source = Callable[[int], Sequence[ScoredRollout]]
"""An optimizer step, from 0 -> its scored rollouts, of any number."""


def train_grpo(
    source: Source,
    *,
    base: Path | str,
    start: Path | None = None,
    out: Path,
    config: GrpoConfig | None = None,
    version: Callable[[int], int | None] | None = None,
    data: str | None = None,
    on_step: Callable[[StepReport], Any] | None = None,
) -> Path:
    """Improve a policy by policy gradient on scored rollouts, with TRL's GRPO losses.

    Nothing is tokenised or sampled here: token ids, masks, behaviour log-probabilities and advantages are taken as they
    are. A token's ratio is its probability now over the one that was logged. Tokens that the policy did not write have
    no gradient at all.

    A training that was killed goes on from its last checkpoint in `out`, exactly as if it had not been: call it again
    with the same arguments. One that ended is not repeated; with more steps it goes on.

    Args:
        source: Called once as each step begins, and again with the same number when a training resumes in that step.
        base: The base model: a folder, or a Hugging Face id.
        start: An adapter to go on from.
        out: A folder for `adapter/` (or `model/`, where all weights are trained), `log.jsonl` and `checkpoints/`.
        config: How to train.
        version: Step -> version of the policy that takes it, as adapters are counted in "rec-v3", or None where it is
            not known. Rollouts of a policy further behind than `max_staleness` are left out by it. None knows of no
            version: then the distance of the log-probabilities alone is watched.
        data: What tells the rollouts of this training from those of another, so that a checkpoint is not taken for
            one of these; None leaves that to the caller.
        on_step: Told after each step, before the next one is asked for, and before the checkpoint: after a kill in
            between, the same step is told again.

    Returns:
        the folder of the trained adapter, or of the model.

    Raises:
        ConfigError: the model, the rollouts or the settings do not go together; no step had anything to learn from;
            the first step's rollouts are another policy's; or the disk is full (what was saved before is intact).
        TrainingError: the loss is no number.
    """
    config = config or GrpoConfig()
    policy = load_policy(
        base, lora=config.lora, start=start, device=config.device, dtype=config.dtype, seed=config.seed
    )
    from deeprec.training.trainers.grpo_trainer import make_grpo_trainer

    identity = {
        "method": "grpo",
        "base": policy.fingerprint,
        "start": None if start is None else fingerprint_adapter(start),
        "data": data,
        **config.identity(),
    }
    trainer = make_grpo_trainer(
        policy, config, out, source=source, version=version or (lambda step: None), identity=identity, on_step=on_step
    )
    trained = trainer.run()
    if not any(line.get("rollouts/trained") for line in trainer.history):
        raise ConfigError(
            f"Nothing was learned in {len(trainer.history)} steps: no step had a rollout with an advantage other than "
            "0. Collect groups of several runs for each person, and see `deeprec train check` for what their rewards "
            "differ in."
        )
    return trained
