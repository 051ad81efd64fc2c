"""DPO on a tiny model: its loss against plain PyTorch, what is learned, measured, refused, and that it resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from deeprec.training import DpoConfig, FirstAnswer, Rollout, RolloutPair, SftConfig, StepReport, train_dpo, train_sft
from deeprec.training.trainers.dpo_trainer import PairDpoTrainer, make_dpo_trainer
from deeprec.training.trainers.first_answers import tagged_answer
from deeprec.training.trainers.policy_model import load_policy
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import make_rollout
from tests.training.trainers.test_grpo import log_of


def config(**settings: Any) -> DpoConfig:
    values: dict[str, Any] = {
        "epochs": 2, "batch_size": 4, "learning_rate": 0.01, "device": "cpu", "micro_batch_tokens": 120
    }  # fmt: skip
    return DpoConfig(**values | settings)


@pytest.fixture(scope="module")
def pairs(tiny_model: LlamaForCausalLM) -> list[RolloutPair]:
    """Ten pairs of runs of two turns and different lengths; the chosen ones write tokens of a kind of their own."""
    made = []
    for number in range(10):
        sides = [
            make_rollout(tiny_model, seed=2 * number + side, turns=((5 + number, 4), (3 + side, 2 + number % 3)))
            for side in range(2)
        ]
        prompt = sides[0].token_ids[: 5 + number]
        for side, rollout in enumerate(sides):
            rollout.token_ids[: prompt.size] = prompt
            np.copyto(rollout.token_ids, np.arange(rollout.token_ids.size) % 5 + 20 * side, where=rollout.env_mask == 1)
        made.append(RolloutPair(chosen=sides[0], rejected=sides[1], chosen_reward=1.0, rejected_reward=0.0))
    return made


def trainer_for(base: Path, out: Path, pairs: list[RolloutPair], **settings: Any) -> PairDpoTrainer:
    chosen = config(validation=0.0, **settings)
    policy = load_policy(base, lora=chosen.lora, device="cpu")
    return make_dpo_trainer(policy, chosen, out, pairs=pairs, identity={}, answer=None, on_step=None)


def own_logprob(model: Any, rollout: Rollout) -> torch.Tensor:
    """The log-probability of all tokens that the policy wrote."""
    ids = torch.from_numpy(rollout.token_ids)
    own = torch.from_numpy(rollout.env_mask[1:] == 1)
    logprobs = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
    return logprobs[own].sum()


@pytest.mark.slow
def test_loss_and_gradient_are_those_of_dpo_over_the_policys_tokens(
    tiny_base: Path, pairs: list[RolloutPair], tmp_path: Path
) -> None:
    trainer = trainer_for(tiny_base, tmp_path, pairs[:4], lora=None, beta=0.7, sft_weight=0.3)
    reference = LlamaForCausalLM.from_pretrained(tiny_base)
    model = LlamaForCausalLM.from_pretrained(tiny_base)
    with torch.no_grad():  # away from the reference, where the loss is log 2 whatever beta is
        for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
            ours.add_(0.01 * torch.sin(torch.arange(ours.numel()).reshape(ours.shape)))
            theirs.copy_(ours)
    work = trainer.work(0)
    assert len(work.batches) > 1
    trainer.model.train()
    loss = 0.0
    for batch in work.batches:
        part = trainer.compute_loss(trainer.model, dict(batch))
        part.backward()
        loss += part.item()
    expected, tokens = torch.zeros(()), sum(int(pair.chosen.env_mask.sum()) for pair in pairs[:4])
    for pair in pairs[:4]:
        chosen, rejected = own_logprob(model, pair.chosen), own_logprob(model, pair.rejected)
        with torch.no_grad():
            before = own_logprob(reference, pair.chosen) - own_logprob(reference, pair.rejected)
        expected = expected - torch.log(torch.sigmoid(0.7 * (chosen - rejected - before))) / 4 - 0.3 * chosen / tokens
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.grad, dict(model.named_parameters())[name].grad, rtol=1e-4, atol=1e-6)
    means = trainer.after_backward(0, work)
    assert means["rewards/margins"] == pytest.approx(means["rewards/chosen"] - means["rewards/rejected"], abs=1e-5)


@pytest.mark.slow
def test_chosen_runs_become_likelier_than_rejected_ones_on_held_out_pairs(
    chat_base: Path, pairs: list[RolloutPair], tmp_path: Path
) -> None:
    reports: list[StepReport] = []
    asked: list[str] = []

    def is_valid(text: str) -> bool:
        asked.append(text)
        return len(asked) % 2 == 0

    adapter = train_dpo(
        pairs,
        base=chat_base,
        out=tmp_path / "out",
        config=config(validation=0.2),
        answer=FirstAnswer(is_valid=is_valid, stop=("a",), max_tokens=20),
        on_step=reports.append,
    )
    assert sorted(file.name for file in adapter.iterdir()) == [
        *("README.md", "adapter_config.json", "adapter_model.safetensors")
    ]
    lines = log_of(tmp_path / "out")
    steps = [line for line in lines if "loss" in line]
    measured = [line for line in lines if "eval_loss" in line]
    assert len(steps) == len(reports) == 4
    assert [line["step"] for line in measured] == [0, 2, 4]
    assert measured[0]["eval_rewards/margins"] == pytest.approx(0, abs=1e-5)  # the reference is the start
    assert measured[-1]["eval_rewards/margins"] > 0.01
    assert measured[-1]["eval_rewards/accuracies"] == 1
    assert measured[-1]["eval_loss"] < measured[0]["eval_loss"]
    assert [line["eval_valid_answers"] for line in measured] == [0.5] * 3
    assert len(asked) == 6
    assert all(text.endswith("a") and text.count("a") == 1 for text in asked if "a" in text)
    assert steps[0]["pairs"] == 4
    assert {"rewards/chosen", "rewards/rejected", "logps/chosen", "entropy", "num_tokens"} <= steps[0].keys()


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_a_resumed_training_has_exactly_the_losses_of_one_that_was_not_stopped(
    tiny_base: Path, pairs: list[RolloutPair], tmp_path: Path, lora: bool
) -> None:
    settings = config(validation=0.2) if lora else config(validation=0.2, lora=None)
    whole = train_dpo(pairs, base=tiny_base, out=tmp_path / "whole", config=settings)
    for stop in (1, 3):

        def kill(report: StepReport, stop: int = stop) -> None:
            if report.steps_done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_dpo(pairs, base=tiny_base, out=tmp_path / "cut", config=settings, on_step=kill)
    cut = train_dpo(pairs, base=tiny_base, out=tmp_path / "cut", config=settings)
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")
    weights = "adapter_model.safetensors" if lora else "model.safetensors"
    assert (cut / weights).read_bytes() == (whole / weights).read_bytes()
    assert not list((tmp_path / "cut").rglob("*.pt"))
    with pytest.raises(ConfigError, match="another training: beta was"):
        train_dpo(pairs, base=tiny_base, out=tmp_path / "cut", config=replace(settings, beta=0.2))


@pytest.mark.slow
def test_the_reference_of_an_adapter_is_the_adapter_and_not_its_base(
    tiny_base: Path, pairs: list[RolloutPair], tmp_path: Path
) -> None:
    warm = SftConfig(epochs=2, batch_size=4, learning_rate=0.05, device="cpu", validation=0.0)
    start = train_sft([pair.chosen for pair in pairs], base=tiny_base, out=tmp_path / "warm", config=warm)
    train_dpo(pairs, base=tiny_base, start=start, out=tmp_path / "out", config=config(epochs=1))
    first = log_of(tmp_path / "out")[0]
    assert first["step"] == 0
    assert first["eval_rewards/margins"] == pytest.approx(0, abs=1e-5)
    settings = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["r"] == json.loads((start / "adapter_config.json").read_text(encoding="utf-8"))["r"]


def test_pairs_that_cannot_be_compared_are_refused_by_name(
    tiny_base: Path, pairs: list[RolloutPair], tmp_path: Path
) -> None:
    one = pairs[0]
    other_prompt = replace(one.rejected, token_ids=one.rejected.token_ids + 1)
    copied = replace(one.chosen, run_id=UUID(int=999))
    foreign = replace(one.chosen, token_ids=np.where(one.chosen.env_mask == 1, 300, one.chosen.token_ids))
    for wrong, message in (
        ([], "There is no pair to train on"),
        ([replace(one, rejected=other_prompt)], "answer two prompts"),
        ([replace(one, rejected=copied)], "are the same text"),
        ([replace(one, chosen_reward=0.0)], "the chosen one has to earn more"),
        ([replace(one, chosen=foreign)], f"Run {foreign.run_id} has the token 300"),
        ([replace(one, rejected=replace(one.rejected, base_fingerprint="f" * 16))], "sampled by another base model"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_dpo(wrong, base=tiny_base, out=tmp_path / "out", config=config())
    assert not (tmp_path / "out").exists()
    for setting in ({"beta": 0.0}, {"sft_weight": -1.0}, {"sft_weight": float("nan")}, {"validation": 1.0}):
        with pytest.raises(ConfigError, match=f"DpoConfig.{next(iter(setting))} is"):
            config(**setting)
    with pytest.raises(ConfigError, match=r"FirstAnswer\.prompts is 0"):
        FirstAnswer(is_valid=bool, prompts=0)


@pytest.mark.parametrize(
    ("prompt", "text", "valid"),
    [
        ("assistant: ", "<think>a</think><|begin_of_preference|>drama<|end_of_preference|>", True),
        ("assistant: ", "drama", False),
        ("assistant: <|begin_of_preference|>", "drama<|end_of_preference|>", True),
        ("assistant: <|begin_of_preference|>", "<|end_of_preference|>", False),
    ],
)
def test_the_first_answer_is_read_as_the_protocol_reads_it(prompt: str, text: str, valid: bool) -> None:
    assert tagged_answer(prompt, max_tokens=5).is_valid(text) is valid
