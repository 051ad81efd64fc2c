"""Numbers of a message as bounds on attributes: "under 50", "between 20 and 40", "late eighties", "around 30 euros"."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice

from deeprec.agent.conversation.delta import Change
from deeprec.agent.conversation.message_reading import TAKEN, MessageReading
from deeprec.agent.conversation.vocabulary import NamedAttribute
from deeprec.trm_tool.catalogue.catalogue import is_year
from deeprec.trm_tool.catalogue.number_names import UNIT
from deeprec.trm_tool.catalogue.said_numbers import SaidNumber, said_numbers
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.catalogue.written_numbers import word_places

_ABOUT = re.compile(r"\b(?:around|about|roughly|approximately|approx\.?|circa|ish|near|some)\s*$", re.IGNORECASE)
_PART = re.compile(r"\b(early|mid|late)(?:er)?[\s-](?:the\s)?$", re.IGNORECASE)
_PARTS = {"early": (0, 3), "mid": (3, 6), "late": (6, 9)}
_SPENDS = re.compile(r"\b(?:budget|have|got|spend|spending|afford|for|pay|with)\b[^.,;!?]{0,20}$", re.IGNORECASE)
_CONTRAST = re.compile(r"\b(?:not|instead of|rather than|no longer)\s*$", re.IGNORECASE)
_LEAVES_OPEN = re.compile(r"\b(?:have to|must|need(?:n't)?|mind|matter|necessarily)\b[^.,;!?]*$", re.IGNORECASE)
"""Before a bound, what says that it need not hold; English of a German form that is not certain says it too."""
_NEEDLESS = re.compile(r"\b(?:m[uü]ss\w*|muß|brauch\w*|unbedingt|n[oö]tig\w*|notwendig|egal)\b", re.IGNORECASE)
"""German that says it."""
_NEAR_CHARS = 16
_BEFORE_CHARS = 60
"""Before a number, where the words stand that say how it is meant."""
_MAX_BESIDE = 3
"""Words beside a number that answers a question, at most."""
_MORE_BESIDE = re.compile(rf"(?:\W*+\w++){{{_MAX_BESIDE + 1}}}")
_NEAR_SHARE = 0.2
"""How far beyond the numbers of an attribute an answer may lie, as a share of their range."""
_ABOUT_SHARE = 0.2
"""How far "around 50" reaches to both sides, as a share of the number."""
_ABOUT_YEARS = 3


def find_bounds(reading: MessageReading) -> None:
    """Find the bounds that a message states on numbers, and take the words for them.

    What the words bound is hard. A number that is only named nearly, or a bare price, weighs.
    """
    places = word_places(reading.text)
    text = reading.text
    values = [(value.start, value.end) for value in reading.vocabulary.values_in(text)]
    attributes = list(reading.vocabulary.attributes_in(text))
    written = reading.written(0, len(text)) if reading.is_translated else ""
    for said in said_numbers(text, values):
        start, end = places[min(said.used)][0], places[max(said.used)][1]
        if TAKEN in text[start:end] or not (text[start:end].strip()):
            continue
        if said.is_undecided:
            reading.undecided.append((start, end))
            words = reading.take(start, end)
            is_dated = said.is_decade or is_year(said.low)
            clause = max(text.rfind(mark, 0, start) for mark in ".,;!?") + 1
            is_open = _LEAVES_OPEN.search(text, clause, start) and (not written or _NEEDLESS.search(written))
            if (said.low != said.high or is_dated or not is_open) and not reading.corrects:
                reading.not_clear(words, "This is not read as a limit. Name the least or the most that you want.")
            continue
        name = _attribute_beside(reading, attributes, text, start, end)
        if name is None and said.about is None and said.bound is not None and not values:
            name = _asked_number(reading, said, text[:start] + text[end:])
        unit = UNIT.match(text, end)
        if unit is not None and said.bound is not None and said.about in (None, "weight"):
            words = reading.words(start, unit.end())
            reading.sets += _read(reading, f"{_spelt(name)} {text[start : unit.end()]}".strip(), words)
            reading.take(start, unit.end())
            continue
        if unit is not None and name is None and said.about is None:
            continue
        names_price = any(each.attribute == reading.vocabulary.price for each in attributes)
        changes = _changes(reading, said, text, start, end, name, names_price)
        if changes is not None:
            reading.take(start, end)
            reading.sets += changes


def _changes(
    reading: MessageReading, said: SaidNumber, text: str, start: int, end: int, name: str | None, names_price: bool
) -> list[Change] | None:
    """The bounds of one number; None where it bounds nothing. `names_price`: whether the message names the price."""
    vocabulary, words, used = reading.vocabulary, reading.words(start, end), text[start:end]
    before = text[max(0, start - _BEFORE_CHARS) : start]
    nearly = _ABOUT.search(before) or _ABOUT.search(used.rsplit(" ", 1)[0])
    whole_years = is_year(said.low) and is_year(said.high)
    if name is None and said.about == "price":
        name = vocabulary.price
        if name is None:
            reading.lacks("price")
            return []
    if said.is_decade or (name is None and said.bound is None and whole_years and vocabulary.year):
        return _years(reading, said, before, used, words, bool(nearly))
    if said.bound is not None and (name is None or said.bound != "range"):
        return _read(reading, f"{_spelt(name)} {used}", words)
    if nearly and name is not None:
        return _around(name, said.low, words)
    if name is not None and name == vocabulary.price and said.bound is None:
        is_hard = names_price or bool(_SPENDS.search(before))
        return [Change(kind="set", attribute=name, maximum=said.low, hard=is_hard, words=words)]
    if name is not None:
        return [Change(kind="set", attribute=name, minimum=said.low, maximum=said.high, words=words)]
    return _answered(reading, said, words, text[:start] + text[end:]) or _corrected(reading, said, before, words)


def _years(
    reading: MessageReading, said: SaidNumber, before: str, used: str, words: str, nearly: bool
) -> list[Change] | None:
    """A year or a decade, and the early or late part of it."""
    name = reading.vocabulary.year
    if name is None:
        reading.lacks(words)
        return []
    if said.bound is not None:
        return _read(reading, f"{_spelt(name)} {used}", words)
    number = f"{said.low:02.0f}s" if said.is_decade else f"{said.low:.0f}"
    found = _read(reading, f"{_spelt(name)}: {number}", words)
    ends = {change.minimum if change.maximum is None else change.maximum for change in found}
    if len(found) != 2 or None in ends:
        return found
    low, high = min(end for end in ends if end is not None), max(end for end in ends if end is not None)
    if nearly:
        low, high = low - _ABOUT_YEARS, high + _ABOUT_YEARS
    elif (part := _PART.search(before)) is not None:
        first, last = _PARTS[part[1].lower()]
        low, high = low + first, low + last
    return [Change(kind="set", attribute=name, minimum=low, maximum=high, hard=not nearly, words=words)]


def _read(reading: MessageReading, segment: str, words: str) -> list[Change]:
    """The bounds of a segment as the reader of preferences finds them; what it cannot enforce is noted."""
    stated = reading.vocabulary.reader.read(segment)
    if stated.unenforceable:
        reading.lacks(words)
    return [
        Change(
            kind="set",
            attribute=name,
            minimum=condition.get("min"),
            maximum=condition.get("max"),
            words=words,
        )
        for constraint in stated.constraints
        if constraint.kind == "bound"
        for name, condition in constraint.where.items()
    ]


def _around(name: str, number: float, words: str) -> list[Change]:
    reach = _ABOUT_SHARE * abs(number)
    low, high = round(number - reach, 2), round(number + reach, 2)
    return [Change(kind="set", attribute=name, minimum=low, maximum=high, hard=False, words=words)]


def _asked_number(reading: MessageReading, said: SaidNumber, rest: str) -> str | None:
    """The number attribute that the last turn asked about, where a number can answer it.

    The message is little more than the number, and the number lies within what the attribute has, or near. Every
    higher number can be a budget.
    """
    name, vocabulary = reading.state.open_question, reading.vocabulary
    if name is None or vocabulary.kinds.get(name) != "number" or _MORE_BESIDE.match(rest):
        return None
    low, high = vocabulary.range_of(name)
    reach = _NEAR_SHARE * (high - low)
    is_possible = low - reach <= said.low and (said.high <= high + reach or name == vocabulary.price)
    return name if is_possible else None


def _answered(reading: MessageReading, said: SaidNumber, words: str, rest: str) -> list[Change] | None:
    """A bare number that answers the question of the last turn; one that stands alone and cannot is named."""
    name = _asked_number(reading, said, rest)
    if name is not None:
        least = None if name == reading.vocabulary.price else said.low
        return [Change(kind="set", attribute=name, minimum=least, maximum=said.low, words=words)]
    asked = reading.state.open_question
    if asked is not None and reading.vocabulary.kinds.get(asked) == "number" and not re.search(r"\w", rest):
        low, high = reading.vocabulary.range_of(asked)
        reading.not_clear(words, f"This is not read as {_spelt(asked)}, which is {low:.12g} to {high:.12g} here.")
    return None


def _corrected(reading: MessageReading, said: SaidNumber, before: str, words: str) -> list[Change] | None:
    """A bare number that corrects the bound that was stated last: "sorry, 60" behind "under 50"."""
    held = [each for each in (*reading.state.preferred, *reading.state.required) if not each.values]
    if not reading.corrects or not held:
        return None
    last = max(held, key=lambda each: each.turn)
    if _CONTRAST.search(before):
        return []  # "60, not 50"
    change = Change(kind="set", attribute=last.attribute, words=words)
    return [change.with_end(said.low, is_minimum=last.minimum is not None)]


def _attribute_beside(
    reading: MessageReading, attributes: Sequence[NamedAttribute], text: str, start: int, end: int
) -> str | None:
    """The number attribute that is named in or beside some words, in the same clause; `attributes`: of all the text."""
    near = bisect_left(attributes, start - _NEAR_CHARS, key=_end)
    for named in islice(attributes, near, None):
        if named.start > end + _NEAR_CHARS:
            break
        if reading.vocabulary.kinds[named.attribute] != "number":
            continue
        gap = text[named.end : start] if named.end <= start else text[end : named.start]
        is_inside = start <= named.start and named.end <= end
        if is_inside or (len(gap) <= _NEAR_CHARS and not re.search(r"[.,;!?\x00]", gap)):
            return named.attribute
    return None


def _end(named: NamedAttribute) -> int:
    return named.end


def _spelt(name: str | None) -> str:
    """The name of an attribute as the reader of preferences reads it back."""
    if name is None:
        return ""
    return preference_segments({name: {"min": 0}})[0].removesuffix(" >= 0")
