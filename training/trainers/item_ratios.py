"""Importance ratios of the items of a list: the geometric mean over an item's tokens.

Source:
    Zhu et al. 2025 (Rank-GRPO), arXiv:2510.20150: one ratio for each rank of a list.
"""

from __future__ import annotations

import torch


def item_log_ratios(log_ratios: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Replace the log-ratios of the tokens of each item by their mean.

    Args:
        log_ratios: (batch, length), current less logged log-probabilities, in nats.
        mask: bool (batch, length), True at the policy's tokens.
        positions: int64 (batch, length), the position in the list that a token belongs to, from 1, and 0 elsewhere.

    Returns:
        (batch, length); unchanged where `positions` is 0 or the mask is False.
    """
    listed = mask & (positions > 0)
    slots = torch.where(listed, positions, 0)
    zeros = log_ratios.new_zeros(log_ratios.shape[0], int(positions.max()) + 1)
    sums = zeros.scatter_add(1, slots, torch.where(listed, log_ratios, 0.0))
    counts = zeros.scatter_add(1, slots, listed.to(log_ratios.dtype)).clamp(min=1)
    return torch.where(listed, (sums / counts).gather(1, slots), log_ratios)
