"""Estimates of id embeddings from texts, for items that training never saw."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.trm_tool.trm.model import PreferenceAwareTRM

FITTED_ON = 10_000
"""Items that the fit reads, the most popular ones."""
PART = 4096
"""Texts that are adapted at once, since the experts take memory."""
RIDGE = 0.1
"""Penalty, in mean variances of the texts. Five-fold cross-validation over the trained items of ml-100k is best here
(15% of the variance explained), and within .01 of that from .03 to .3."""


def expected_ids(model: PreferenceAwareTRM, popularity: NDArray[np.float64], texts: Tensor) -> Tensor:
    """Estimate the id embeddings of items from their texts, by a regression on the trained items.

    Id embeddings separate popular from rare items first of all, and most items are rare. An item with no id embedding,
    or with the mean over the items, ranks below every item that people had. Therefore each interaction of training
    counts once: a ridge regression from the adapted text to the id embedding, weighted by popularity, whose intercept
    is the embedding of an item of ordinary popularity.

    Args:
        model: It holds the id embeddings and texts of the trained items.
        popularity: Training interactions of each item (items,); an item without any is not read.
        texts: Text embeddings of the items to estimate, float (n, text_width).

    Returns:
        float (n, width); zeros where nothing was trained.
    """
    known = np.argsort(-popularity, kind="stable")[:FITTED_ON]
    known = known[popularity[known] > 0]
    if not len(known):
        return texts.new_zeros(len(texts), model.config.width)
    rows = torch.from_numpy(known).to(texts.device)
    share = torch.from_numpy(popularity[known] / popularity[known].sum()).to(texts.device).unsqueeze(1)  # (known, 1)
    with torch.no_grad():
        ids = model.id_embedding.weight[rows].double()  # (known, width)
        read = model.adapt_text(model.text_embeddings[rows]).double()
        mean_id, mean_text = (share * ids).sum(dim=0), (share * read).sum(dim=0)
        weighted = share * (read - mean_text)
        spread = weighted.T @ (read - mean_text)  # (width, width)
        penalty = RIDGE * spread.diagonal().mean() + 1e-12  # above 0 where all texts are alike
        slope = torch.linalg.solve(
            spread + penalty * torch.eye(len(spread), dtype=spread.dtype, device=spread.device), weighted.T @ ids
        )
        estimated = [
            mean_id + (model.adapt_text(part).double() - mean_text) @ slope for part in torch.split(texts, PART)
        ]
    return torch.cat(estimated).to(texts.dtype)
