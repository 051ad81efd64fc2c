"""Exported rollouts, read as verl and OpenRLHF read a finished rollout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict
from transformers import AutoTokenizer, LlamaForCausalLM

from deeprec.training import RewardedRollout, export_rollouts
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import make_rollout


class AgentLoopOutput(BaseModel):
    """The fields and types that verl's class of this name declares; nothing beside them may come."""

    model_config = ConfigDict(extra="forbid")
    prompt_ids: list[int]
    response_ids: list[int]
    response_mask: list[int]
    response_logprobs: list[float] | None = None
    reward_score: float | None = None
    num_turns: int = 0
    metrics: dict[str, float]
    extra_fields: dict[str, Any] = {}


@pytest.fixture
def rewarded(tiny_model: LlamaForCausalLM) -> list[RewardedRollout]:
    made = [make_rollout(tiny_model, seed=seed, turns=((9, 5), (6, 4)), group="g") for seed in range(3)]
    rewards = (1.5, -1.0, float("nan"))
    return [RewardedRollout(each, {"hit": reward}, reward) for each, reward in zip(made, rewards, strict=True)]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_verl_gets_the_batch_that_was_logged(rewarded: list[RewardedRollout], tmp_path: Path) -> None:
    report = export_rollouts(rewarded, tmp_path / "out.jsonl", "verl")
    assert (report.rollouts, report.without_reward) == (2, 1)
    outputs = [AgentLoopOutput(**row) for row in lines_of(tmp_path / "out.jsonl")]
    # verl pads prompts on the left and responses on the right, and puts the reward on the last token of a response.
    prompt_length, response_length = 12, 20
    for each, output in zip(rewarded, outputs, strict=False):
        assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs or ())
        prompt = [0] * (prompt_length - len(output.prompt_ids)) + output.prompt_ids
        right = response_length - len(output.response_ids)
        ids = torch.tensor(prompt + output.response_ids + [0] * right)
        attention = torch.zeros_like(ids)
        attention[prompt_length - len(output.prompt_ids) : ids.numel() - right] = 1
        mask = torch.tensor(output.response_mask + [0] * right) * attention[prompt_length:]
        assert torch.equal(ids[attention == 1], torch.from_numpy(each.rollout.token_ids))
        own = torch.tensor((output.response_logprobs or []) + [0.0] * right)[mask == 1]
        np.testing.assert_array_equal(own.numpy(), each.rollout.logprobs[each.rollout.env_mask == 1])
        assert int(mask.sum()) == 9
        assert (output.reward_score, output.num_turns) == (each.reward, 4)
        assert output.extra_fields["uid"] == "g"


def test_openrlhf_gets_the_whole_sequence_and_the_ranges_of_the_policy(
    rewarded: list[RewardedRollout], chat_base: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat_base)
    export_rollouts(rewarded, tmp_path / "out.jsonl", "openrlhf", tokenizer=tokenizer)
    for each, row in zip(rewarded, lines_of(tmp_path / "out.jsonl"), strict=False):
        assert row.keys() == {
            *("prompt", "label", "reward", "scores", "observation_tokens", "action_ranges"),
            *("rollout_log_probs", "extra_logs"),
        }
        sequence = torch.tensor(row["observation_tokens"])
        action_mask = torch.zeros_like(sequence)  # as its experience maker builds it of the ranges
        for start, end in row["action_ranges"]:
            action_mask[start:end] = 1
        assert action_mask.tolist() == each.rollout.env_mask.tolist()
        assert sequence.tolist() == each.rollout.token_ids.tolist()
        assert len(row["rollout_log_probs"]) == sequence.numel()
        assert row["reward"] == each.reward
        assert row["prompt"] == tokenizer.decode(each.rollout.token_ids[:9].tolist())


def test_what_cannot_be_written_is_said_and_the_file_before_stays(
    rewarded: list[RewardedRollout], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("kept", encoding="utf-8")
    for layout, rollouts, message in (
        ("ray", rewarded, "cannot be written for 'ray'. Choose verl or openrlhf"),
        ("openrlhf", rewarded, "takes prompts as text"),
        ("verl", rewarded[2:], r"No rollout with a reward matches \(1 have none\)"),
        ("verl", [], "train score"),
    ):
        with pytest.raises(ConfigError, match=message):
            export_rollouts(rollouts, out, layout)  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    assert out.read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"adapter_fingerprint": "B"}, "runs of different policies"), ({"token_ids": None}, "runs of different prompts")],
)
def test_a_group_of_several_policies_or_prompts_is_refused(
    rewarded: list[RewardedRollout], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    first = replace(rewarded[0], rollout=replace(rewarded[0].rollout, adapter_fingerprint="A"))
    changed = {name: first.rollout.token_ids + 1 if value is None else value for name, value in changed.items()}
    out = tmp_path / "out.jsonl"
    out.write_text("earlier")
    with pytest.raises(ConfigError, match=message):
        export_rollouts([first, replace(first, rollout=replace(first.rollout, **changed))], out, "verl")
    assert out.read_text() == "earlier"
