"""Reciprocal rank fusion of a run's retrievals."""

from deeprec.agent import fuse_rankings


def test_an_item_that_two_retrievals_found_comes_before_the_first_of_either() -> None:
    fused = fuse_rankings([["a", "b", "c"], ["d", "c"]])
    # c: 1/63 + 1/62; a and d: 1/61 each, a found first; b: 1/62.
    assert list(fused) == ["c", "a", "d", "b"]
    assert fused == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_no_retrieval_ranks_nothing() -> None:
    assert fuse_rankings([]) == {}
