"""TRL's SFT trainer on logged tokens and labels. It loads TRL, so `train_sft` imports it only when it starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import SFTConfig as TrlSftConfig, SFTTrainer

from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.trainers.completion_logprobs import only_policy_positions
from deeprec.training.trainers.launcher import process_count
from deeprec.training.trainers.micro_batches import padding_of, sft_labels
from deeprec.training.trainers.policy_model import PolicyModel
from deeprec.training.trainers.processes import own_metrics, own_share, sums_of_all
from deeprec.training.trainers.step_report import StepReport
from deeprec.training.trainers.step_trainer import Stepwise, Work, epoch_arguments, hold_out, on_one_device
from deeprec.training.trainers.trainer_config import SFT_LEARNING_RATE, SFT_LORA_LEARNING_RATE, SftConfig


def make_sft_trainer(
    policy: PolicyModel,
    config: SftConfig,
    out: Path,
    *,
    rollouts: Sequence[Rollout],
    identity: Mapping[str, Any],
    on_step: Callable[[StepReport], Any] | None,
) -> RolloutSftTrainer:
    """Build the trainer; the arguments are those of `train_sft` and the `identity` of `find_checkpoint`."""
    training, validation = hold_out(config, len(rollouts))
    default = SFT_LEARNING_RATE if config.lora is None else SFT_LORA_LEARNING_RATE
    args = TrlSftConfig(
        **epoch_arguments(
            config, policy, out, examples=training.size, validates=validation.size > 0, learning_rate=default
        ),
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = RolloutSftTrainer(
        model=policy.model,
        args=on_one_device(args),
        train_dataset=_dataset([rollouts[at] for at in training]),
        eval_dataset=_dataset([rollouts[at] for at in validation]) if validation.size else None,
        processing_class=policy.tokenizer,
    )
    trainer.set_up(policy, config, out, identity, on_step)
    return trainer


class RolloutSftTrainer(Stepwise, SFTTrainer):  # type: ignore[misc]
    """`trl.SFTTrainer` whose steps depend on their number alone."""

    _config: SftConfig

    def work(self, step: int) -> Work:
        """Build the micro-batches of a step; seed and epoch decide the order of the runs."""
        examples = len(self.train_dataset)
        steps = math.ceil(examples / self._config.batch_size)
        epoch, position = divmod(step, steps)
        order = np.random.default_rng([self._config.seed, epoch]).permutation(examples)
        return self._work(self.train_dataset.select(np.array_split(order, steps)[position]))

    def after_backward(self, step: int, work: Work) -> dict[str, float]:
        """Report entropy and accuracy as means over the policy's tokens of the step."""
        return {"rollouts": float(sum(len(batch["labels"]) for batch in work.batches)), **self._means("train", work)}

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the loss per policy token on the validation runs."""
        self.model.eval()
        work = self._work(self.eval_dataset)
        loss = 0.0
        with torch.no_grad(), self.compute_loss_context_manager(), own_metrics(self.accelerator):
            for batch in self.share(work):
                loss += float(self.compute_loss(self.model, self._prepare_inputs(dict(batch)), False, work.items))
        [loss] = sums_of_all([loss / process_count()])  # TRL multiplies by their number
        means = self._means("eval", work)
        self._metrics["eval"].clear()
        metrics = {"eval_loss": loss, **{f"eval_{name}": value for name, value in means.items()}}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.model.train()
        return metrics

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Compute TRL's loss at the policy's tokens alone."""
        next_labels = inputs["labels"][:, 1:]
        mask = next_labels != -100
        with only_policy_positions(model, torch.nn.functional.pad(mask, (0, 1))):
            inputs = {**inputs, "shift_labels": next_labels[mask][None]}
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _work(self, examples: Dataset) -> Work:
        rows = examples.to_list()
        lengths = [len(row["input_ids"]) for row in rows]
        batches = self.cut(lengths)
        collated = [self.data_collator([rows[at] for at in batch]) for batch in batches]
        return Work(
            batches=collated,
            items=sum(_learned(batch) for batch in collated),
            padding=padding_of(lengths, batches),
        )

    def _means(self, mode: str, work: Work) -> dict[str, float]:
        """Turn TRL's means of the micro-batches into means over tokens."""
        weights = [_learned(batch) * counts for batch, counts in own_share(work.batches)]
        return {
            name: self.mean_of_all(self._metrics[mode][name], weights) for name in ("entropy", "mean_token_accuracy")
        }


def _learned(batch: Mapping[str, torch.Tensor]) -> int:
    return int((batch["labels"][:, 1:] != -100).sum())


def _dataset(rollouts: Sequence[Rollout]) -> Dataset:
    """The rollouts as rows of token ids and labels (`sft_labels`)."""
    rows = [{"input_ids": rollout.token_ids.tolist(), "labels": sft_labels(rollout)} for rollout in rollouts]
    return Dataset.from_list(rows)
