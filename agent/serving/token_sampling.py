"""Drawing the next token of each row of a batch, after temperature, grammar and top-p."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray


def sample_tokens(
    logits: torch.Tensor,
    *,
    temperatures: Sequence[float],
    top_p: Sequence[float],
    allowed: Sequence[NDArray[np.bool_] | None],
    draws: Sequence[float],
) -> tuple[list[int], list[float]]:
    """Draw a token for each row by inverting its cumulative distribution.

    Args:
        logits: Scores of the model, float32 (rows, vocabulary).
        temperatures: One a row; 0 takes the likeliest token, whatever the row's `top_p`.
        top_p: Share of the probability mass that is drawn from, above 0 to 1, one a row.
        allowed: Booleans (vocabulary,) of the tokens that a row's grammar allows; None for a row without a grammar.
        draws: A uniform number from 0 to below 1 for each row.

    Returns:
        The token ids, and their natural log-probabilities under the distributions that they were drawn from.
    """
    logits = logits / torch.tensor([each or 1.0 for each in temperatures], device=logits.device)[:, None]
    if any(each is not None for each in allowed):
        mask = np.ones(logits.shape, dtype=bool)
        for row, tokens in enumerate(allowed):
            if tokens is not None:
                mask[row] = tokens
        logits = logits.masked_fill(~torch.from_numpy(mask).to(logits.device), -torch.inf)
    kept = [share if heat else 1.0 for share, heat in zip(top_p, temperatures, strict=True)]
    if min(kept) < 1:
        logits = _nucleus(logits, torch.tensor(kept, device=logits.device))
    logprobs = logits.log_softmax(-1)
    drawn = torch.tensor(draws, dtype=torch.float64, device=logits.device)
    cumulative = logprobs.double().exp().cumsum(-1)
    sampled = torch.searchsorted(cumulative, (drawn * cumulative[:, -1])[:, None], right=True)[:, 0]
    is_greedy = torch.tensor([heat == 0 for heat in temperatures], device=logits.device)
    chosen = torch.where(is_greedy, logprobs.argmax(-1), sampled.clamp(max=logits.shape[1] - 1))
    return chosen.tolist(), logprobs.gather(1, chosen[:, None])[:, 0].tolist()


def _nucleus(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keep each row's likeliest tokens until their probabilities add up to its `top_p`, the one that reaches it too."""
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, before >= top_p[:, None])
    return logits.masked_fill(dropped & (top_p < 1)[:, None], -torch.inf)
