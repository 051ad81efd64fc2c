"""Values of the catalogue in a message: what is wanted, what must be, what must not, and what nothing is called."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from deeprec.agent.conversation.delta import Change
from deeprec.agent.conversation.meant_values import MIN_REFUSED_COSINE, weigh_refused
from deeprec.agent.conversation.message_reading import TAKEN, MessageReading
from deeprec.agent.conversation.replaced_kinds import replaced_kinds
from deeprec.agent.conversation.said_text import PLAIN_WORDS
from deeprec.agent.conversation.vocabulary import NamedValue
from deeprec.trm_tool.catalogue.said_clauses import SaidClause, limiting_clauses, refusing_clauses

_ADDS = re.compile(r"(?:\b(?:also|or|and|plus|maybe|alternatively)\b|&)[\w ']{0,12}$", re.IGNORECASE)
_ADDS_ANYWHERE = re.compile(r"\b(?:also|too|as well|either|in addition|on top)\b", re.IGNORECASE)
_OR = re.compile(r"[\s,]*(?:or|nor)\b[\s\w']{0,12}$|\s*/\s*$", re.IGNORECASE)
_OR_ALONE = re.compile(r"\s+or\s+", re.IGNORECASE)
_OR_FIRST = re.compile(r"\W*(?:(?:and|ok(?:ay)?|maybe|hm+)\W+)?(?:or|alternatively)\b[\w ']{0,12}$", re.IGNORECASE)
_JOINT = re.compile(r"\s*(?:,|/|&|\b(?:or|nor)\b)\s*", re.IGNORECASE)
_CARRIES = re.compile(
    r"\b(?:do|does) (?:you|the shop|this shop)(?: also)? (?:have|carry|sell|stock|offer|do)(?: any| some| a| an)? "
    r"(?P<what>[\w' -]{2,40})|\b(?:have you got|got any|any chance of)(?: any| some| a| an)? (?P<that>[\w' -]{2,40})",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?:\s*[:=]\s*|\s+(?:(?:is|of|must be|should be|to)\s+)?)(?P<value>[^\W_][\w'-]*)")
_MADE_BY = re.compile(r"\b(?:by|from)\s+(?P<maker>[A-Z][\w'-]+)(?!')")
_ONLY = re.compile(
    r"\b(?:only|nothing but|none but|strictly|exclusively|must be|has to be|insist on)(?: in| a| an| the| real)* "
    r"(?P<what>[^\W\d_][\w'-]*)|(?P<before>[^\W\d_][\w'-]*) only(?=\s*(?:$|[.,;:!?]))",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\b(?:no|nothing|not|without|except|avoid|hate|anything but|can't stand)"
    r"(?: too| very| so| any| a| an| the| that's| that is| really| made of| from| by)* (?P<what>[^\W\d_][\w'-]*)",
    re.IGNORECASE,
)
_DESCRIBES = re.compile(
    r"[\s,]*(?:a|an|the|by|for|of|in|on|out|to|with|about|around|like|from|at|than|meant)\b", re.IGNORECASE
)
"""Behind a word, what makes it the beginning of a description ("full of soldiers", "set in space") and no value."""
_GOES_ON = re.compile(r"\s*(?:and|but)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    value: NamedValue
    is_hard: bool


def find_values(reading: MessageReading) -> None:
    """Find the values that a message names.

    A value in a clause that refuses is excluded; one in a clause that limits, behind the name of its attribute, or in
    answer to a question must be; every other one weighs. Of an attribute of which an item has one value, a later
    message replaces the value of an earlier one, unless its words add to it ("or blue", "also blue"); another kind of
    item also replaces the kinds that no item has beside it. A value that one message both asks for and refuses is
    refused, and named; in a correction, what stands later holds. What stands in the title of an item is no value.
    """
    refusing, limiting = list(refusing_clauses(reading.text)), list(limiting_clauses(reading.text))
    wanted: dict[str, list[_Found]] = {}
    relaxed: set[str] = set()
    named = _behind_names(reading)
    values = list(reading.vocabulary.values_outside_titles(reading.text))
    beside_missing = _find_missing(reading, values, refusing, limiting)
    narrowed = _narrowed(reading, values, refusing)
    unapplied = dict[int, SaidClause]()
    refused: dict[tuple[str, str], int] = {}  # and where it is refused last
    for value in values:
        if (clause := _inside(value.start, refusing)) is not None:
            if value.start in narrowed:
                unapplied[clause.mark] = clause
            elif value.start not in beside_missing:
                relaxed |= _refuse(reading, value)
                refused |= dict.fromkeys(_pairs(value), value.start)
    for value in values:
        if _inside(value.start, refusing) is not None:
            continue
        name = next(iter(value.attributes))
        answered = reading.state.open_question
        name = answered if answered in value.attributes else name  # type: ignore[assignment]
        if value.start < reading.withdrawn.get(name, -1):
            continue
        kept = tuple(
            each
            for each in value.attributes[name]
            if (at := refused.get((name, each))) is None or (reading.corrects and at < value.start)
        )
        if not kept:
            words = reading.take(value.start, value.end)
            reading.not_clear(words, "The message both asks for that and refuses it, so it is left out.")
            continue
        value = replace(value, attributes={**value.attributes, name: kept})
        limits = bool(_inside(value.start, limiting)) and value.start not in beside_missing
        is_hard = limits or name == answered or (name, value.start) in named
        wanted.setdefault(name, []).append(_Found(value=value, is_hard=is_hard))
        reading.quiet.append((value.start, value.end))
    numbers = _numbers_of_alternatives(reading, wanted)
    for name, found in wanted.items():
        _want(reading, name, found, numbers, replaces=name not in relaxed)
    for mark, clause in unapplied.items():
        has_refused = any(mark < value.start < clause.end and value.start not in narrowed for value in values)
        if not has_refused:
            words = reading.words(mark, clause.end)
            reading.not_clear(words, "Nothing is left out for that. Name one thing to leave out.")
    left = [value.start for value in reading.vocabulary.values_in(reading.text)] if refusing else []
    for clause in refusing:  # what is refused would weigh for it
        if bisect_left(left, clause.start) < bisect_left(left, clause.end):
            reading.take(clause.mark, clause.end)


def _inside(position: int, clauses: Sequence[SaidClause]) -> SaidClause | None:
    return next((each for each in clauses if each.start <= position < each.end), None)


def _narrowed(reading: MessageReading, values: Sequence[NamedValue], refusing: Sequence[SaidClause]) -> set[int]:
    """Where refused values stand that are refused only together with what stands beside them: "no rugs under 80".

    "no blue rugs" refuses what is blue where rugs are asked for, and refuses no rug.
    """
    bare, found = reading.text, set[int]()
    is_refused = [_inside(value.start, refusing) is not None for value in values]
    wanted = (*reading.state.required, *reading.state.preferred)
    asked = {(each.attribute, each_value) for each in wanted for each_value in each.values}
    asked |= {pair for value, refused in zip(values, is_refused, strict=True) if not refused for pair in _pairs(value)}
    for at in reversed(range(len(values))):
        value = values[at]
        behind = values[at + 1] if at + 1 < len(values) else None
        gap = "" if behind is None else bare[value.end : behind.start]
        if behind is not None and _JOINT.fullmatch(gap):  # "no red or blue rugs"
            is_narrowed = behind.start in found
        else:
            is_narrowed = (
                any(
                    bare[value.end : start].isspace() or bare[end : value.start].isspace()
                    for start, end in reading.undecided
                )
                or (at > 0 and is_refused[at - 1] and bare[values[at - 1].end : value.start].isspace())
                or (behind is not None and gap.isspace() and asked.isdisjoint(_pairs(behind)))
            )
        if is_narrowed:
            found.add(value.start)
    return found


def _pairs(value: NamedValue) -> set[tuple[str, str]]:
    return {(name, each) for name, values in value.attributes.items() for each in values}


def _refuse(reading: MessageReading, value: NamedValue) -> set[str]:
    """Exclude a value; in a correction, one that was asked for is only withdrawn. The attributes of the withdrawn."""
    withdrawn = set[str]()
    words = reading.words(value.start, value.end)
    for name, values in value.attributes.items():
        wanted = (*reading.state.required, *reading.state.preferred)
        held = [each for each in wanted if each.attribute == name and set(each.values) & set(values)]
        if held and reading.corrects:
            reading.relaxes.append(Change(kind="relax", attribute=name, values=values, words=words))
            withdrawn.add(name)
        else:
            reading.excludes.append(Change(kind="exclude", attribute=name, values=values, words=words))
    return withdrawn


def _want(
    reading: MessageReading, name: str, found: Sequence[_Found], numbers: Mapping[int, int], replaces: bool
) -> None:
    """Ask for the values of one attribute; `numbers` has those of alternatives by the places of their values."""
    is_single = reading.vocabulary.kinds[name] == "category"
    earlier = [each for each in (*reading.state.required, *reading.state.preferred) if each.attribute == name]
    first = found[0].value
    before = reading.text[: first.start]
    is_behind = any(start < first.start for start, _ in reading.quiet)  # the "or" of "washable or white" joins the two
    adds = not is_behind and before.strip().count(" ") < 3 and _ADDS.search(before) is not None
    adds = adds or bool(_ADDS_ANYWHERE.search(reading.text))
    replaces = replaces and not adds and (is_single or reading.corrects)
    was_hard = any(each in reading.state.required and each.values for each in earlier)
    for group in [list(found)] if is_single else _alternatives(reading.text, found):
        values = tuple(dict.fromkeys(value for each in group for value in each.value.attributes[name]))
        if adds and is_single and earlier:
            values = tuple(dict.fromkeys((*(value for each in earlier for value in each.values), *values)))
        is_hard = any(each.is_hard for each in group) or (was_hard and (replaces or is_single))
        joins = [each for each in earlier if each.values] if adds and is_single else []
        if not is_single and earlier and group[0].value is first and _OR_FIRST.match(before):
            joins = [max(reversed(earlier), key=lambda each: each.turn)]  # "or a western" joins the latest wish
            values = tuple(dict.fromkeys((*joins[0].values, *values)))
            is_hard = is_hard or joins[0] in reading.state.required
        words = reading.words(group[0].value.start, group[-1].value.end)
        for each in () if adds else replaced_kinds(reading, name, values):
            is_hard = is_hard or each in reading.state.required
            reading.relaxes.append(Change(kind="relax", attribute=each.attribute, values=each.values, words=words))
        alternative = (*(numbers.get(each.value.start) for each in group), *(each.alternative for each in joins))
        reading.sets.append(
            Change(
                kind="set",
                attribute=name,
                values=values,
                hard=is_hard,
                replaces=replaces or is_single,
                words=words,
                alternative=0 if is_hard else next(filter(None, alternative), 0),
            )
        )
        replaces = False


def _numbers_of_alternatives(reading: MessageReading, wanted: Mapping[str, Sequence[_Found]]) -> dict[int, int]:
    """Where values of different attributes stand that "or" joins -> a number for each group: "white or foldable".

    "Black lamps or white rugs" joins two things, each with a value that describes it, and none of their values.
    """
    text, numbers = reading.text, dict[int, int]()
    found = sorted(((each.value, name) for name, each_found in wanted.items() for each in each_found), key=_place)
    described = {other.start for (one, _), (other, _) in pairwise(found) if text[one.end : other.start].isspace()}
    last = max((each.alternative for each in reading.state.preferred), default=0)
    for (one, name), (other, other_name) in pairwise(found):
        is_thing = one.start in described and reading.vocabulary.is_kind(name)
        if name != other_name and not is_thing and _OR_ALONE.fullmatch(text[one.end : other.start]):
            last = last if one.start in numbers else last + 1
            numbers[other.start] = numbers.setdefault(one.start, last)
    return numbers


def _place(found: tuple[NamedValue, str]) -> int:
    return found[0].start


def _alternatives(text: str, found: Sequence[_Found]) -> list[list[_Found]]:
    """Values of tags by what joins them: "drama, war or crime" is one wish, "drama and war" are two."""
    groups, joins = [[found[-1]]], False
    for each, behind in reversed(list(pairwise(found))):
        between = text[each.value.end : behind.value.start]
        joins = _OR.match(between) is not None or (joins and between.strip() == ",")
        if joins:
            groups[0].insert(0, each)
        else:
            groups.insert(0, [each])
    return groups


def _behind_names(reading: MessageReading) -> set[tuple[str, int]]:
    """The attributes that a message names with a value behind, and where the value stands; unknown values are noted."""
    found = set[tuple[str, int]]()
    values = {value.start: value for value in reading.vocabulary.values_in(reading.text)}
    for named in reading.vocabulary.attributes_in(reading.text):
        name = named.attribute
        behind = _NAMED.match(reading.text, named.end)
        if behind is None or reading.vocabulary.kinds[name] == "number":
            continue
        start, word = behind.start("value"), behind["value"]
        known = values.get(start)
        if known is not None and name in known.attributes:
            found.add((name, start))
        elif known is None and (word[0].isupper() or word[0].isdigit() or behind[0].strip()[:1] in ":="):
            written = reading.vocabulary.written(name, word)
            words = reading.take(*behind.span("value"))
            if written is None:
                reading.lacks(words, name)
            else:
                is_single = reading.vocabulary.kinds[name] == "category"
                change = Change(kind="set", attribute=name, values=(written,), replaces=is_single, words=words)
                reading.sets.append(change)
    return found


def _find_missing(
    reading: MessageReading,
    values: Sequence[NamedValue],
    refusing: Sequence[SaidClause],
    limiting: Sequence[SaidClause],
) -> set[int]:
    """Note what a message limits itself to, refuses or asks the shop for, and what no item is called.

    Returns:
        Where the values stand that follow such a word directly, as the blankets of "only teal blankets".
    """
    beside = set[int]()
    asked = [value for value in values if _inside(value.start, refusing) is None]
    wanted = {each for value in asked for _, each in _pairs(value)}
    for clauses, pattern, kind in ((limiting, _ONLY, "required"), (refusing, _REFUSED, "refused")):
        for clause in clauses:
            for found in pattern.finditer(reading.text, clause.mark, clause.end):
                group = next(name for name, word in found.groupdict().items() if word)
                what, (start, end) = found[group], found.span(group)
                is_known = any(value.start <= start < value.end for value in values)
                if is_known or what.lower() in PLAIN_WORDS or what.lower().endswith("n't"):
                    continue
                if _DESCRIBES.match(reading.text, end) or (kind == "required" and _GOES_ON.match(reading.text, end)):
                    continue
                written = reading.words(start, end)
                reading.lacks(written, kind=kind)
                if kind == "refused":
                    weigh_refused(reading, what, written, wanted)
                behind = [
                    value for value in values if not reading.text[end : value.start].strip() and value.start >= end
                ]
                beside |= {value.start for value in behind}
                if kind == "refused" or behind:
                    reading.take(start if behind else found.start(), end)
    maker = reading.vocabulary.attribute_named("brand")
    for found in _MADE_BY.finditer(reading.text) if maker is not None else ():
        if all(not value.start <= found.start("maker") < value.end for value in values):
            reading.lacks(reading.take(*found.span("maker")), maker)
    for found in _CARRIES.finditer(reading.text):
        what = (found["what"] or found["that"]).split(TAKEN)[0]
        what = re.split(r"\b(?:in|for|under|with|that|which|from|at|please|here)\b", what)[0].strip()
        at = found.start("what" if found["what"] else "that")
        known = [value for value in values if at <= value.start < at + len(what)]
        rest = "".join(
            " " if any(each.start <= at + place < each.end for each in known) else letter
            for place, letter in enumerate(what)
        )
        words = [word for word in re.findall(r"[\w'-]+", rest) if word.lower() not in PLAIN_WORDS]
        if words:
            reading.lacks(" ".join(words), kind="asked", min_cosine=MIN_REFUSED_COSINE)
    return beside
