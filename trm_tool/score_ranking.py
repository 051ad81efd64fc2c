"""A ranking by scores: the query is checked, items are masked, and the best come back as a retrieval's answer.

A recommender of your own that scores a `Catalogue` needs no more than `ScoreRanking`; `Retriever` uses the same parts.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.catalogue.filters import AttributeIndex, Filtered, Where
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.recommender import Query, Retrieved, ScoredItem
from deeprec.trm_tool.trm.ranking import best


class ScoreRanking:
    """Ranks a catalogue by scores that the caller computes, as the contract of `Recommender.retrieve` demands.

    The attributes of the catalogue are laid out once; safe to share between threads.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._attributes = AttributeIndex(catalogue)

    def best(
        self,
        scores: NDArray[np.floating],
        history: Sequence[str],
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        """The `k` best items that the query allows: none of the history, of `exclude`, removed, or against `where`.

        Args:
            scores: Of all items (items,), in catalogue order, higher is better; an item of -inf never comes back.
            history: Item ids, as in `Recommender.retrieve`; so are the other arguments.

        Returns:
            Best first, ties in catalogue order.

        Raises:
            UnknownItemError: an id of `history` or `exclude` was never in the catalogue.
            ConfigError: `k` is below 1, `trust` is not from 0 to 1, or a condition of `where` makes no sense.
            DataError: `scores` has another shape, or holds NaN or +infinity.
        """
        check_k(k)
        scores = np.array(scores, np.float64)  # a copy: the mask is written into it
        invalid = int((np.isnan(scores) | (scores == np.inf)).sum())
        if scores.shape != (len(self.catalogue),) or invalid:
            raise DataError(
                f"scores has shape {scores.shape} and {invalid} values that are NaN or +infinity. "
                f"Give one number for each of the {len(self.catalogue)} items, in catalogue order."
            )
        query = Query(history=history, trust=trust, exclude=exclude, where=where)
        filtered = allowed_items(self.catalogue, self._attributes, query, item_rows(self.catalogue, history, "history"))
        scores[~filtered.mask] = -np.inf
        return ranked(self.catalogue, scores, best(scores, k), filtered)


def check_k(k: object) -> None:
    """Raise ConfigError unless `k` is a whole number of 1 or more."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ConfigError(f"k is {k!r}; no item would come back. Set k to 1 or more.")


def item_rows(catalogue: Catalogue, item_ids: Collection[str], name: str) -> NDArray[np.int64]:
    """Positions of items in the catalogue; `name` is the argument's, for the errors.

    Raises:
        UnknownItemError: an id was never in the catalogue.
        ConfigError: `item_ids` is not a list of ids.
    """
    if isinstance(item_ids, str):
        raise ConfigError(f"{name} is the text {item_ids[:80]!r}. Give a list of item ids.")
    try:
        return catalogue.rows(list(item_ids))
    except TypeError:  # nothing to iterate over, or a member that cannot be looked up
        raise ConfigError(f"{name} is {repr(item_ids)[:80]}. Give a list of item ids.") from None


def allowed_items(
    catalogue: Catalogue, attributes: AttributeIndex, query: Query, history: NDArray[np.int64]
) -> Filtered:
    """Which items a query allows, and which of its constraints could not be enforced.

    Args:
        catalogue: All items.
        attributes: The catalogue's, laid out for filtering.
        query: Its constraints and excluded items are read.
        history: Catalogue positions of the query's history.
    """
    filtered = attributes.filter({} if query.where is None else query.where)
    filtered.mask[:] &= catalogue.available
    if not query.include_seen:
        filtered.mask[history] = False
    filtered.mask[item_rows(catalogue, query.exclude, "exclude")] = False
    return filtered


def ranked(
    catalogue: Catalogue, scores: NDArray[np.floating], rows: NDArray[np.int64], filtered: Filtered
) -> Retrieved:
    """The items at some catalogue positions as an answer, in the order given."""
    return Retrieved(
        [ScoredItem(catalogue.ids[row], float(scores[row])) for row in rows],
        unenforced=filtered.unenforced,
        unknown_values=filtered.unknown_values,
    )
