"""The numbers of a text, each with the bound that the words around it state.

"Nothing over 20 bucks" bounds a price from above, "since the nineties" a year from below.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from deeprec.trm_tool.catalogue.negated_bounds import NEGATIONS, may_be_refused, negation_before, refusal_behind
from deeprec.trm_tool.catalogue.said_clauses import places_within, refused_places
from deeprec.trm_tool.catalogue.written_numbers import TOKEN, WrittenNumber, words_of, written_numbers
from deeprec.trm_tool.text import word_set

NumberBound = Literal["min", "max", "range"]
About = Literal["price", "year", "weight"]
"""What a number is about, where the words around it say so."""

_Way = tuple[NumberBound, bool, About | None]  # the bound, whether the number itself fails, what the number is about
_BEFORE: dict[str, _Way] = {
    **dict.fromkeys(("<", "under", "below", "less", "lower", "smaller", "fewer", "shorter"), ("max", True, None)),
    **dict.fromkeys(("before", "earlier", "older", "pre"), ("max", True, "year")),
    "cheaper": ("max", True, "price"),
    "lighter": ("max", True, "weight"),
    "heavier": ("min", True, "weight"),
    **dict.fromkeys(("<=", "≤", "most", "up", "max", "maximum", "within", "limit"), ("max", False, None)),
    **dict.fromkeys(("until", "till"), ("max", False, "year")),
    "budget": ("max", False, "price"),
    **dict.fromkeys((">", "over", "above", "more", "higher", "greater", "larger", "longer"), ("min", True, None)),
    **dict.fromkeys(("beyond", "exceed", "exceeding", "exceeds"), ("min", True, None)),
    **dict.fromkeys(("after", "later", "newer", "younger", "post"), ("min", True, "year")),
    **dict.fromkeys(("dearer", "pricier", "expensive"), ("min", True, "price")),
    **dict.fromkeys((">=", "≥", "least", "min", "minimum", "from", "starting"), ("min", False, None)),
    "since": ("min", False, "year"),
}
_AFTER: dict[str, _Way] = {
    **dict.fromkeys(("most", "max", "maximum", "tops", "limit"), ("max", False, None)),
    "latest": ("max", False, "year"),
    **dict.fromkeys(("least", "min", "minimum", "upwards", "plus", "+"), ("min", False, None)),
    **dict.fromkeys(("earliest", "onwards", "onward"), ("min", False, "year")),
}
_AFTER_OR: dict[str, _Way] = {  # behind "or" or "and": "20 or less", "1990 and later"
    **dict.fromkeys(("less", "under", "below", "lower", "fewer", "smaller"), ("max", False, None)),
    **dict.fromkeys(("earlier", "before", "older"), ("max", False, "year")),
    "cheaper": ("max", False, "price"),
    "lighter": ("max", False, "weight"),
    "heavier": ("min", False, "weight"),
    **dict.fromkeys(("more", "over", "above", "higher", "up", "greater", "larger"), ("min", False, None)),
    **dict.fromkeys(("later", "after", "newer"), ("min", False, "year")),
}


_SPENDS = word_set("budget spend spending pay paying cost costs costing price priced")
_ALONE = word_set("please thanks . or but and")
"""Words that may stand behind "20 to 45" where nothing else says what it counts."""
_MONEY = word_set("$ € £ dollar dollars buck bucks usd euro euros eur pound pounds gbp quid")
_BETWEEN = word_set("than to the a an of is be it at in or equal about around ends year years price priced cost")
"""Words that may stand between a number and the word that bounds it."""
_NEXT = _MONEY | {"than", "to"}
"""Words that may stand between a word that bounds and the number that it belongs to."""
_EXACT = frozenset(("=", ":", "exactly"))
_DASHES = frozenset(("-", "–", "—", ".."))
_JOIN = _DASHES | {"to", "and", "till", "until", "through"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidNumber:
    """A number, or two of a range, and the bound that the text states with it."""

    low: float
    high: float
    """The same as `low`, but for a range and a decade."""
    bound: NumberBound | None
    """None where the words state none."""
    is_strict: bool = False
    """Whether the number itself lies outside, as in "under 20"."""
    is_decade: bool = False
    is_short: bool = False
    """Whether a decade lacks its century, so that the nineties are 90 to 99."""
    is_exact: bool = False
    """Whether "=", ":" or "exactly" stands before it."""
    is_undecided: bool = False
    """Whether a negation leaves open which bound is meant, if any ("it doesn't have to be under 20"), or refuses a
    range."""
    about: About | None = None
    used: frozenset[int] = frozenset()
    """Positions of the words that make up the number and its bound."""


def may_bound(words: Iterable[str]) -> bool:
    """Whether words of `split_words` can hold a bound or a refusal at all: a figure, a sign, or a word for one."""
    marks = _BEFORE.keys() | _AFTER.keys() | NEGATIONS | _EXACT | _MONEY
    return any(word in marks or (word[:1].isdigit() and not word.endswith("s")) for word in words)


def said_numbers(text: str, values: Sequence[tuple[int, int]] = ()) -> tuple[SaidNumber, ...]:
    """Find the numbers of a text, in its order. Positions are those of `split_words`.

    Args:
        text: What was said.
        values: Where values of the catalogue stand in it, in characters. A negation right before one is that value's
            and leaves a budget behind it as it is: "nothing red under 50".
    """
    tokens = list(TOKEN.finditer(text))
    words, starts = words_of(tokens), [token.start() for token in tokens]
    numbers = list(written_numbers(tokens, words, before_a_sign=_BEFORE.keys() | _EXACT))
    is_dated = any(number.is_dated for number in numbers)
    refused = refused_places(text, starts) if is_dated else set[int]()
    named = places_within(starts, values)
    said: list[SaidNumber] = []
    at = 0
    while at < len(numbers):
        if at + 1 < len(numbers) and (joined := _range(numbers[at], numbers[at + 1], words, named)):
            said.append(joined)
            at += 2
        else:
            behind = numbers[at + 1].start if at + 1 < len(numbers) else len(words)
            found = _bounded(numbers[at], words, behind, named)
            is_open = numbers[at].is_dated and found.bound is None and found.about != "price"
            if is_open and (
                numbers[at].start in refused or may_be_refused(words, numbers[at].start, numbers[at].stop, named)
            ):
                found = replace(found, is_undecided=True)
            both = _both_negated(said[-1], found, words) if said else None
            said[-1 if both else len(said) :] = [both or found]
            at += 1
    return tuple(said)


def _both_negated(first: SaidNumber, second: SaidNumber, words: Sequence[str]) -> SaidNumber | None:
    """The range of two bounds that one negation refuses: "nothing under 20 or over 90"."""
    between = words[max(first.used) + 1 : min(second.used)]
    if words[min(first.used)] not in NEGATIONS or first.is_strict or between not in (["or"], ["nor"]):
        return None
    way = _BEFORE.get(words[min(second.used)])
    if way is None or not way[1] or not second.is_undecided or {first.bound, _flipped(way)[0]} != {"min", "max"}:
        return None
    low, high = sorted((first.low, second.low))
    is_between = (first.bound == "min") == (first.low == low)
    return replace(
        first,
        low=low,
        high=high,
        bound="range" if is_between else None,
        is_undecided=not is_between,
        about=first.about or second.about,
        used=frozenset(range(min(first.used), max(second.used) + 1)),
    )


def _range(
    first: WrittenNumber, second: WrittenNumber, words: Sequence[str], named: Collection[int]
) -> SaidNumber | None:
    """Two numbers as the ends of a range: "1990-1999", "from 10 to 20", "20 to 45 euros", "the 80s to the 90s"."""
    gap = [word for word in words[first.stop : second.start] if word not in _MONEY and word != "the"]
    before = [at for at in range(max(0, first.start - 3), first.start) if words[at] in ("from", "between")]
    is_bare = gap == ["to"] and first.low <= second.low and _is_alone(first.start, second.stop, words)
    if len(gap) != 1 or gap[0] not in _JOIN or not (gap[0] in _DASHES or before or is_bare):
        return None
    if gap[0] in _DASHES and gap[0] in (*words[first.start - 1 : first.start], *words[second.stop : second.stop + 1]):
        return None  # a date
    low, high = min(first.low, second.low), max(first.high, second.high)
    start = before[-1] if before else first.start
    begin, is_refused = negation_before(words, start, "range", named)
    if is_refused is False and refusal_behind(words, second.stop, "range")[1] is not False:
        is_refused = None
    used = {*range(start if is_refused is None else begin, second.stop)}
    used |= {at for at in (first.start - 1, second.stop) if 0 <= at < len(words) and words[at] in _MONEY}
    exact = _exact(first.start, words)
    is_short = first.is_short and second.is_short
    return SaidNumber(
        low=low,
        high=high,
        bound="range" if is_refused is False else None,
        is_undecided=is_refused is not False,
        is_decade=first.is_decade or second.is_decade,
        is_short=is_short,
        is_exact=exact is not None,
        about="price" if any(words[at] in _MONEY for at in used) else None,
        used=frozenset({*used, *([exact] if exact is not None else [])}),
    )


def _is_alone(start: int, stop: int, words: Sequence[str]) -> bool:
    """Whether two numbers count money by the words around them, or stand apart: "a lamp, 20 to 45"."""
    behind = words[stop] if stop < len(words) else "."
    is_paid = not _SPENDS.isdisjoint(words[max(0, start - 4) : start])
    is_first = start == 0 or words[start - 1] in (".", ":")
    return behind in _MONEY or words[max(0, start - 1)] in _MONEY or (behind in _ALONE and (is_paid or is_first))


def _bounded(number: WrittenNumber, words: Sequence[str], behind: int, named: Collection[int]) -> SaidNumber:
    """A number with the bound around it; `behind` is where the next number begins."""
    used = set(range(number.start, number.stop))
    way: _Way | None = None
    about: About | None = None
    at, after_or = number.stop, False
    while at < min(len(words), number.stop + 5) and words[at] != ".":
        word = words[at]
        if (
            word in _AFTER.keys() | _AFTER_OR.keys()
            and _NEXT.issuperset(words[at + 1 : behind])
            and behind < len(words)
        ):
            break  # "under 60 and over 20"
        if word in _MONEY:
            about = "price"
        elif word in ("or", "and"):
            after_or = True
        elif after_or and word in _AFTER_OR:
            way = _AFTER_OR[word]
        elif word in _AFTER and (word != "min" or about == "price"):  # else minutes: "under 90 min"
            way = _AFTER[word]
        elif word not in ("at", "the", "very", "year", "years"):
            break
        if word in _MONEY or way is not None:
            used.update(range(number.stop, at + 1))
        if way is not None:
            break
        at += 1
    exact = _exact(number.start, words)
    used.update([] if exact is None else [exact])
    is_undecided = False
    if way is not None:
        begin, is_refused = negation_before(words, number.start, way[0], named)
        if is_refused and (way[0] == "min" or after_or):  # "not 50 or more"
            way = _flipped(way)
            used.update(range(begin, number.start))
        elif is_refused is not False and (is_refused or way[0] == "min"):
            way, is_undecided = None, True
    at = number.start - 1
    while at >= max(0, number.start - 5) and words[at] != ".":
        word = words[at]
        if word in _MONEY:
            about = "price"
            used.add(at)
        elif word in _BEFORE:
            found = _BEFORE[word]
            if word == "up" and words[at + 1 : at + 2] != ["to"]:
                break
            begin, is_refused = negation_before(words, at, found[0], named)
            is_within = number.is_decade and word in ("from", "most")  # "from the nineties" is in them
            is_within = is_within or (word == "from" and number.is_dated and is_refused is not False)
            if way is None and not is_undecided and not is_within:
                way = None if is_refused is None else _flipped(found) if is_refused else found
                is_undecided = is_refused is None
            used.update(range(begin, number.start))
            used.update([at - 1] if at and words[at - 1] == "at" else [])
            about = about or found[2]
            break
        elif word not in _BETWEEN:
            break
        at -= 1
    if way is not None:
        end, is_refused = refusal_behind(words, max(used) + 1, way[0])
        if is_refused and words[min(used)] not in NEGATIONS:
            way = _flipped(way)
            used.update(range(max(used) + 1, end))
        elif is_refused is not False:
            way, is_undecided = None, True
    return SaidNumber(
        low=number.low,
        high=number.high,
        bound=way[0] if way else None,
        is_strict=bool(way and way[1]),
        is_decade=number.is_decade,
        is_short=number.is_short,
        is_exact=exact is not None,
        is_undecided=is_undecided,
        about=about or (way[2] if way else None) or ("year" if number.is_decade else None),
        used=frozenset(used),
    )


def _exact(start: int, words: Sequence[str]) -> int | None:
    """The position of a sign or a word before a number that makes it exact."""
    at = start - 1
    while at >= 0 and (words[at] in _MONEY or words[at] == "the"):
        at -= 1
    return at if at >= 0 and words[at] in _EXACT else None


def _flipped(way: _Way) -> _Way:
    bound, is_strict, about = way
    return "max" if bound == "min" else "min", not is_strict, about
