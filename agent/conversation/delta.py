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
from deeprec.trm_tool.catalogue.written_numbers import MAX_DIGITS
from deeprec.trm_tool.text import plain

ChangeKind = Literal["set", "exclude", "relax", "clear"]
ActionKind = Literal["add_to_cart", "remove_from_cart", "buy"]

MAX_CHANGES = 20
MAX_VALUES = 20
MAX_VALUE_CHARS = 80
_SHOWN_CHARS = 80
_FEEDBACK: tuple[FeedbackKind, ...] = ("liked", "disliked", "bought")
"""What a person may state of an item by themselves; `in_cart` is the cart's to confirm."""


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
    alternative: int = 0
    """`StatedCondition.alternative` of its values."""

    def with_end(self, number: float, *, is_minimum: bool) -> Change:
        """The change with one end of a range."""
        return replace(self, minimum=number) if is_minimum else replace(self, maximum=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidFeedback:
    """What a message says of items that were shown."""

    kind: FeedbackKind
    item_ids: tuple[str, ...]
    words: str = ""
    taken_back: bool = False
    """Whether what was said of them before no longer holds."""


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
    unused: tuple[str, ...] = ()
    """Words that refer to items of which the message changes nothing."""
    focus: tuple[str, ...] = ()
    """Those that it refers to last, which "it" and "that one" then mean."""
    set_aside: tuple[str, ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    missing: tuple[Missing, ...] = ()
    said: str = ""
    """What the message says beside all of this, for retrievals; empty where nothing is left."""
    said_words: str = ""
    """The same as the person wrote it, where that differs."""


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
            `maximum` and `hard`. A number may also be a text of digits. A person's own edit may also have `feedback`
            and `actions`, each with `kind` and `item_ids` (a list, or one id): what the buttons beside an item do. A
            feedback with `taken_back` true withdraws an earlier one.
        turn: The turn that it belongs to.
        source: Who proposes it.
    """
    if not isinstance(value, Mapping):
        return StateDelta(turn=turn), (_problem("", value, "a delta is an object with a list of changes"),)
    fields = ("changes", "feedback", "actions") if source == "person" else ("changes",)
    reason = f"there is no such field; use {', '.join(fields)}"
    problems = [_problem(str(key), value[key], reason) for key in value if key not in fields]
    changes, feedback, actions = [], [], []
    for name in fields:
        for place, each in _listed(name, value.get(name, []), problems):
            parts = _change(place, each, source) if name == "changes" else [_about_items(place, each, name)]
            problems += [part for part in parts if isinstance(part, DeltaProblem)]
            changes += [part for part in parts if isinstance(part, Change)]
            feedback += [part for part in parts if isinstance(part, SaidFeedback)]
            actions += [part for part in parts if isinstance(part, RequestedAction)]
    delta = StateDelta(turn=turn, changes=tuple(changes), feedback=tuple(feedback), actions=tuple(actions))
    return delta, tuple(problems)


def _listed(name: str, listed: object, problems: list[DeltaProblem]) -> list[tuple[str, object]]:
    """The parts of a field of a delta with their places; what is wrong is added to the problems."""
    if isinstance(listed, Mapping):
        listed = [listed]
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        problems.append(_problem(name, listed, f"give a list of {name}"))
        return []
    if len(listed) > MAX_CHANGES:
        problems.append(_problem(f"{name}.{MAX_CHANGES}", len(listed), f"{MAX_CHANGES} {name} are read"))
    return [(f"{name}.{at}", each) for at, each in enumerate(listed[:MAX_CHANGES])]


def _about_items(place: str, value: object, name: str) -> SaidFeedback | RequestedAction | DeltaProblem:
    """One feedback or one requested action of a person's edit."""
    if not isinstance(value, Mapping):
        return _problem(place, value, "it is an object with kind and item_ids")
    kind: Any = value.get("kind")
    ids: Any = value.get("item_ids")
    kinds = _FEEDBACK if name == "feedback" else get_args(ActionKind)
    if kind not in kinds:
        return _problem(f"{place}.kind", kind, f"use {', '.join(kinds)}")
    ids = [ids] if isinstance(ids, str) else ids
    if not isinstance(ids, Sequence) or not ids or not all(isinstance(each, str) and each for each in ids):
        return _problem(f"{place}.item_ids", ids, "name items by their ids")
    named = tuple(dict.fromkeys(ids[:MAX_VALUES]))
    taken_back = value.get("taken_back", False)
    if not isinstance(taken_back, bool):
        return _problem(f"{place}.taken_back", taken_back, "give true or false")
    if name == "feedback":
        return SaidFeedback(kind=kind, item_ids=named, taken_back=taken_back)
    return RequestedAction(kind=kind, item_ids=named)


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
            yield _word(each)


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
