"""TRL's DPO trainer on logged tokens. It loads TRL, so `train_dpo` imports it only when it starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import DPOConfig as TrlDpoConfig, DPOTrainer

from deeprec.training.pairs.pairing import prompt_of
from deeprec.training.pairs.rollout_pairs import RolloutPair
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.trainers.completion_logprobs import only_policy_positions, policy_logprobs
from deeprec.training.trainers.first_answers import FirstAnswer, valid_share
from deeprec.training.trainers.launcher import process_count
from deeprec.training.trainers.micro_batches import Padding, dpo_batch, micro_batches, pad_right
from deeprec.training.trainers.policy_model import PolicyModel
from deeprec.training.trainers.processes import own_metrics, own_share, sums_of_all
from deeprec.training.trainers.step_report import StepReport
from deeprec.training.trainers.step_trainer import Stepwise, Work, epoch_arguments, hold_out, on_one_device
from deeprec.training.trainers.trainer_config import DPO_LEARNING_RATE, DPO_LORA_LEARNING_RATE, DpoConfig

_OF_PAIRS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
)
"""Metrics that TRL averages over the pairs of a micro-batch; `entropy` is a mean over its tokens."""


def make_dpo_trainer(
    policy: PolicyModel,
    config: DpoConfig,
    out: Path,
    *,
    pairs: Sequence[RolloutPair],
    identity: Mapping[str, Any],
    answer: FirstAnswer | None,
    on_step: Callable[[StepReport], Any] | None,
) -> PairDpoTrainer:
    """Build the trainer; the arguments are those of `train_dpo` and the `identity` of `find_checkpoint`."""
    training, validation = hold_out(config, len(pairs))
    default = DPO_LEARNING_RATE if config.lora is None else DPO_LORA_LEARNING_RATE
    args = TrlDpoConfig(
        **epoch_arguments(
            config, policy, out, examples=training.size, validates=validation.size > 0, learning_rate=default
        ),
        beta=config.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, config.sft_weight],
        # TRL would load the reference of a whole model beside it; `feed` computes its log-probabilities beforehand.
        precompute_ref_log_probs=config.lora is None,
    )
    rows = Dataset.from_dict({"pair": [0]})  # `feed` sets the pairs
    trainer = PairDpoTrainer(
        model=policy.model,
        args=on_one_device(args),
        train_dataset=rows,
        eval_dataset=rows if validation.size else None,
        processing_class=policy.tokenizer,
    )
    if config.lora is not None:
        policy.model.delete_adapter("ref")  # TRL's copy of the adapter as a reference
    trainer.set_up(policy, config, out, identity, on_step)
    trainer.feed([pairs[at] for at in training], [pairs[at] for at in validation], answer)
    return trainer


class PairDpoTrainer(Stepwise, DPOTrainer):  # type: ignore[misc]
    """`trl.DPOTrainer` with its loss, on pairs and micro-batches that it does not make itself."""

    _config: DpoConfig

    def feed(
        self, training: Sequence[RolloutPair], validation: Sequence[RolloutPair], answer: FirstAnswer | None
    ) -> None:
        """Set the pairs, and compute the reference's log-probabilities of them. It has to be called before `run`.

        The model is the reference as long as nothing is trained and no checkpoint is loaded.
        """
        self._training, self._validation, self._answer = training, validation, answer
        self._reference = self._logprobs([side for pair in (*training, *validation) for side in _sides(pair)])
        self.precompute_ref_logps = True

    def begin(self) -> None:
        """Measure the held-out pairs before the first step."""
        if self._validation and not any("eval_loss" in line for line in self.history):
            self.evaluate()

    def work(self, step: int) -> Work:
        """Build the micro-batches of a step; seed and epoch decide the order of the pairs."""
        steps = math.ceil(len(self._training) / self._config.batch_size)
        epoch, position = divmod(step, steps)
        order = np.random.default_rng([self._config.seed, epoch]).permutation(len(self._training))
        return self._work([self._training[at] for at in np.array_split(order, steps)[position]])

    def after_backward(self, step: int, work: Work) -> dict[str, float]:
        """Report TRL's metrics as means over the pairs and tokens of the step."""
        return {"pairs": float(work.items), **self._means("train", work)}

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the loss and the rewards of the held-out pairs, and the share of valid answers to their prompts."""
        self.model.eval()
        work = self._work(self._validation)
        loss = 0.0
        with torch.no_grad(), self.compute_loss_context_manager(), own_metrics(self.accelerator):
            for batch in self.share(work):
                loss += float(self.compute_loss(self.model, self._prepare_inputs(dict(batch))))
        [loss] = sums_of_all([loss / process_count()])  # `_batch` multiplies by their number
        means = self._means("eval", work)
        self._metrics["eval"].clear()
        if self._answer is not None:
            prompts = [prompt_of(pair.chosen) for pair in self._validation]
            means["valid_answers"] = valid_share(
                self.model, self._policy.tokenizer, prompts, self._answer, seed=self._config.seed
            )
        metrics = {"eval_loss": loss, **{f"eval_{name}": value for name, value in means.items()}}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.model.train()
        return metrics

    def _work(self, pairs: Sequence[RolloutPair]) -> Work:
        longest = [2 * max(side.token_ids.size for side in _sides(pair)) for pair in pairs]  # a pair is two rows
        batches = self.cut(longest)
        learned = sum(int(pair.chosen.env_mask.sum()) for pair in pairs)
        return Work(
            batches=[self._batch([pairs[at] for at in batch], len(pairs), learned) for batch in batches],
            items=len(pairs),
            padding=Padding(
                tokens=sum(side.token_ids.size for pair in pairs for side in _sides(pair)),
                padded=sum(len(batch) * max(longest[at] for at in batch) for batch in batches),
            ),
        )

    def _batch(self, pairs: Sequence[RolloutPair], step_pairs: int, step_tokens: int) -> dict[str, torch.Tensor]:
        tokens = sum(int(pair.chosen.env_mask.sum()) for pair in pairs)
        return dpo_batch(
            [pair.chosen for pair in pairs],
            [pair.rejected for pair in pairs],
            self._reference,
            loss_weights=(
                process_count() * len(pairs) / step_pairs,
                process_count() * self._config.sft_weight * tokens / step_tokens,
            ),
        )

    def _logprobs(self, rollouts: Sequence[Rollout]) -> dict[Any, float]:
        """Run id -> log-probability of all tokens that the policy wrote, by the model as it is."""
        sums: dict[Any, float] = {}
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in micro_batches([each.token_ids.size for each in rollouts], self.micro_batch_tokens()):
                rows = [rollouts[at] for at in batch]
                ids = pad_right([row.token_ids for row in rows], 0, torch.long).to(self.args.device)
                mask = pad_right([row.env_mask for row in rows], 0, torch.long).to(self.args.device)[:, 1:].bool()
                logprobs, _ = policy_logprobs(self.model, ids, mask)
                sums |= zip((row.run_id for row in rows), logprobs.sum(-1).tolist(), strict=True)
        self.model.train()
        return sums

    def _means(self, mode: str, work: Work) -> dict[str, float]:
        """Turn TRL's means of the micro-batches into means over the pairs, and over the tokens."""
        seen = self._metrics[mode]
        own = own_share(work.batches)
        pairs = [batch["input_ids"].shape[0] * counts for batch, counts in own]
        tokens = [int(batch["completion_mask"].sum()) * counts for batch, counts in own]
        means = {name: self.mean_of_all(seen[name], pairs) for name in _OF_PAIRS}
        return means | {"entropy": self.mean_of_all(seen["entropy"], tokens)}

    # TRL calls the methods below (`overridden_methods`).

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """Return the dataset as it is: nothing is tokenised."""
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
        """Return the dataset as it is: `feed` computes the reference's log-probabilities."""
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """Compute TRL's loss of a micro-batch, weighted as a part of the step's, at the policy's tokens alone."""
        given = dict(inputs)
        self.loss_weights = given.pop("loss_weights").tolist()
        mask = given["completion_mask"][:, 1:].bool()

        def at_policy_positions(input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> SimpleNamespace:
            with only_policy_positions(model, torch.nn.functional.pad(mask, (0, 1))):
                picked = model(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    shift_labels=input_ids[:, 1:][mask][None],
                    fused_lm_head=True,
                )
            fields = {name: getattr(picked, name)[0] for name in ("log_probs", "entropy", "mean_logits", "is_top1")}
            return SimpleNamespace(
                **{name: value.new_zeros(mask.shape).masked_scatter(mask, value) for name, value in fields.items()}
            )

        return super()._compute_loss(at_policy_positions, given, return_outputs)


def _sides(pair: RolloutPair) -> tuple[Rollout, Rollout]:
    return pair.chosen, pair.rejected
