"""The best k of a catalogue by their scores, and an order that trades fit against similarity."""

import numpy as np
from numpy.typing import NDArray

POOL = 300
"""Candidates that diversification reorders: the best ones."""

BLOCK = 64
"""Scores of a block; the first pass reads only the highest of each."""


def best(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Positions of the `k` highest finite scores (items,), best first, ties by position."""
    floor = _floor(scores, k)
    allowed = np.flatnonzero(scores >= floor if floor > -np.inf else scores > floor)
    if len(allowed) > 4 * k:
        kept = scores[allowed]
        kth = np.partition(kept, len(kept) - k)[len(kept) - k]
        allowed = allowed[kept >= kth]  # a tie with the k-th stays, so that position decides
    return allowed[np.argsort(-scores[allowed], kind="stable")[:k]]


def _floor(scores: NDArray[np.floating], k: int) -> float:
    """A score that at least `k` items reach, and not many more: the k-th best of the highest scores of blocks."""
    blocks = len(scores) // BLOCK
    if blocks < 4 * k:
        return -np.inf
    highest = scores[: blocks * BLOCK].reshape(BLOCK, blocks).max(axis=0)  # down the columns, which is faster
    return float(np.partition(highest, blocks - k)[blocks - k])


def ranks_with_ties(scores: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank of one item a row among all items, ties in score by position.

    Args:
        scores: (rows, items), higher is better; -inf for an item that cannot come back. No score is NaN.
        targets: Position of each row's item (rows,).

    Returns:
        1-based ranks (rows,); inf where the item itself cannot come back.
    """
    own = np.take_along_axis(scores, targets[:, None], axis=1)  # (rows, 1)
    before = np.arange(scores.shape[1]) < targets[:, None]
    ranks: NDArray[np.float64] = 1.0 + (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)
    ranks[own[:, 0] == -np.inf] = np.inf
    return ranks


def diversify(
    scores: NDArray[np.float32], vectors: NDArray[np.float32], *, k: int, diversity: float
) -> NDArray[np.int64]:
    """Choose candidates one by one, each for its score and against its similarity to those chosen before.

    The next one has the highest (1 - diversity) · score - diversity · (largest cosine to one that was chosen).

    Args:
        scores: Of the candidates (n,), best first; cosines, or shares from 0 to 1.
        vectors: Of the candidates, float (n, width), of unit length.
        k: How many to choose.
        diversity: 0 leaves the order as it is; at 1 only the first is chosen for its score.

    Returns:
        Positions among the candidates, int64 (min(k, n),), in the order chosen; ties go to the better score.

    Source:
        Carbonell & Goldstein 1998, doi:10.1145/290941.291025, with lambda = 1 - diversity.
    """
    chosen = np.empty(min(k, len(scores)), dtype=np.int64)
    fit = (1 - diversity) * scores.astype(np.float64)
    closest = np.zeros(len(scores))
    for position in range(len(chosen)):
        chosen[position] = at = int(np.argmax(fit - diversity * closest))
        fit[at] = -np.inf
        similarity = vectors @ vectors[at]
        closest = np.maximum(closest, similarity) if position else similarity.astype(np.float64)
    return chosen
