"""Whether the words around a bound negate it: "nothing over 50", "anything over 50 is too much"."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal

from deeprec.trm_tool.text import word_set

NEGATIONS = word_set(
    "no not nothing never none nor without isnt arent aint dont doesnt didnt shouldnt cant cannot couldnt wont wouldnt "
    "mustnt havent avoid avoids avoiding refuse refuses refusing hate skip exclude excluding except"
)
_NOT_IN_TWO = {("away", "from"), ("clear", "of"), ("leave", "out"), ("anything", "but"), ("everything", "but")}
_NOT_OF_ITEMS = word_set("nothing not isnt arent without")
"""Negations that end with the value behind them: "nothing red under 50" is red's, "no tents under 50" may be both's."""
_BETWEEN = word_set(
    "a any be being cost costs costing from the to i we it its is are am than more anything something that thats which "
    "these those ones one want wanna like really ever even at all me us you can do go goes going gonna come show give "
    "see get have buy buying pay paying spend spending afford everything of out "
    "thing things item items stuff but"
)
"""Words that may stand between a negation and the word that bounds a number."""
_OF_VALUES = word_set("in from by of the any anything made too very for at with or nor")
"""Words that may stand between a negation, the values that it refuses, and a bound behind them."""
_NEED = word_set("need needs needed neednt required requirement")
_DEGREES = word_set(
    "a bit little just really way far much simply clearly already definitely all be to for me us him her it"
)
_IS = word_set("is are was were would will be seems sounds isnt arent wasnt wouldnt wont doesnt cannot cant")
_TOO = {
    "min": word_set("much many expensive dear pricey costly high steep long heavy big large late new recent"),
    "max": word_set("little few cheap low short light small early old"),
}
"""What something is too much of that lies beyond a bound."""
_NOT_ALLOWED = word_set("ok okay fine possible acceptable affordable allowed")
_SPEND = word_set("pay spend afford accept go want")
_OF_IT = word_set("for me us my our a an the one ones taste")
"""Words that may stand between a bound and what is stated of it."""
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
    breaks = (place for place in range(at - 1, reach - 1, -1) if words[place] in _NEW_CLAUSE)
    start = next((place + 1 for place in breaks if not _is_exception(words, place)), reach)
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


def refusal_behind(words: Sequence[str], at: int, bound: Literal["min", "max", "range"]) -> tuple[int, bool | None]:
    """Where words behind a bound end that refuse it, and whether they do: None where that cannot be decided.

    "Over 50 is too much", "over 50? no thanks" and "more than 50 I won't pay" refuse what lies beyond the bound.

    Args:
        words: Of the text.
        at: The position behind the bound.
        bound: What it says by itself.
    """
    is_asked = words[at : at + 1] == ["."]
    first = at + is_asked
    stop = next(
        (place for place in range(first, min(len(words), first + 20)) if words[place] in _NEW_CLAUSE), len(words)
    )
    if words[first : first + 2] in (["no", "thanks"], ["no", "thank"], ["no", "way"]) or [*words[first:stop]] == ["no"]:
        return stop, True if bound == "min" else None
    if is_asked:
        return at, False
    place = next((each for each in range(first, stop) if words[each] not in _OF_IT), stop)
    behind = list(words[place:stop])
    if behind[:1] == ["too"] and behind[1:2] and behind[1] in _TOO["min"] | _TOO["max"]:  # "is over 50 too much?"
        return at, None
    if behind[:1] in (["i"], ["we"]):
        is_refused = not NEGATIONS.isdisjoint(behind)
        is_plain = bound == "min" and behind[-1] in _SPEND and len(NEGATIONS.intersection(behind)) == 1
        return stop, (True if is_plain else None) if is_refused else False
    if behind[:1] in (["thats"], ["that"], ["its"]):  # what is not stated of the sum is of the item
        place += 1 + (behind[1:2] == ["is"])
        return _too(words, place, stop, bound) if words[place : place + 1] == ["too"] else (at, False)
    if not behind or behind[0] not in _IS:
        return at, False
    if behind[0] not in NEGATIONS:
        place = next((each for each in range(place + 1, stop) if words[each] not in _DEGREES), stop)
        if words[place : place + 1] == ["too"]:
            return _too(words, place, stop, bound)
        if [*words[place : place + 4]] in (["out", "of", "the", "question"], ["out", "of", "my", "budget"]):
            return place + 4, True if bound == "min" else None
        if words[place : place + 1] == ["not"] and words[place + 1 : place + 2] and words[place + 1] in _NOT_ALLOWED:
            return place + 2, True if bound == "min" else None
    is_doubtful = not NEGATIONS.isdisjoint(behind) or not {"too", "out", "off", "problem"}.isdisjoint(behind)
    return at, None if is_doubtful else False


def may_be_refused(words: Sequence[str], start: int, stop: int, named: Collection[int]) -> bool:
    """Whether words before or behind a year or a decade, from `start` to `stop`, refuse it, or may."""
    before = negation_before(words, start, "range", named)[1]
    return before is not False or refusal_behind(words, stop, "range")[1] is not False


def _too(words: Sequence[str], place: int, stop: int, bound: str) -> tuple[int, bool | None]:
    """What "too much" says of a bound, and where it ends."""
    is_plain = place + 1 < stop and words[place + 1] in _TOO.get(bound, ())
    return min(place + 2, stop), True if is_plain else None


def _is_exception(words: Sequence[str], place: int) -> bool:
    return words[place] == "but" and words[max(0, place - 1)] in ("anything", "everything")
