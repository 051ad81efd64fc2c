"""TRL's GRPO trainer on logged rollouts. It loads TRL, so `train_grpo` imports it only when it starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.rollout_filter import PolicyWeights, check_policy, filter_rollouts, loop_identity
from deeprec.training.trainers.adapter_lineage import LINEAGE_FILE, read_lineage
from deeprec.training.trainers.alarms import find_alarms
from deeprec.training.trainers.completion_logprobs import policy_logprobs
from deeprec.training.trainers.grpo import Source
from deeprec.training.trainers.item_ratios import item_log_ratios
from deeprec.training.trainers.launcher import process_count
from deeprec.training.trainers.micro_batches import grpo_batch, padding_of
from deeprec.training.trainers.policy_model import PolicyModel
from deeprec.training.trainers.processes import check_same
from deeprec.training.trainers.reference_policy import freeze_reference, reference_logprobs
from deeprec.training.trainers.step_metrics import TokenTally, rollout_metrics
from deeprec.training.trainers.step_report import StepReport
from deeprec.training.trainers.step_trainer import Stepwise, Work, on_one_device, training_arguments
from deeprec.training.trainers.trainer_config import FULL_WEIGHTS_LEARNING_RATE, GRPO_LORA_LEARNING_RATE, GrpoConfig
from deeprec.trm_tool.errors import ConfigError

_log = logging.getLogger(__name__)

_MEAN_OVER_ROLLOUTS = ("grpo", "dr_grpo", "luspo", "sapo")
"""Losses that TRL averages over the rollouts of a micro-batch. "bnpo" averages over its tokens; the others divide by
the tokens of the whole step, and multiply by the number of processes, over which gradients are averaged."""


def make_grpo_trainer(
    policy: PolicyModel,
    config: GrpoConfig,
    out: Path,
    *,
    source: Source,
    version: Callable[[int], int | None],
    start: Path | None = None,
    identity: Mapping[str, Any],
    on_step: Callable[[StepReport], Any] | None,
) -> LoggedGrpoTrainer:
    """Build the trainer; the arguments are those of `train_grpo` and the `identity` of `find_checkpoint`."""
    default = FULL_WEIGHTS_LEARNING_RATE if config.lora is None else GRPO_LORA_LEARNING_RATE
    args = GRPOConfig(
        **training_arguments(config, policy, out, steps=config.steps, learning_rate=default),
        lr_scheduler_type="constant",
        loss_type=config.loss_type,
        # Ratios of items reach TRL as ratios of tokens (`LoggedGrpoTrainer`).
        importance_sampling_level="sequence" if config.importance_sampling_level == "sequence" else "token",
        epsilon=config.clip_low,
        epsilon_high=config.clip_high,
        delta=config.delta,
        beta=config.beta,
        scale_rewards="none",
        num_iterations=1,
        router_aux_loss_coef=0.0,
        # TRL requires batches of whole groups, although `Stepwise` cuts the steps.
        per_device_train_batch_size=2,
        num_generations=2,
    )
    trainer = LoggedGrpoTrainer(
        model=policy.model,
        reward_funcs=_no_reward,
        args=on_one_device(args),
        train_dataset=Dataset.from_dict({"prompt": [""]}),
        processing_class=policy.tokenizer,
    )
    freeze_reference(policy.model)
    trainer.set_up(policy, config, out, identity, on_step)
    adapter = None if start is None else fingerprint_adapter(start)
    name = None if start is None or not (start / LINEAGE_FILE).is_file() else read_lineage(start).name
    weights = PolicyWeights(base=policy.fingerprint, adapter=adapter, version=None, identity=loop_identity(name))
    trainer.feed(source, version, weights)
    return trainer


class LoggedGrpoTrainer(Stepwise, GRPOTrainer):  # type: ignore[misc]
    """`trl.GRPOTrainer` with its losses, on rollouts, advantages and micro-batches that it does not make itself."""

    _config: GrpoConfig

    def feed(self, source: Source, version: Callable[[int], int | None], weights: PolicyWeights) -> None:
        """Set the source of rollouts and what training starts from. It has to be called before `run`."""
        self._source, self._version, self._weights = source, version, weights
        self._tally = TokenTally()

    def work(self, step: int) -> Work:
        """Build the micro-batches of a step; rollouts with advantage 0 only count in its means, or are held to the
        reference."""
        given = self._source(step)
        current = replace(self._weights, version=self._version(step))
        check_policy((each.rollout for each in given), current, has_moved=step > 0)
        filtered = filter_rollouts(
            given,
            vocabulary=self._policy.vocabulary,
            context=self._policy.context,
            version=self._version(step),
            max_staleness=self._config.max_staleness,
            identity=current.identity,
        )
        learned = [each for each in filtered.rollouts if self._is_learned(each)]
        self._filtered, self._learned, self._tally = filtered, learned, TokenTally()
        self._report_missing(step, len(given))
        taken = filtered.rollouts if self._config.beta else learned
        check_same(f"The rollouts of step {step + 1}", _digest(filtered.rollouts))
        lengths = [each.rollout.token_ids.size for each in taken]
        batches = self.cut(lengths)
        items = _policy_tokens(filtered.rollouts)
        return Work(
            batches=[self._batch([taken[at] for at in batch], items) for batch in batches],
            items=items,
            padding=padding_of(lengths, batches),
        )

    def after_backward(self, step: int, work: Work) -> dict[str, float]:
        """Report the step's metrics, and drop the gradient of a step whose rollouts another policy sampled."""
        self._tally.add_processes()
        metrics = rollout_metrics(self._filtered, len(self._learned)) | self._tally.metrics()
        known = {alarm.name for alarm in self._alarms}
        self._alarms = tuple(find_alarms([*self.history, metrics]))
        for alarm in self._alarms:
            if alarm.name not in known:
                _log.warning("Step %d: %s", step + 1, alarm.message)
        gap, is_first = self._tally.mean_gap, not self._has_learned()
        name = "max_first_gap" if is_first else "max_logprob_gap"
        if gap > (bound := getattr(self._config, name)):
            seen = (
                f"The logged log-probabilities of step {step + 1} are {gap:.2f} nats per token from the policy's own; "
                f"{name} is {bound}."
            )
            if is_first:
                raise ConfigError(
                    f"{seen} Another policy sampled these runs, or they were sampled at another temperature than 1. "
                    "Start from the adapter that sampled them, or collect runs with this one."
                )
            self.stop(f"{seen} The policy has moved away from these runs: collect new ones with it.")
        return metrics | {"alarms": float(len(self._alarms))}

    def _is_learned(self, each: ScoredRollout) -> bool:
        if self._config.credit == "run":
            return each.advantage != 0
        if each.credit is None:
            raise ConfigError(
                f"GrpoConfig.credit is 'token', but the tokens of run {each.rollout.run_id} have no advantages of "
                "their own. Give the rollouts credit (`credit_turns`), or set credit to 'run'."
            )
        return bool(each.policy_advantages.any())

    def _has_learned(self) -> bool:
        """Whether an earlier step had a gradient, also before a resumption."""
        return any(line.get("rollouts/trained") for line in self.history)

    def _report_missing(self, step: int, given: int) -> None:
        """Warn about rollouts that were left out; raise ConfigError where nothing was ever learned."""
        if self._filtered.refused:
            _log.warning("Step %d leaves out %s.", step + 1, self._filtered)
        if given and not self._filtered.rollouts and not self._has_learned():
            raise ConfigError(
                f"None of the {given} rollouts of step {step + 1} can be learned from: {self._filtered}. Collect runs "
                "with the policy that is trained, or start from the adapter that sampled these."
            )
        if not self._learned:
            _log.warning(
                "Step %d has %d rollouts, none of which has an advantage other than 0: it changes nothing.",
                step + 1,
                len(self._filtered.rollouts),
            )

    def _batch(self, scored: Sequence[ScoredRollout], items: int) -> dict[str, torch.Tensor]:
        weight = 1.0
        if self._config.loss_type in _MEAN_OVER_ROLLOUTS:
            weight = process_count() * len(scored) / len(self._filtered.rollouts)
        elif self._config.loss_type == "bnpo":
            weight = process_count() * _policy_tokens(scored) / items
        return grpo_batch(scored, step_tokens=items, weight=weight, credit=self._config.credit)

    # TRL calls the methods below (`overridden_methods`).

    def _prepare_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Move a micro-batch to the device."""
        return {name: tensor.to(self.args.device) for name, tensor in inputs.items()}

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute TRL's loss of a micro-batch, weighted as a part of the step's, and count its tokens."""
        self._mask = inputs["tool_mask"].bool()  # (batch, length - 1)
        self._inputs, old = inputs, inputs["old_per_token_logps"]
        if self._config.beta:
            token_ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
            with torch.no_grad(), self.accelerator.autocast():
                reference = reference_logprobs(model, self.ref_model, token_ids, self._mask)
            inputs["ref_per_token_logps"] = reference
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        logprobs, entropies = self._seen
        if self._counts:
            self._tally.add(
                logprobs,
                old,
                entropies,
                self._mask,
                inputs["advantages"],
                self._config,
                positions=inputs.get("list_positions"),
                reference=inputs.get("ref_per_token_logps"),
            )
        return loss * inputs["weight"]

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Compute log-probabilities and entropies at the policy's tokens; elsewhere they are 0, and TRL masks them."""
        with self.accelerator.autocast():
            logprobs, entropies = policy_logprobs(model, input_ids, self._mask)
        self._seen = logprobs.detach(), entropies
        if self._config.importance_sampling_level == "item":
            # TRL subtracts these from the log-probabilities next, and has the items' log-ratios with their gradients.
            ratios = logprobs - self._inputs["old_per_token_logps"]
            items = item_log_ratios(ratios, self._mask, self._inputs["list_positions"])
            self._inputs["old_per_token_logps"] = logprobs - items
        return logprobs, entropies, None


def _policy_tokens(scored: Sequence[ScoredRollout]) -> int:
    return sum(int(each.rollout.env_mask.sum()) for each in scored)


def _digest(scored: Sequence[ScoredRollout]) -> bytes:
    """The runs of a step with their advantages, in their order, to be compared."""
    return b"".join(each.rollout.run_id.bytes + np.float64(each.advantage).tobytes() for each in scored)


def _no_reward(**_: Any) -> list[float]:
    """The reward function that TRL requires and never calls, because rollouts come with their advantages."""
    raise NotImplementedError
