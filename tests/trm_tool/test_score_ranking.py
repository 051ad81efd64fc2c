import numpy as np
import pytest

from deeprec.trm_tool import Catalogue, DataError, Item, ScoreRanking

RANKING = ScoreRanking(Catalogue([Item(id=item_id, title=item_id) for item_id in "abcd"], {}))


def test_an_item_of_minus_infinity_never_comes_back() -> None:
    assert [item.id for item in RANKING.best(np.array([1.0, -np.inf, 3.0, 2.0]), ["d"], k=4)] == ["c", "a"]


@pytest.mark.parametrize(
    ("scores", "seen"),
    [
        ([1.0, np.nan, np.inf, -np.inf], r"shape \(4,\) and 2 values that are NaN or \+infinity"),
        ([1.0, -np.inf], r"shape \(2,\) and 0 values that are NaN or \+infinity"),
    ],
)
def test_scores_that_rank_nothing_are_refused(scores: list[float], seen: str) -> None:
    with pytest.raises(DataError, match=seen + r".* each of the 4 items"):
        RANKING.best(np.array(scores), [], k=2)
