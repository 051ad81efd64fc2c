import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deeprec.trm_tool.trm.ranking import best


def slowly(scores: np.ndarray, k: int) -> list[int]:
    """By the definition: finite scores, best first, ties by position."""
    return sorted((row for row in range(len(scores)) if scores[row] > -np.inf), key=lambda row: (-scores[row], row))[:k]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-np.inf, -0.5, 0.0, 0.25, 0.5, 1.0]), max_size=60),
    k=st.integers(1, 70),
)
def test_the_best_are_those_of_a_full_sort_with_ties_by_position(scores: list[float], k: int) -> None:
    array = np.array(scores, dtype=np.float32)
    assert best(array, k).tolist() == slowly(array, k)


@pytest.mark.parametrize("k", [1, 10, 300, 99_999, 200_000])
@pytest.mark.parametrize("masked", [0.0, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("levels", [0, 3])
def test_the_best_of_a_large_catalogue(k: int, masked: float, levels: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.standard_normal(100_003).astype(np.float32)
    if levels:
        scores = np.round(scores * levels) / levels  # thousands of ties at the cut
    scores[rng.random(len(scores)) < masked] = -np.inf
    order = np.argsort(-scores, kind="stable")
    assert best(scores, k).tolist() == order[scores[order] > -np.inf][:k].tolist()
