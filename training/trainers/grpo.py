"""GRPO on logged rollouts: a policy learns from its own stored runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.trainers.launcher import check_launcher
from deeprec.training.trainers.lock_files import alone_in_folder
from deeprec.training.trainers.policy_model import load_policy
from deeprec.training.trainers.step_report import StepReport
from deeprec.training.trainers.trainer_config import GrpoConfig
from deeprec.trm_tool.errors import ConfigError

Source = Callable[[int], Sequence[ScoredRollout]]
"""An optimizer step, counted from 0 -> its scored rollouts, of any number."""


@alone_in_folder
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

    Nothing is tokenised or sampled here: token ids, masks, behaviour log-probabilities and advantages are used as they
    are. A token's importance ratio is its current probability over the logged one. Tokens that the policy did not write
    have no gradient at all.

    Call it again with the same arguments after a kill: training resumes from its last checkpoint in `out`, with the
    same results as without the kill. A training that has ended is not repeated; with more steps it goes on.

    In several processes (`accelerate launch`, `torchrun`) each calls this with the same arguments, `source` gives each
    the same rollouts, and the step is as in one.

    Args:
        source: Called once as each step begins, and again with the same number when a training resumes in that step.
        base: The base model: a folder, or a Hugging Face id.
        start: An adapter to go on from.
        out: A folder for `adapter/` (or `model/`, where all weights are trained), `log.jsonl` and `checkpoints/`.
        config: The settings.
        version: Step -> version of the policy before that step, as adapters are counted in "rec-v3", or None where it
            is not known. Rollouts whose policy is more than `max_staleness` versions behind are left out, and a later
            version is refused. Without it, the first step's runs have to be of `start`, and then only the gap of the
            log-probabilities is watched.
        data: An identity of the rollouts, such as a digest, so that a checkpoint of a training on other rollouts is
            refused; None leaves that to the caller.
        on_step: Called after each step, before its checkpoint and before `source` is called for the next one. After a
            kill in between it is called for the same step again. Of several processes each calls it.

    Returns:
        the folder of the trained adapter, or of the model.

    Raises:
        ConfigError: the model, the rollouts and the settings do not fit each other; no step had a gradient; another
            policy sampled the rollouts, by their names, the fingerprints of their weights or their log-probabilities;
            another process trains in `out`; the disk is full (what was saved before is intact); or the launcher asks
            for DeepSpeed.
        TrainingError: the loss is NaN or infinite.
    """
    check_launcher()
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
        policy,
        config,
        out,
        source=source,
        version=version or (lambda step: None),
        start=start,
        identity=identity,
        on_step=on_step,
    )
    trained = trainer.run()
    if not any(line.get("rollouts/trained") for line in trainer.history):
        raise ConfigError(
            f"Nothing was learned in {len(trainer.history)} steps: no step had a rollout with an advantage other than "
            "0. Collect groups of several runs for each person, and see with `deeprec train check` how their rewards "
            "differ."
        )
    return trained
