"""Rollouts as JSON lines for other trainers, in the shape that each of them takes a finished rollout in.

Source:
    verl, `verl.experimental.agent_loop.AgentLoopOutput`; OpenRLHF, what `AgentExecutorBase.execute` returns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from deeprec.training.rollouts.advantages import RewardedRollout
from deeprec.training.rollouts.group_checks import GroupChecks
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import staging_file

RolloutLayout = Literal["verl", "openrlhf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutExport:
    """The result of `export_rollouts`."""

    rollouts: int
    without_reward: int
    """Rollouts that were left out, because their reward is NaN or infinite."""


def export_rollouts(
    rewarded: Iterable[RewardedRollout], path: Path, layout: RolloutLayout, *, tokenizer: Any = None
) -> RolloutExport:
    """Write rollouts with their rewards as JSON lines, one object a rollout, in constant memory.

    Token ids, masks and log-probabilities are those that were logged; nothing is tokenised.

    - `verl`: the fields of its `AgentLoopOutput`: `prompt_ids`, `response_ids`, `response_mask` (1 where the policy
      wrote the token), `response_logprobs` (0 elsewhere), `reward_score`, `num_turns`, `metrics` and `extra_fields`,
      whose `uid` is the group.
    - `openrlhf`: what an agent executor returns: `prompt` (text), `label`, `reward`, `scores`, `observation_tokens`
      (the whole sequence), `action_ranges` (start and end of each turn of the policy in it), `rollout_log_probs` (0
      elsewhere) and `extra_logs`, whose `group` is the group.

    Args:
        rewarded: the rollouts (`read_rewarded`). Those without a finite reward are left out and counted.
        path: the file; one that is there is replaced.
        layout: whose shape the objects have.
        tokenizer: for `openrlhf` that of the model that wrote the runs, which decodes prompts.

    Raises:
        ConfigError: there is no such layout, the tokenizer is missing, no rollout has a reward, a group has rollouts of
            different prompts or policies, which trainers would compare, or the file cannot be written. What was there
            before is unchanged.
    """
    if layout not in get_args(RolloutLayout):
        raise ConfigError(f"Rollouts cannot be written for {layout!r}. Choose {' or '.join(get_args(RolloutLayout))}.")
    if layout == "openrlhf" and tokenizer is None:
        raise ConfigError("OpenRLHF takes prompts as text: give the tokenizer of the model that wrote the runs.")
    written = without_reward = 0
    checks = GroupChecks()
    with staging_file(path) as staged, staged.open("w", encoding="utf-8") as file:
        for each in rewarded:
            if not math.isfinite(each.reward):
                without_reward += 1
                continue
            checks.add(each.rollout)
            row = _verl(each) if layout == "verl" else _openrlhf(each, tokenizer)
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            written += 1
        if fault := checks.fault():
            raise ConfigError(fault)
        if not written:
            raise ConfigError(
                f"No rollout with a reward matches ({without_reward} have none), so there is nothing to write. Score "
                "the runs first: `deeprec train score`."
            )
    return RolloutExport(rollouts=written, without_reward=without_reward)


def _verl(each: RewardedRollout) -> dict[str, Any]:
    rollout = each.rollout
    turns, start = _turns(rollout), _turns(rollout)[0][0]
    return {
        "prompt_ids": rollout.token_ids[:start].tolist(),
        "response_ids": rollout.token_ids[start:].tolist(),
        "response_mask": rollout.env_mask[start:].tolist(),
        "response_logprobs": _logprobs(rollout)[start:],
        "reward_score": each.reward,
        "num_turns": 2 * len(turns),  # verl counts those of user and tool as well
        "metrics": {},
        "extra_fields": {"uid": _group(rollout), **_lineage(each)},
    }


def _openrlhf(each: RewardedRollout, tokenizer: Any) -> dict[str, Any]:
    rollout, turns = each.rollout, _turns(each.rollout)
    prompt = rollout.token_ids[: turns[0][0]].tolist()
    return {
        "prompt": str(tokenizer.decode(prompt, skip_special_tokens=False, clean_up_tokenization_spaces=False)),
        "label": "",
        "reward": each.reward,
        "scores": each.reward,
        "observation_tokens": rollout.token_ids.tolist(),
        "action_ranges": turns,
        "rollout_log_probs": _logprobs(rollout),
        "extra_logs": {"group": _group(rollout), **_lineage(each)},
    }


def _turns(rollout: Rollout) -> list[tuple[int, int]]:
    """Start and end of each run of tokens that the policy wrote, the end not included."""
    edges = np.flatnonzero(np.diff(rollout.env_mask, prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _logprobs(rollout: Rollout) -> list[float]:
    values: list[float] = np.nan_to_num(rollout.logprobs, nan=0.0).astype(float).tolist()
    return values


def _group(rollout: Rollout) -> str:
    return str(rollout.run_id) if rollout.group_id is None else rollout.group_id


def _lineage(each: RewardedRollout) -> dict[str, Any]:
    rollout = each.rollout
    return {
        "run_id": str(rollout.run_id),
        "policy_model": rollout.policy_model,
        "adapter_version": rollout.adapter_version,
        "components": {name: value for name, value in each.components.items() if math.isfinite(value)},
    }
