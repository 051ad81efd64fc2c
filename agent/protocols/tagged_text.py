"""The text of a turn in the tagged protocol: how it is read, and the grammar that a guided one is held to."""

from __future__ import annotations

import re

from deeprec.agent.protocols.tags import (
    BEGIN_ITEMS,
    BEGIN_LIST,
    BEGIN_PREFERENCE,
    BEGIN_THOUGHT,
    END_ITEMS,
    END_LIST,
    END_PREFERENCE,
    END_THOUGHT,
)
from deeprec.agent.protocols.turn import Allowance, Decision, read_preference, segments_regex, thought_regex

LIST_LINE = re.compile(r"\s*#?(\d{1,6})(?!\d)")
"""The beginning of a line that names an item by its number."""
_TAGS = (BEGIN_THOUGHT, END_THOUGHT, BEGIN_PREFERENCE, END_PREFERENCE, BEGIN_ITEMS, END_ITEMS, BEGIN_LIST, END_LIST)


def tagged_regex(allowance: Allowance) -> str:
    """A regular expression for a guided turn: a thought, then a preference or the opening of the list.

    The preference is made of the phrases on offer; which of the two may come is what the allowance leaves.
    """
    ways = []
    if allowance.phrases:
        ways.append(f"{re.escape(BEGIN_PREFERENCE)}{preference_regex(allowance)}")
    if allowance.may_rank or not ways:
        ways.append(f"{BEGIN_LIST}\n")
    return f"{BEGIN_THOUGHT}{thought_regex(allowance)}{END_THOUGHT}\n({'|'.join(ways)})"


def preference_regex(allowance: Allowance) -> str:
    """A regular expression for a guided preference whose opening tag the prompt has written, up to its closing tag."""
    return f"{segments_regex(allowance)}{re.escape(END_PREFERENCE)}"


def read_tagged(
    text: str, *, cut: bool = False, guided: bool = False, lenient: bool = False, may_be_empty: bool = False
) -> Decision:
    """Read what the model wrote in one turn; whatever is neither a preference nor a list is malformed.

    Args:
        text: The turn's text, with the list's opening tag where that came from the prompt.
        cut: Whether the token limit ended the text.
        guided: Whether the server held the model to the format; the list may then stay open.
        lenient: Whether a list or a preference may also stay open, its tags may be written somewhat otherwise, several
            numbers may stand in a line, and what is too long is cut.
        may_be_empty: Whether nothing between the tags of a preference is a retrieval of the recommender's own list.
    """
    if lenient:
        return _read_leniently(text, cut=cut, may_be_empty=may_be_empty)
    thought = _between(text, BEGIN_THOUGHT, END_THOUGHT)
    if BEGIN_LIST in text:
        if END_LIST in text:
            body = text.split(BEGIN_LIST, 1)[1].split(END_LIST, 1)[0]
        elif guided:
            body = text.split(BEGIN_LIST, 1)[1]
        else:
            return _cut_or_malformed(cut, thought, "the list was not closed")
        lines = [line for line in body.splitlines() if line.strip()]
        found = [LIST_LINE.match(line) for line in lines]
        numbers = tuple(int(match.group(1)) for match in found if match)
        if not numbers and not guided:
            return Decision(action="malformed", thought=thought, detail="the list names no number")
        return Decision(action="recommend", thought=thought, numbers=numbers, unread=len(lines) - len(numbers))
    inside = _between(text, BEGIN_PREFERENCE, END_PREFERENCE)
    if inside is None:
        return _cut_or_malformed(cut, thought, "neither a preference nor a list")
    if any(tag in inside for tag in _TAGS):
        return Decision(action="malformed", thought=thought, detail="a tag inside the preference")
    preference, why = read_preference(inside, may_be_empty=may_be_empty)
    if preference is None:
        return Decision(action="malformed", thought=thought, detail=why)
    return Decision(action="retrieve", thought=thought, preference=preference)


def _read_leniently(text: str, *, cut: bool, may_be_empty: bool) -> Decision:
    before, _, after_thought = text.rpartition(END_THOUGHT)
    thought = before.replace(BEGIN_THOUGHT, "").strip() or None
    opened = _OPENING.search(after_thought)
    if opened is None:
        return _cut_or_malformed(cut, thought, "neither a preference nor a list")
    rest = after_thought[opened.end() :]
    closed = _ANY_TAG.search(rest)
    body = rest[: closed.start()] if closed else rest
    if opened["list"]:
        lines = [line for line in body.splitlines() if line.strip()]
        if cut and closed is None:
            lines = lines[:-1]  # its number may be the half of one
        named = [_numbers_of(line) for line in lines]
        numbers = tuple(number for line in named for number in line)
        if numbers:
            return Decision(action="recommend", thought=thought, numbers=numbers, unread=named.count([]))
        if closed is None or not BEGIN_PREFERENCE.startswith(closed[0]):
            return _cut_or_malformed(cut, thought, "the list names no number")
        rest = rest[closed.end() :]
        closed = _ANY_TAG.search(rest)
        body = rest[: closed.start()] if closed else rest
    may_be_empty = (
        may_be_empty and closed is not None and END_PREFERENCE.startswith(closed[0])
    )  # what is cut is no choice
    preference, why = read_preference(" ".join(body.split()), cut=True, may_be_empty=may_be_empty)
    if preference is None:
        return Decision(action="malformed", thought=thought, detail=why)
    return Decision(action="retrieve", thought=thought, preference=preference, detail=why)


_OPENING = re.compile(r"<\|?\s*(?:begin_of_)?(?:preference|(?P<list>recommendation_list))\s*\|?>")
_ANY_TAG = re.compile(r"<[|/]*\s*[a-z_]+\s*\|?>")
_NUMBERS_ONLY = re.compile(r"[\s#\d,;.]*\d[\s#\d,;.]*")


def _numbers_of(line: str) -> list[int]:
    """The numbers of a line of nothing but numbers, else the one that it begins with."""
    if _NUMBERS_ONLY.fullmatch(line):
        return [int(number) for number in re.findall(r"\d+", line) if len(number) < 7]
    found = LIST_LINE.match(line)
    return [int(found.group(1))] if found else []


def _cut_or_malformed(cut: bool, thought: str | None, why: str) -> Decision:
    if not cut:
        return Decision(action="malformed", thought=thought, detail=why)
    detail = f"{why}; the token limit cut the text"
    return Decision(action="malformed", thought=thought, detail=detail, stopped="truncated")


def _between(text: str, begin: str, end: str) -> str | None:
    start = text.find(begin)
    stop = text.find(end, start + len(begin))
    return text[start + len(begin) : stop].strip() if start >= 0 and stop >= 0 else None
