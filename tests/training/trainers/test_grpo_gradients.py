"""What GRPO's gradient is made of: against a plain loss on full logits, and its log-probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from deeprec.training import GrpoConfig, ScoredRollout, StepReport, TokenCredit, train_grpo
from deeprec.training.trainers.completion_logprobs import policy_logprobs
from deeprec.training.trainers.grpo_trainer import LoggedGrpoTrainer, make_grpo_trainer
from deeprec.training.trainers.micro_batches import grpo_batch
from deeprec.training.trainers.policy_model import load_policy
from deeprec.training.trainers.trainer_config import LossType, RatioLevel
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import scored_step

Gradients = dict[str, torch.Tensor]


def trainer_for(base: Path, out: Path, scored: list[ScoredRollout], **settings: Any) -> LoggedGrpoTrainer:
    """All weights trained, so that every gradient shows."""
    values: dict[str, Any] = {"lora": None, "device": "cpu", "steps": 1, "max_first_gap": 0.3}
    config = GrpoConfig(**values | settings)
    trainer = make_grpo_trainer(
        load_policy(base, lora=config.lora, device="cpu"),
        config,
        out,
        source=lambda step: scored,
        version=lambda step: None,
        identity={},
        on_step=None,
    )
    trainer.current_gradient_accumulation_steps = 1  # transformers sets it as an epoch begins
    return trainer


def gradients(trainer: LoggedGrpoTrainer, batches: Any = None) -> tuple[float, Gradients]:
    """Loss and gradient of a step."""
    trainer.model.train()
    trainer.model.zero_grad()
    total = 0.0
    for batch in trainer.work(0).batches if batches is None else batches:
        loss = trainer.compute_loss(trainer.model, dict(batch))
        loss.backward()
        total += loss.item()
    return total, {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }


def assert_same(one: Gradients, other: Gradients, **tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **tolerance or {"rtol": 1e-4, "atol": 1e-7})


def drifted(scored: list[ScoredRollout], by: float = 0.15) -> list[ScoredRollout]:
    """As if an older policy had sampled them: ratios on both sides of the clip."""
    rng = np.random.default_rng(5)
    return [
        replace(
            each,
            rollout=replace(
                each.rollout,
                logprobs=(each.rollout.logprobs + rng.normal(0, by, each.rollout.logprobs.size)).astype("f4"),
            ),
        )
        for each in scored
    ]


def plain_loss(
    model: LlamaForCausalLM, scored: list[ScoredRollout], low: float = 0.2, high: float = 0.2
) -> torch.Tensor:
    """PPO's clipped loss, mean over all policy tokens of the step: rollout by rollout, with all logits."""
    total, tokens = torch.zeros(()), 0
    for each in scored:
        ids = torch.from_numpy(each.rollout.token_ids)
        own = torch.from_numpy(each.rollout.env_mask[1:] == 1)
        now = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0][own]
        ratio = (now - torch.from_numpy(each.rollout.logprobs[1:])[own]).exp()
        total -= torch.min(ratio * each.advantage, ratio.clamp(1 - low, 1 + high) * each.advantage).sum()
        tokens += int(own.sum())
    return total / tokens


@pytest.mark.slow
def test_the_gradient_is_that_of_the_clipped_loss_on_the_logged_logprobs(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = drifted(scored_step(tiny_model))
    loss, found = gradients(trainer_for(tiny_base, tmp_path, scored, micro_batch_tokens=40))
    model = LlamaForCausalLM.from_pretrained(tiny_base)
    expected = plain_loss(model, scored)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert_same(found, {name: parameter.grad for name, parameter in model.named_parameters()})
    unclipped = plain_loss(model, scored, low=10, high=10)
    assert unclipped.item() != pytest.approx(expected.item(), rel=1e-3)  # so the clip was at work


def credited(scored: list[ScoredRollout]) -> list[ScoredRollout]:
    """Every token has an advantage of its own, and the last turn is a list of items of two tokens each."""
    rng = np.random.default_rng(7)
    given = []
    for each in scored:
        mask = each.rollout.env_mask
        positions = np.zeros(mask.size, dtype=np.int64)
        last = np.flatnonzero(mask)[-4:]
        positions[last] = [1, 1, 2, 2]
        advantages = np.where(positions, positions - 1.4, rng.normal(size=mask.size))
        credit = TokenCredit(advantages=advantages.astype("f4"), positions=positions)
        given.append(replace(each, credit=credit))
    return given


def plain_token_loss(model: LlamaForCausalLM, scored: list[ScoredRollout], *, items: bool) -> torch.Tensor:
    """The clipped loss with an advantage a token, and with one ratio an item: the geometric mean over its tokens."""
    losses: list[torch.Tensor] = []
    for each in scored:
        assert each.credit is not None
        ids = torch.from_numpy(each.rollout.token_ids)
        now = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
        difference = now - torch.from_numpy(each.rollout.logprobs[1:])
        own = [at for at in range(ids.numel() - 1) if each.rollout.env_mask[at + 1]]
        for at in own:
            position = each.credit.positions[at + 1]
            alike = [other for other in own if each.credit.positions[other + 1] == position] if position else [at]
            ratio = torch.stack([difference[other] for other in (alike if items else [at])]).mean().exp()
            advantage = float(each.credit.advantages[at + 1])
            losses.append(-torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage))
    return torch.stack(losses).mean()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["token", "item"])
def test_the_gradient_of_token_advantages_is_that_of_the_plain_loss(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, level: RatioLevel
) -> None:
    scored = credited(drifted(scored_step(tiny_model)))
    settings: dict[str, Any] = {"credit": "token", "importance_sampling_level": level, "micro_batch_tokens": 40}
    trainer = trainer_for(tiny_base, tmp_path, scored, **settings)
    work = trainer.work(0)
    loss, found = gradients(trainer, work.batches)
    model = LlamaForCausalLM.from_pretrained(tiny_base)
    expected = plain_token_loss(model, scored, items=level == "item")
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert_same(found, {name: parameter.grad for name, parameter in model.named_parameters()})
    other = plain_token_loss(model, scored, items=level == "token")
    assert other.item() != pytest.approx(expected.item(), rel=1e-4)
    metrics = trainer.after_backward(0, work)
    assert 0 < metrics["clip_ratio/region_mean"] < 1
    assert metrics["logprob_gap"] == pytest.approx(0.12, abs=0.03)  # of tokens, whatever the ratios belong to


def test_equal_advantages_of_all_tokens_are_one_advantage_a_run(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = drifted(scored_step(tiny_model))
    same = []
    for each in scored:
        filled = np.full(each.rollout.token_ids.size, each.advantage, dtype="f4")
        same.append(replace(each, credit=TokenCredit(advantages=filled, positions=np.zeros(filled.size, dtype="i8"))))
    one = gradients(trainer_for(tiny_base, tmp_path, scored))
    other = gradients(trainer_for(tiny_base, tmp_path, same, credit="token"))
    assert one[0] == pytest.approx(other[0], rel=1e-6)
    assert_same(one[1], other[1])


def test_what_is_learned_from_is_what_the_credit_names(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = scored_step(tiny_model)
    with pytest.raises(ConfigError, match=r"credit is 'token', but the tokens of run .* have no advantages"):
        trainer_for(tiny_base, tmp_path, scored, credit="token").work(0)
    with pytest.raises(ConfigError, match=r"importance_sampling_level is 'item'.* Set credit to 'token'"):
        GrpoConfig(importance_sampling_level="item")
    length = scored[0].rollout.token_ids.size
    with pytest.raises(ConfigError, match=f"1 advantages and {length} positions for {length} tokens"):
        replace(scored[0], credit=TokenCredit(advantages=np.zeros(1, "f4"), positions=np.zeros(length, "i8")))
    only_prompt = np.where(scored[0].rollout.env_mask, 0, 1).astype("f4")
    flat = replace(scored[0], credit=TokenCredit(advantages=only_prompt, positions=np.zeros(length, "i8")))
    assert not trainer_for(tiny_base, tmp_path, [flat], credit="token").work(0).batches


def plain_held_loss(
    model: LlamaForCausalLM, reference: LlamaForCausalLM, scored: list[ScoredRollout], beta: float, delta: float | None
) -> tuple[torch.Tensor, float]:
    """The clipped loss with a bound of all ratios and a KL term, and the mean estimate of the divergence."""
    losses, divergences = [], []
    for each in scored:
        ids = torch.from_numpy(each.rollout.token_ids)
        own = torch.from_numpy(each.rollout.env_mask[1:] == 1)
        now, held = (
            one(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0][own]
            for one in (model, reference)
        )
        ratio = (now - torch.from_numpy(each.rollout.logprobs[1:])[own]).exp()
        bounded = ratio if delta is None else ratio.clamp(max=delta)
        divergence = (held.detach() - now).exp() - (held.detach() - now) - 1
        surrogate = torch.min(bounded * each.advantage, ratio.clamp(0.8, 1.2) * each.advantage)
        losses.append(beta * divergence * ratio - surrogate)
        divergences.append(divergence.detach())
    return torch.cat(losses).mean(), float(torch.cat(divergences).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("beta", "delta"), [(0.5, None), (0.0, 1.3), (0.5, 1.3)])
def test_the_gradient_of_the_kl_term_and_of_two_sided_clipping_is_that_of_the_plain_loss(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, beta: float, delta: float | None
) -> None:
    scored = drifted(scored_step(tiny_model), by=0.3)
    trainer = trainer_for(tiny_base, tmp_path, scored, beta=beta, delta=delta, micro_batch_tokens=40, max_first_gap=1.0)
    model, reference = (LlamaForCausalLM.from_pretrained(tiny_base) for _ in range(2))
    with torch.no_grad():  # as after some steps, so that the policy is away from its reference
        for number, (own, other) in enumerate(zip(trainer.model.parameters(), model.parameters(), strict=True)):
            moved = torch.randn(own.shape, generator=torch.Generator().manual_seed(number)) * 0.02
            own += moved
            other += moved
    work = trainer.work(0)
    loss, found = gradients(trainer, work.batches)
    expected, divergence = plain_held_loss(model, reference, scored, beta, delta)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    assert_same(found, {name: parameter.grad for name, parameter in model.named_parameters()}, rtol=1e-3, atol=1e-6)
    without, _ = plain_held_loss(model, reference, scored, 0.0, None)
    assert without.item() != pytest.approx(expected.item(), rel=1e-3)
    metrics = trainer.after_backward(0, work)
    assert metrics.get("kl", 0.0) == pytest.approx(divergence if beta else 0.0, rel=1e-3)
    assert divergence > 1e-3


@pytest.mark.slow
def test_an_adapter_is_held_to_the_one_that_it_starts_from(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = scored_step(tiny_model)

    def source(step: int) -> list[ScoredRollout]:
        return scored

    settings: dict[str, Any] = {"device": "cpu", "learning_rate": 0.01, "max_logprob_gap": 9.0, "max_first_gap": 9.0}
    start = train_grpo(source, base=tiny_base, out=tmp_path / "start", config=GrpoConfig(steps=2, **settings))
    reports: list[StepReport] = []
    held = GrpoConfig(steps=3, beta=0.1, **settings)
    out = tmp_path / "held"
    going_on: dict[str, Any] = {"base": tiny_base, "start": start, "version": lambda step: 2}  # the rollouts are of 0
    adapter = train_grpo(source, out=out, config=held, on_step=reports.append, **going_on)
    divergences = [report.metrics["kl"] for report in reports]
    assert divergences[0] == pytest.approx(0, abs=1e-9)  # not that from the base model
    assert divergences[-1] > 1e-5
    assert [path for path in adapter.rglob("*") if path.is_dir()] == []  # PEFT writes a second adapter to a folder
    [checkpoint] = (out / "checkpoints").iterdir()
    assert not any(".ref." in name for name in load_file(checkpoint / "weights.safetensors"))
    cut, again = tmp_path / "cut", list[StepReport]()
    train_grpo(source, out=cut, config=replace(held, steps=1), **going_on)
    train_grpo(source, out=cut, config=held, on_step=again.append, **going_on)
    assert [report.metrics["kl"] for report in again] == divergences[1:]  # the reference is still the start


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"beta": -0.1}, r"beta is -0\.1\. Set it to 0 or more"),
        ({"beta": float("inf")}, "beta is inf"),
        ({"delta": 1.1}, r"delta is 1\.1, but ratios up to 1\.2 are within the clip"),
        ({"delta": 4.0, "loss_type": "sapo"}, "loss_type 'sapo' has no such bound"),
    ],
)
def test_a_term_that_cannot_work_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        GrpoConfig(**settings)


def test_older_trainings_go_on_without_the_settings_that_came_later() -> None:
    assert not {"credit", "beta", "delta"} & GrpoConfig().identity().keys()
    assert GrpoConfig(beta=0.1, delta=4.0, credit="token").identity().items() >= {
        ("beta", 0.1),
        ("delta", 4.0),
        ("credit", "token"),
    }


def test_logprobs_and_entropies_are_those_of_the_full_logits(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    trainer = trainer_for(tiny_base, tmp_path, scored_step(tiny_model))
    [batch] = trainer.work(0).batches
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    present = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    mask = batch["tool_mask"].bool()
    logprobs, entropies = policy_logprobs(trainer.model, ids, mask)
    full = trainer.model(input_ids=ids, attention_mask=present).logits[:, :-1].log_softmax(-1)
    chosen = full.gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(logprobs[mask], chosen[mask], rtol=0, atol=1e-5)
    torch.testing.assert_close(entropies[mask], -(full.exp() * full).sum(-1)[mask], rtol=0, atol=1e-5)
    assert logprobs.requires_grad
    assert not entropies.requires_grad
    assert not logprobs[~mask].any()


def test_positions_of_prompt_tool_and_padding_have_exactly_no_gradient(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    trainer = trainer_for(tiny_base, tmp_path, scored_step(tiny_model))
    seen: list[torch.Tensor] = []

    def keep(_: Any, __: Any, outputs: Any) -> None:
        outputs.last_hidden_state.retain_grad()
        seen.append(outputs.last_hidden_state)

    trainer.model.base_model.register_forward_hook(keep)
    [batch] = trainer.work(0).batches
    gradients(trainer, [batch])
    [hidden] = seen  # (batch, length, width): what the logits of the next token are a linear map of
    own = torch.nn.functional.pad(batch["tool_mask"].bool(), (0, 1))
    assert (~own).sum() > own.sum()
    assert not hidden.grad[~own].any()
    assert hidden.grad[own].any(dim=-1).all()


def test_logged_numbers_of_masked_tokens_do_not_matter(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = scored_step(tiny_model)
    changed = [
        replace(each, rollout=replace(each.rollout, logprobs=np.nan_to_num(each.rollout.logprobs, nan=-7.0)))
        for each in scored
    ]
    one, other = (gradients(trainer_for(tiny_base, tmp_path, given)) for given in (scored, changed))
    assert one[0] == other[0]
    assert_same(one[1], other[1], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_cutting_a_step_into_micro_batches_changes_no_loss(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, loss_type: LossType
) -> None:
    scored = drifted(scored_step(tiny_model))
    settings: dict[str, Any] = {"loss_type": loss_type}
    if loss_type == "cispo":
        settings["clip_high"] = 5.0
    one_loss, one = gradients(trainer_for(tiny_base, tmp_path, scored, **settings))
    trainer = trainer_for(tiny_base, tmp_path, scored, micro_batch_tokens=20, **settings)
    assert len(trainer.work(0).batches) == 4
    loss, cut = gradients(trainer)
    assert loss == pytest.approx(one_loss, rel=1e-5)
    assert_same(one, cut)
    assert any(gradient.any() for gradient in one.values())


def test_sequence_ratios_are_one_number_a_rollout(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = drifted(scored_step(tiny_model))
    losses, largest = {}, {}
    for level in ("sequence", "token"):
        trainer = trainer_for(tiny_base, tmp_path, scored, loss_type="grpo", importance_sampling_level=level)
        work = trainer.work(0)
        losses[level], _ = gradients(trainer, work.batches)
        largest[level] = trainer.after_backward(0, work)["ratio/max"]
    assert losses["sequence"] != pytest.approx(losses["token"], rel=1e-3)
    assert largest["sequence"] < largest["token"]


@pytest.mark.slow
def test_a_rollout_without_advantage_counts_in_the_mean_and_is_not_run(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = scored_step(tiny_model)
    flat = [each for each in scored if each.advantage == 0]
    assert flat
    trainer = trainer_for(tiny_base, tmp_path, scored)
    assert sum(len(batch["advantages"]) for batch in trainer.work(0).batches) == len(scored) - len(flat)
    _, found = gradients(trainer)
    model = LlamaForCausalLM.from_pretrained(tiny_base)
    plain_loss(model, scored).backward()
    assert_same(found, {name: parameter.grad for name, parameter in model.named_parameters()})


def test_a_filler_with_nothing_but_masked_tokens_changes_nothing(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = [each for each in scored_step(tiny_model) if each.advantage]
    trainer = trainer_for(tiny_base, tmp_path, scored)
    blank = replace(scored[0].rollout, env_mask=np.zeros_like(scored[0].rollout.env_mask))
    tokens = sum(int(each.rollout.env_mask.sum()) for each in scored)
    step: dict[str, Any] = {"step_tokens": tokens, "weight": 1.0}
    one = gradients(trainer, [grpo_batch(scored, **step)])
    other = gradients(trainer, [grpo_batch([*scored, replace(scored[0], rollout=blank)], **step)])
    alone = gradients(trainer, [grpo_batch([replace(scored[0], rollout=blank)], **step)])
    assert one[0] == pytest.approx(other[0], rel=1e-6)
    assert_same(one[1], other[1], rtol=1e-5, atol=1e-8)
    assert not any(gradient.any() for gradient in alone[1].values())


def test_a_step_may_have_fewer_rollouts_than_another(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored = scored_step(tiny_model)
    for given in (scored, scored[:4], scored[:1]):
        trainer = trainer_for(tiny_base, tmp_path, given)
        taken = [row for batch in trainer.work(0).batches for row in batch["advantages"].tolist()]
        assert sorted(taken) == sorted(each.advantage for each in given if each.advantage)  # no copies


def test_only_the_adapter_is_trained_by_default(tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    trainer = trainer_for(tiny_base, tmp_path, scored_step(tiny_model), lora=GrpoConfig().lora)
    _, found = gradients(trainer)
    assert found
    assert all("lora_" in name for name in found)
    assert {name.split(".")[-4] for name in found} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
