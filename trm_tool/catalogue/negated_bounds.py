"""Whether the words before a bound negate it: "nothing over 50", "stay away from anything over 50"."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS = _words(
    "no not nothing never none nor without isnt arent aint dont doesnt didnt shouldnt cant cannot couldnt wont wouldnt "
    "mustnt havent avoid avoids avoiding refuse refuses refusing hate skip exclude excluding except"
)
_NOT_IN_TWO = {("away", "from"), ("clear", "of"), ("leave", "out")}
_NOT_OF_ITEMS = _words("nothing not isnt arent without")
"""Negations that end with the value behind them: "nothing red under 50" is red's, "no tents under 50" may be both's."""
_BETWEEN = _words(
    "a any be being cost costs costing from the to i we it its is are am than more anything something that thats which "
    "these those ones one want wanna like really ever even at all me us you can do go goes going gonna come show give "
    "see get have buy buying pay paying spend spending afford everything of out "
    "thing things item items stuff"
)
"""Words that may stand between a negation and the word that bounds a number."""
_OF_VALUES = _words("in from by of the any anything made too very for at with or nor")
"""Words that may stand between a negation, the values that it refuses, and a bound behind them."""
_NEED = _words("need needs needed neednt required requirement")
_NEW_CLAUSE = frozenset((".", ":", "but", "and", "so", "because", "then"))
"""Words that a negation does not reach across."""


def negation_before(
    words: Sequence[str], at: int, bound: Literal["min", "max", "range"], named: Collection[int]
) -> tuple[int, bool | None]:
    """Where the negation of a bounding word begins, and whether there is one: None where that cannot be decided.

    Args:
        words: Of the text.
        at: Where the bound begins.
        bound: What it says without a negation.
        named: Positions of the catalogue's values.
    """
    reach = max(0, at - 20)
    start = next((place + 1 for place in range(at - 1, reach - 1, -1) if words[place] in _NEW_CLAUSE), reach)
    pairs = [tuple(words[place : place + 2]) for place in range(start, at)]
    negations = [place for place, pair in enumerate(pairs, start) if pair[0] in NEGATIONS or pair in _NOT_IN_TWO]
    if not negations:
        return at, None if "neednt" in words[start:at] else False
    places = range(negations[-1] + 1, at)
    rest = [words[place] for place in places if place not in named]
    is_of_a_value = words[negations[-1]] in _NOT_OF_ITEMS and len(rest) < len(places) and _OF_VALUES.issuperset(rest)
    if is_of_a_value and bound != "min" and len(negations) == 1:
        return at, False
    between = words[negations[-1] + 1 : at]  # "I need nothing over 50" bounds, "no need to stay under 50" does not
    is_duty = not _NEED.isdisjoint(between) or any(pair == ("have", "to") for pair in pairwise(between))
    if len(negations) > 1 or is_duty or not _BETWEEN.issuperset(between):
        return at, None
    return negations[-1], True
