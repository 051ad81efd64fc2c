"""Micro-batches: rollouts of similar lengths under a bound of tokens, so that there is little padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np
import torch

from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.trainers.trainer_config import Credit


class Padding(NamedTuple):
    """The tokens of a step that went through the model."""

    tokens: int
    """Tokens of rollouts."""
    padded: int
    """Tokens of rollouts and padding together."""

    @property
    def waste(self) -> float:
        """The share of padding in [0, 1); 0 where no token went through the model."""
        return 1 - self.tokens / self.padded if self.padded else 0.0


def micro_batches(lengths: Sequence[int], max_tokens: int, processes: int = 1) -> list[list[int]]:
    """Split sequences into batches of at most `max_tokens`, padding included.

    Args:
        lengths: (n,), the tokens of each sequence.
        max_tokens: the largest number of rows times the longest row. A longer sequence is a batch of one.
        processes: as many batches for each, where there are enough sequences: the largest batches are halved.

    Returns:
        positions in `lengths`, each exactly once, longest first, so that a lack of memory shows at once.
    """
    batches: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        if batches and longest * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(position)
        else:
            batches.append([position])
            longest = lengths[position]
    while len(batches) % processes and (several := [batch for batch in batches if len(batch) > 1]):
        largest = max(several, key=lambda batch: len(batch) * lengths[batch[0]])
        at, half = batches.index(largest), (len(largest) + 1) // 2
        batches[at : at + 1] = [largest[:half], largest[half:]]
    return batches


def padding_of(lengths: Sequence[int], batches: Iterable[Sequence[int]]) -> Padding:
    """Count the tokens of batches without and with padding."""
    padded = sum(len(batch) * max(lengths[at] for at in batch) for batch in batches)
    return Padding(tokens=sum(lengths), padded=padded)


def pad_right(rows: Sequence[np.ndarray], fill: float, dtype: torch.dtype) -> torch.Tensor:
    """Stack rows of different lengths to one tensor (rows, longest), padded with `fill` on the right."""
    filled = np.full((len(rows), max(row.size for row in rows)), fill, dtype=np.float64)
    for row, values in zip(filled, rows, strict=True):
        row[: values.size] = values
    return torch.from_numpy(filled).to(dtype)


def grpo_batch(
    scored: Sequence[ScoredRollout], *, step_tokens: int, weight: float, credit: Credit = "run"
) -> dict[str, torch.Tensor]:
    """Build the input of TRL's `GRPOTrainer._compute_loss`.

    TRL expects a prompt and a completion. Here the prompt is the first token, which has no log-probability, and all
    others are the completion, of which `tool_mask` selects the policy's. All padding is then on the right, which causal
    attention never reads, and prompts of different lengths need none.

    Args:
        scored: The rollouts of this micro-batch.
        step_tokens: Policy tokens of the whole optimizer step, by which the token mean divides.
        weight: The weight of this micro-batch's loss in the step's.
        credit: Whether advantages are those of rollouts or of their tokens; all rollouts then have some.

    Returns:
        tensors by TRL's names: token ids, masks and log-probabilities (batch, length), advantages (batch,) or (batch,
        length), scalars; with the credit of tokens also `list_positions` (batch, length).
    """
    rollouts = [each.rollout for each in scored]
    token_ids = pad_right([rollout.token_ids for rollout in rollouts], 0, torch.long)
    mask = pad_right([rollout.env_mask for rollout in rollouts], 0, torch.long)
    lengths = torch.tensor([rollout.token_ids.size for rollout in rollouts])
    present = (torch.arange(token_ids.shape[1]) < lengths[:, None]).long()
    logprobs = pad_right([np.nan_to_num(rollout.logprobs) for rollout in rollouts], 0, torch.float32)
    of_tokens = [each.credit for each in scored if each.credit is not None] if credit == "token" else []
    given: dict[str, torch.Tensor] = {
        "advantages": torch.tensor([each.advantage for each in scored], dtype=torch.float32)
    }
    if of_tokens:
        given["advantages"] = pad_right([each.advantages for each in of_tokens], 0, torch.float32)[:, 1:]
        given["list_positions"] = pad_right([each.positions for each in of_tokens], 0, torch.long)[:, 1:]
    return given | {
        "prompt_ids": token_ids[:, :1],
        "prompt_mask": present[:, :1],
        "completion_ids": token_ids[:, 1:],
        "completion_mask": present[:, 1:],
        "tool_mask": mask[:, 1:],
        "old_per_token_logps": logprobs[:, 1:],
        "num_items_in_batch": torch.tensor(float(step_tokens)),
        "weight": torch.tensor(weight),
    }


def dpo_batch(
    chosen: Sequence[Rollout],
    rejected: Sequence[Rollout],
    reference: Mapping[UUID, float],
    *,
    loss_weights: tuple[float, float],
) -> dict[str, torch.Tensor]:
    """Build the input of TRL's `DPOTrainer._compute_loss`.

    Args:
        chosen: The better rollout of each pair of this micro-batch.
        rejected: The other one of each pair, in the same order.
        reference: Run id -> the reference's log-probability of all tokens that the policy wrote.
        loss_weights: The weights of this micro-batch's two losses in the step's: that of the pairs, and that of the
            chosen tokens.

    Returns:
        tensors by TRL's names: token ids and masks (2 * pairs, length), the chosen rows first, log-probabilities
        (pairs,), and the weights (2,).
    """
    rows = [*chosen, *rejected]
    token_ids = pad_right([row.token_ids for row in rows], 0, torch.long)
    lengths = torch.tensor([row.token_ids.size for row in rows])
    return {
        "input_ids": token_ids,
        "attention_mask": (torch.arange(token_ids.shape[1]) < lengths[:, None]).long(),
        "completion_mask": pad_right([row.env_mask for row in rows], 0, torch.long),
        "ref_chosen_logps": torch.tensor([reference[row.run_id] for row in chosen]),
        "ref_rejected_logps": torch.tensor([reference[row.run_id] for row in rejected]),
        "loss_weights": torch.tensor(loss_weights),
    }


def sft_labels(rollout: Rollout) -> list[int]:
    """Labels for SFT: the token ids that the policy wrote, and -100, which is not learned, elsewhere."""
    labels: list[int] = np.where(rollout.env_mask == 1, rollout.token_ids, -100).tolist()
    return labels
