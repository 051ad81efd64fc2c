"""A change of a conversation's state, as a message implies it or a model proposes it.

A model proposes `changes` as JSON, such as `{"changes": [{"kind": "set", "attribute": "colour", "values": ["blue"]}]}`.
`read_delta` keeps what is right of it and names what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from deeprec.agent.conversation.state import FeedbackKind, ItemOrder, Missing, Source
from deeprec.trm_tool.catalogue.said_numbers import MAX_DIGITS
from deeprec.trm_tool.text import plain

ChangeKind = Literal["set", "exclude", "relax", "clear"]
ActionKind = Literal["add_to_cart", "remove_from_cart", "buy"]

MAX_CHANGES = 20
MAX_VALUES = 20
MAX_VALUE_CHARS = 80
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of what is asked for.

    `set` asks for values or bounds, `exclude` refuses values, `relax` withdraws what was said of an attribute, and
    `clear` withdraws everything.
    """

    kind: ChangeKind
    attribute: str = ""
    """Empty for `clear`."""
    values: tuple[str, ...] = ()
    """An item has one of them. Without values and bounds, `relax` withdraws everything about the attribute."""
    minimum: float | None = None
    maximum: float | None = None
    """Both ends pass. For `relax`, which ends are withdrawn, whatever their numbers."""
    hard: bool = True
    """Whether items without it are excluded; otherwise it weighs. `clear` withdraws what only weighs without it."""
    replaces: bool = False
    """Whether it takes the place of all other values that were asked for of the attribute."""
    words: str = ""
    """The words that state it, as they stand in the message."""
    source: Source = "message"

    def with_end(self, number: float, *, is_minimum: bool) -> Change:
        """The change with one end of a range."""
        return replace(self, minimum=number) if is_minimum else replace(self, maximum=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidFeedback:
    """What a message says of items that were shown."""

    kind: FeedbackKind
    item_ids: tuple[str, ...]
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedAction:
    """What a message asks to be done with items. It changes no state before a tool has confirmed it."""

    kind: ActionKind
    item_ids: tuple[str, ...]
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """Words that refer to an item and do not decide which: the person has to be asked."""

    words: str
    item_ids: tuple[str, ...] = ()
    """The shown items that may be meant; empty where none is."""
    reason: str = ""
    """Why the words do not decide, as one sentence for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDelta:
    """What one turn changes. `apply_delta` applies it."""

    turn: int = 0
    """The turn that it belongs to, from 1."""
    changes: tuple[Change, ...] = ()
    """The changes, in the order in which they are applied."""
    order: ItemOrder | None = None
    feedback: tuple[SaidFeedback, ...] = ()
    actions: tuple[RequestedAction, ...] = ()
    similar_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    """Items that the message refers to, in its order."""
    focus: tuple[str, ...] = ()
    """Those that it refers to last, which "it" and "that one" then mean."""
    set_aside: tuple[str, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    missing: tuple[Missing, ...] = ()
    said: str = ""
    """What the message says beside all of this, for retrievals; empty where nothing is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaProblem:
    """A part of a proposed delta that was left out."""

    place: str
    """The field, such as `changes.1.attribute`."""
    reason: str
    """What was seen, why it does not work, and what to do."""


def read_delta(value: object, *, turn: int, source: Source = "model") -> tuple[StateDelta, tuple[DeltaProblem, ...]]:
    """Read a delta that a model, or a page, proposes. What is wrong is left out and named; the rest is kept.

    Args:
        value: A mapping with `changes`, each with `kind`, `attribute`, `values` (a list, or one value), `minimum`,
            `maximum` and `hard`. A number may also be a text of digits.
        turn: The turn that it belongs to.
        source: Who proposes it.
    """
    if not isinstance(value, Mapping):
        return StateDelta(turn=turn), (_problem("", value, "a delta is an object with a list of changes"),)
    problems = [
        _problem(str(key), value[key], "there is no such field; use changes") for key in value if key != "changes"
    ]
    listed = value.get("changes", [])
    if isinstance(listed, Mapping):
        listed = [listed]
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        return StateDelta(turn=turn), (*problems, _problem("changes", listed, "give a list of changes"))
    changes = []
    for at, each in enumerate(listed[:MAX_CHANGES]):
        found = _change(f"changes.{at}", each, source)
        problems += [part for part in found if isinstance(part, DeltaProblem)]
        changes += [part for part in found if isinstance(part, Change)]
    if len(listed) > MAX_CHANGES:
        problems.append(_problem(f"changes.{MAX_CHANGES}", len(listed), f"{MAX_CHANGES} changes are read"))
    return StateDelta(turn=turn, changes=tuple(changes)), tuple(problems)


def _change(place: str, value: object, source: Source) -> list[Change | DeltaProblem]:
    """One change and its problems; a change that has nothing right left is missing."""
    if not isinstance(value, Mapping):
        return [_problem(place, value, "a change is an object")]
    kind: Any = value.get("kind")
    attribute = value.get("attribute", "")
    if kind not in get_args(ChangeKind):
        return [_problem(f"{place}.kind", kind, f"use {', '.join(get_args(ChangeKind))}")]
    if not isinstance(attribute, str) or (not attribute and kind != "clear"):
        return [_problem(f"{place}.attribute", attribute, "name an attribute of the catalogue")]
    found: list[Change | DeltaProblem] = [
        _problem(f"{place}.{str(key)[:40]}", value[key], "there is no such field")
        for key in value
        if key not in ("kind", "attribute", "values", "minimum", "maximum", "hard")
    ]
    ends = {name: _number(value.get(name)) for name in ("minimum", "maximum")}
    for name, end in ends.items():
        if value.get(name) is not None and end is None:
            found.append(_problem(f"{place}.{name}", value[name], "give a finite number"))
    hard = value.get("hard", True)
    if not isinstance(hard, bool):
        found.append(_problem(f"{place}.hard", hard, "give true or false"))
        hard = False
    values = list(_values(value.get("values", ())))
    written = [each for each in values if each]
    found += [_problem(f"{place}.values", value["values"], "give words")] if len(written) < len(values) else []
    if kind in ("set", "exclude") and not written and (kind == "exclude" or ends == {"minimum": None, "maximum": None}):
        return [*found, _problem(place, dict(value), "it names neither a value nor a bound")]
    if kind == "exclude" and ends != {"minimum": None, "maximum": None}:
        found.append(_problem(place, dict(value), "bounds cannot be excluded; set the other end"))
        ends = {"minimum": None, "maximum": None}
    return [
        *found,
        Change(
            kind=kind,
            attribute=attribute,
            values=tuple(dict.fromkeys(written)),
            minimum=ends["minimum"],
            maximum=ends["maximum"],
            hard=hard,
            source=source,
        ),
    ]


def _values(value: object) -> Iterator[str]:
    """The values as text; an empty one stands for what is no value."""
    listed = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    for each in listed[:MAX_VALUES]:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            yield ""
        else:
            yield plain(
                f"{each:.12g}" if isinstance(each, float) else str(each)[: 4 * MAX_VALUE_CHARS], MAX_VALUE_CHARS
            )


def _word(value: str | float) -> str:
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        return ""  # Python writes no integer of thousands of digits
    text = f"{value:.12g}" if isinstance(value, float) else str(value)[: 4 * MAX_VALUE_CHARS]
    return plain(text, MAX_VALUE_CHARS)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= 1e300 else None


def _problem(place: str, seen: object, reason: str) -> DeltaProblem:
    try:
        shown = plain(repr(seen), _SHOWN_CHARS)
    except ValueError:  # an integer of more than 4,300 digits
        shown = "a number too long to show"
    return DeltaProblem(place=place, reason=f"{place or 'The delta'} is {shown}; {reason}.")
