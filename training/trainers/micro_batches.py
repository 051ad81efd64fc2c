"""Micro-batches: rollouts of similar lengths under a bound of tokens, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.rollouts import Rollout


class Padding(NamedTuple):
    """What went through the model."""

    tokens: int
    """Of rollouts."""
    padded: int
    """Padding included."""

    @property
    def waste(self) -> float:
        """Share of padding; 0 where nothing went through."""
        return 1 - self.tokens / self.padded if self.padded else 0.0


def micro_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split sequences into batches whose rectangle holds at most `max_tokens`.

    Args:
        lengths: (n,), of each sequence.
        max_tokens: rows times the longest row, at most. A sequence that is longer by itself is a batch of one.

    Returns:
        positions in `lengths`; each exactly once, longest first, so that what needs most memory comes first.
    """
    batches: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        if batches and longest * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(position)
        else:
            batches.append([position])
            longest = lengths[position]
    return batches


def padding_of(lengths: Sequence[int], batches: Iterable[Sequence[int]]) -> Padding:
    """How much of the batches is padding."""
    padded = sum(len(batch) * max(lengths[at] for at in batch) for batch in batches)
    return Padding(tokens=sum(lengths), padded=padded)


def pad_right(rows: Sequence[np.ndarray], fill: float, dtype: torch.dtype) -> torch.Tensor:
    """Rows of different lengths as one tensor, (rows, longest), filled on the right."""
    filled = np.full((len(rows), max(row.size for row in rows)), fill, dtype=np.float64)
    for row, values in zip(filled, rows, strict=True):
        row[: values.size] = values
    return torch.from_numpy(filled).to(dtype)


def grpo_batch(scored: Sequence[ScoredRollout], *, step_tokens: int, weight: float) -> dict[str, torch.Tensor]:
    """What TRL's `GRPOTrainer._compute_loss` takes.

    TRL takes a prompt and a completion. Here the prompt is the first token, which has no log-probability, and all
    others are the completion, of which `tool_mask` picks the policy's own: so every padding is on the right, where
    causal attention never looks, and rollouts need no padding for prompts of different lengths.

    Args:
        scored: The rollouts of this micro-batch.
        step_tokens: Policy tokens of the whole optimizer step: what the token mean divides by.
        weight: What the loss of this micro-batch counts in the step's.
    """
    rollouts = [each.rollout for each in scored]
    token_ids = pad_right([rollout.token_ids for rollout in rollouts], 0, torch.long)
    mask = pad_right([rollout.env_mask for rollout in rollouts], 0, torch.long)
    lengths = torch.tensor([rollout.token_ids.size for rollout in rollouts])
    present = (torch.arange(token_ids.shape[1]) < lengths[:, None]).long()
    logprobs = pad_right([np.nan_to_num(rollout.logprobs) for rollout in rollouts], 0, torch.float32)
    return {
        "prompt_ids": token_ids[:, :1],
        "prompt_mask": present[:, :1],
        "completion_ids": token_ids[:, 1:],
        "completion_mask": present[:, 1:],
        "tool_mask": mask[:, 1:],
        "old_per_token_logps": logprobs[:, 1:],
        "advantages": torch.tensor([each.advantage for each in scored], dtype=torch.float32),
        "num_items_in_batch": torch.tensor(float(step_tokens)),
        "weight": torch.tensor(weight),
    }


def sft_labels(rollout: Rollout) -> list[int]:
    """The token ids where the policy wrote them, -100 elsewhere: only the former are learned."""
    labels: list[int] = np.where(rollout.env_mask == 1, rollout.token_ids, -100).tolist()
    return labels
