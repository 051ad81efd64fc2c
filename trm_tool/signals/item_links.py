"""Links between items: how strongly the choice of one speaks for another, kept for the strongest of each item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RIDGE = 300.0
"""The weight of the penalty in `together_links`."""
WINDOW = 20
"""Steps that two items of a history lie apart, at most, to be near each other."""
STRONGEST = 100
"""Links that are kept of each item."""


class ItemLinks:
    """The strongest links of each item: which items they lead to, and how strong they are."""

    def __init__(self, ends: NDArray[np.int32], strengths: NDArray[np.float32]) -> None:
        """`ends`: rows of the linked items (items, kept). `strengths`: of these links, any sign, 0 for none."""
        self.ends, self.strengths = ends, strengths

    @classmethod
    def strongest(cls, matrix: NDArray[np.float64]) -> ItemLinks:
        """Keep the links of a matrix (items, items) that are the farthest from 0, `STRONGEST` a row."""
        kept = min(STRONGEST, len(matrix))
        ends = np.argpartition(-np.abs(matrix), kept - 1, axis=1)[:, :kept]
        strengths = np.take_along_axis(matrix, ends, axis=1)
        return cls(ends.astype(np.int32), strengths.astype(np.float32))

    def sums(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum the links that lead from some items to each item -> (items,)."""
        ends, strengths = self.ends[rows].ravel(), self.strengths[rows].ravel()
        return np.bincount(ends, weights=strengths, minlength=len(self.ends)).astype(np.float64)

    def strength(self, start: int, end: int) -> float:
        """The strength of the link from one item to another, 0 where none is kept."""
        return float(self.strengths[start][self.ends[start] == end].sum())


def together_links(sequences: Sequence[NDArray[np.int64]], items: int) -> ItemLinks:
    """Estimate how far the choice of one item speaks for another, beside all that was chosen with it.

    Source:
        Steck 2019, Embarrassingly Shallow Autoencoders for Sparse Data, arXiv:1905.03375, equation 8.
    """
    chosen = np.zeros((len(sequences), items))
    for line, sequence in zip(chosen, sequences, strict=True):
        line[sequence] = 1
    inverse = np.linalg.inv(chosen.T @ chosen + RIDGE * np.eye(items))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return ItemLinks.strongest(weights)


def following_counts(sequences: Sequence[NDArray[np.int64]], items: int, steps: int) -> NDArray[np.float64]:
    """Count how often the second item of a pair came at most `steps` after the first one -> (items, items)."""
    counts = np.zeros((items, items))
    for step in range(1, steps + 1):
        long = [sequence for sequence in sequences if len(sequence) > step]
        if long:
            pairs = np.concatenate([s[:-step] for s in long]), np.concatenate([s[step:] for s in long])
            np.add.at(counts, pairs, 1)
    np.fill_diagonal(counts, 0)
    return counts
