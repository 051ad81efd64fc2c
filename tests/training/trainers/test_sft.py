"""The warm start on a tiny model: what is learned, and that it resumes."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from deeprec.training import Rollout, SftConfig, StepReport, train_sft
from deeprec.training.trainers.policy_model import load_policy
from deeprec.training.trainers.sft_trainer import RolloutSftTrainer, make_sft_trainer
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import make_rollout
from tests.training.trainers.test_grpo import log_of


def config(**settings: Any) -> SftConfig:
    values: dict[str, Any] = {
        "epochs": 3, "batch_size": 4, "learning_rate": 0.01, "device": "cpu", "micro_batch_tokens": 60
    }  # fmt: skip
    return SftConfig(**values | settings)


@pytest.fixture(scope="module")
def rollouts(tiny_model: LlamaForCausalLM) -> list[Rollout]:
    """Ten runs of different lengths whose answers begin alike, so that there is something to learn."""
    made = [make_rollout(tiny_model, seed=seed, turns=((5 + seed, 4), (3, 2 + seed))) for seed in range(10)]
    for rollout in made:
        np.copyto(rollout.token_ids, np.arange(rollout.token_ids.size) % 7, where=rollout.env_mask == 1)
    return [replace(rollout, guided=True) for rollout in made]


def trainer_for(base: Path, out: Path, rollouts: list[Rollout], **settings: Any) -> RolloutSftTrainer:
    chosen = config(validation=0.0, lora=None, **settings)
    policy = load_policy(base, lora=None, device="cpu")
    return make_sft_trainer(policy, chosen, out, rollouts=rollouts, identity={}, on_step=None)


@pytest.mark.slow
def test_the_gradient_is_the_mean_over_the_policys_tokens_of_the_step(
    tiny_base: Path, rollouts: list[Rollout], tmp_path: Path
) -> None:
    trainer = trainer_for(tiny_base, tmp_path, rollouts[:4])
    work = trainer.work(0)
    assert len(work.batches) > 1
    assert work.items == sum(int(rollout.env_mask.sum()) for rollout in rollouts[:4])
    trainer.model.train()
    loss = 0.0
    for batch in work.batches:
        part = trainer.compute_loss(trainer.model, dict(batch), False, torch.tensor(work.items))
        part.backward()
        loss += part.item()
    model = LlamaForCausalLM.from_pretrained(tiny_base)
    expected = torch.zeros(())
    for rollout in rollouts[:4]:
        ids = torch.from_numpy(rollout.token_ids)
        own = torch.from_numpy(rollout.env_mask[1:] == 1)
        expected -= (
            model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0][own].sum() / work.items
        )
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.grad, dict(model.named_parameters())[name].grad, rtol=1e-4, atol=1e-7)


def test_labels_elsewhere_are_left_out_and_have_exactly_no_gradient(
    tiny_base: Path, rollouts: list[Rollout], tmp_path: Path
) -> None:
    trainer = trainer_for(tiny_base, tmp_path, rollouts[:3], micro_batch_tokens=10_000)
    [batch] = trainer.work(0).batches
    by_ids = {tuple(rollout.token_ids.tolist()): rollout for rollout in rollouts}
    for ids, labels, present in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        rollout = by_ids[tuple(ids[present == 1].tolist())]
        assert (labels[present == 1] != -100).tolist() == (rollout.env_mask == 1).tolist()
        assert (labels[present == 0] == -100).all()
    seen: list[torch.Tensor] = []

    def keep(_: Any, __: Any, outputs: Any) -> None:
        outputs.last_hidden_state.retain_grad()
        seen.append(outputs.last_hidden_state)

    trainer.model.base_model.register_forward_hook(keep)
    trainer.compute_loss(trainer.model, dict(batch), False, torch.tensor(1)).backward()
    own = torch.nn.functional.pad(batch["labels"][:, 1:] != -100, (0, 1))
    assert not seen[0].grad[~own].any()
    assert seen[0].grad[own].any(dim=-1).all()


def test_each_epoch_sees_every_run_once_in_an_order_of_its_own(
    tiny_base: Path, rollouts: list[Rollout], tmp_path: Path
) -> None:
    trainer = trainer_for(tiny_base, tmp_path, rollouts)

    def ids_of(step: int) -> list[tuple[int, ...]]:
        batches = trainer.work(step).batches
        return [
            tuple(ids[present == 1].tolist())
            for batch in batches
            for ids, present in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]

    epochs = [[ids for step in range(3 * epoch, 3 * epoch + 3) for ids in ids_of(step)] for epoch in range(2)]
    everything = sorted(tuple(rollout.token_ids.tolist()) for rollout in rollouts)
    assert sorted(epochs[0]) == sorted(epochs[1]) == everything
    assert {frozenset(ids_of(step)) for step in range(3)} != {frozenset(ids_of(step)) for step in range(3, 6)}
    assert [len(ids_of(step)) for step in range(3)] == [4, 3, 3]  # and not 4, 4, 2


@pytest.mark.slow
def test_a_warm_start_learns_and_validates(tiny_base: Path, rollouts: list[Rollout], tmp_path: Path) -> None:
    reports: list[StepReport] = []
    adapter = train_sft(rollouts, base=tiny_base, out=tmp_path / "out", config=config(), on_step=reports.append)
    assert (adapter / "adapter_model.safetensors").is_file()
    lines = log_of(tmp_path / "out")
    steps = [line for line in lines if "loss" in line]
    validations = [line for line in lines if "eval_loss" in line]
    assert len(steps) == len(reports) == 9  # three epochs of ceil(9 / 4) steps: one run is held out
    assert [line["step"] for line in validations] == [3, 6, 9]
    assert validations[-1]["eval_loss"] < validations[0]["eval_loss"]
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.1
    assert [line["learning_rate"] for line in steps] == sorted((line["learning_rate"] for line in steps), reverse=True)
    assert {"entropy", "mean_token_accuracy", "padding_waste", "num_tokens"} <= steps[0].keys()
    assert sum(line["rollouts"] for line in steps) == 27


@pytest.mark.slow
def test_a_resumed_warm_start_has_exactly_the_losses_of_one_that_was_not_stopped(
    tiny_base: Path, rollouts: list[Rollout], tmp_path: Path
) -> None:
    whole = train_sft(rollouts, base=tiny_base, out=tmp_path / "whole", config=config())

    def kill(report: StepReport) -> None:
        if report.steps_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sft(rollouts, base=tiny_base, out=tmp_path / "cut", config=config(), on_step=kill)
    cut = train_sft(rollouts, base=tiny_base, out=tmp_path / "cut", config=config())
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")
    assert (cut / "adapter_model.safetensors").read_bytes() == (whole / "adapter_model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="another training: runs was '"):
        train_sft(rollouts[:9], base=tiny_base, out=tmp_path / "cut", config=config())


@pytest.mark.slow
def test_runs_that_do_not_fit_are_named(
    tiny_base: Path, rollouts: list[Rollout], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = tmp_path / "short"
    short.mkdir()
    for file in tiny_base.iterdir():
        (short / file.name).write_bytes(file.read_bytes())
    settings = json.loads((short / "config.json").read_text(encoding="utf-8"))
    (short / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 28}), encoding="utf-8")
    longest = [rollout for rollout in rollouts if rollout.token_ids.size > 28]
    with caplog.at_level(logging.WARNING):
        train_sft(rollouts, base=short, out=tmp_path / "one", config=config(epochs=1))
    assert f"{len(longest)} of 10 runs are longer than the 28 tokens" in caplog.text
    assert str(longest[0].run_id) in caplog.text
    with pytest.raises(ConfigError, match=f"{len(longest)} of {len(longest)} runs are longer than the 28 tokens"):
        train_sft(longest, base=short, out=tmp_path / "two", config=config())
    with pytest.raises(ConfigError, match="There is no run to train on"):
        train_sft([], base=tiny_base, out=tmp_path / "two", config=config())
    wrong = replace(rollouts[3], token_ids=rollouts[3].token_ids + 250)
    with pytest.raises(ConfigError, match=f"Run {wrong.run_id} has the token"):
        train_sft([*rollouts, wrong], base=tiny_base, out=tmp_path / "two", config=config())
    foreign = replace(rollouts[3], base_fingerprint="f" * 16)
    with pytest.raises(ConfigError, match=f"Run {foreign.run_id} was sampled by another base model"):
        train_sft([*rollouts, foreign], base=tiny_base, out=tmp_path / "two", config=config())


@pytest.mark.slow
def test_bfloat16_learns_the_same_with_an_adapter_in_float32(
    tiny_base: Path, rollouts: list[Rollout], tmp_path: Path
) -> None:
    losses = {}
    for dtype in ("float32", "bfloat16"):
        chosen = config(dtype=dtype, validation=0.0, epochs=1)
        adapter = train_sft(rollouts, base=tiny_base, out=tmp_path / dtype, config=chosen)
        assert {tensor.dtype for tensor in load_file(adapter / "adapter_model.safetensors").values()} == {torch.float32}
        losses[dtype] = [line["loss"] for line in log_of(tmp_path / dtype) if "loss" in line]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]
    with pytest.raises(ConfigError, match="dtype"):
        config(dtype="float16")
