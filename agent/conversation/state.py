"""The state of a conversation: what a person asked for and refused, what they were shown, and what they said of it.

It is plain, frozen data. Each condition keeps the turn and the words that it comes from, so that a person can see and
edit it, and so that a withdrawal leaves nothing of it behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from deeprec.trm_tool import Condition, ConfigError
from deeprec.trm_tool.errors import unlabelled

Source = Literal["message", "model", "person"]
"""Who stated something: the words of a message, a model that proposed it, or a person who edited the state."""
FeedbackKind = Literal["liked", "disliked", "bought", "in_cart"]
"""What a person did with an item. `bought` is also what they have or have seen already."""

MAX_SAID = 20
"""Texts that are kept for retrievals, the newest."""
MAX_SHOWN = 500
"""Shown items that are kept, the newest."""
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedCondition:
    """One condition on one attribute: values of which an item has one, or one end of a range."""

    attribute: str
    values: tuple[str, ...] = ()
    """Values as the catalogue writes them; empty for a bound."""
    minimum: float | None = None
    maximum: float | None = None
    """Both ends pass. A range is held as two conditions, so that each end can be replaced by itself."""
    turn: int = 0
    """The turn that stated it, from 1; 0 is before the first."""
    words: str = ""
    """The words that stated it, as they stand in the message."""
    source: Source = "message"
    alternative: int = 0
    """Wishes with the same number, from 1, are alternatives: an item that has one of them has what was asked for. 0
    stands alone."""

    def __post_init__(self) -> None:
        ends = [end for end in (self.minimum, self.maximum) if end is not None]
        if not self.attribute or len(ends) + bool(self.values) != 1 or not all(map(math.isfinite, ends)):
            raise ConfigError(
                f"A condition on {self.attribute[:80]!r} has {len(self.values)} values and the ends {ends}. "
                "Give an attribute, and either values, a finite minimum or a finite maximum."
            )

    @property
    def condition(self) -> Condition:
        """The condition as `where` writes it, for a condition that must hold: `{"in": [...]}`, `{"max": 20.0}`."""
        if self.minimum is not None:
            return {"min": self.minimum}
        return {"in": list(self.values)} if self.maximum is None else {"max": self.maximum}


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidText:
    """What a message said beside its constraints; it weighs in retrievals."""

    turn: int
    text: str
    """What retrievals get: with English words of grammar in the places of German ones."""
    words: str = ""
    """The same as the person wrote it, where that differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that a person or a model asked for and that the catalogue lacks."""

    words: str
    """The value as it was written, or the name of the attribute where no item has such an attribute."""
    attribute: str | None = None
    """The attribute that lacks the value; None where that is unknown, or the attribute itself is missing."""
    nearest: tuple[str, ...] = ()
    """Similar values that items have, the closest first, as the catalogue writes them."""
    kind: Literal["required", "refused", "asked"] = "asked"
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOrder:
    """A superlative: the items with the least or the greatest number, "the cheapest"."""

    attribute: str
    descending: bool = False
    """Whether the greatest number comes first."""
    everywhere: bool = False
    """Whether it was asked of the whole catalogue, whatever only weighs: "the cheapest thing you have"."""
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownItem:
    """An item of a list that a person saw."""

    item_id: str
    turn: int
    position: int
    """Place in its list, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a person did with an item, or thinks of it."""

    item_id: str
    kind: FeedbackKind
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question that the person was asked about an attribute."""

    attribute: str
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationState:
    """All that is known of a person in a thread. Items are named by their ids."""

    __pydantic_config__ = _STRICT

    turn: int = 0
    """Messages so far."""
    language: str = "en"
    """The language that the person writes: `en`, or `de` once a message was German."""
    required: tuple[StatedCondition, ...] = ()
    """Hard constraints: every item passes each of them."""
    refused: tuple[StatedCondition, ...] = ()
    """Hard constraints: no item has one of these values."""
    preferred: tuple[StatedCondition, ...] = ()
    """What weighs, and excludes nothing."""
    disliked: tuple[StatedCondition, ...] = ()
    """Values that weigh against an item, and exclude none."""
    said: tuple[SaidText, ...] = ()
    """What the messages said beside their constraints, oldest first."""
    missing: tuple[Missing, ...] = ()
    """What was asked for and the catalogue lacks, until it is replaced or withdrawn."""
    order: ItemOrder | None = None
    similar_to: tuple[str, ...] = ()
    """Items that new ones are to resemble."""
    focus: tuple[str, ...] = ()
    """Items that were referred to last."""
    set_aside: tuple[str, ...] = ()
    """Items that are not to come back, since something else was asked for."""
    shown: tuple[ShownItem, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    asked: tuple[AskedQuestion, ...] = ()
    indifferent: tuple[str, ...] = ()
    """Attributes that do not matter to the person."""

    def __post_init__(self) -> None:
        for each in (*self.refused, *self.disliked):
            if not each.values:
                raise ConfigError(f"A bound on {each.attribute[:80]!r} is refused. State the other end as required.")

    @property
    def last_list(self) -> tuple[str, ...]:
        """Ids of the list that was shown last, in its order; empty before the first."""
        latest = max((item.turn for item in self.shown), default=0)
        listed = [item for item in self.shown if item.turn == latest]
        return tuple(item.item_id for item in sorted(listed, key=lambda item: item.position))

    @property
    def open_question(self) -> str | None:
        """The attribute that the last turn asked about, which the next message may answer."""
        return self.asked[-1].attribute if self.asked and self.asked[-1].turn == self.turn else None

    def items_with(self, *kinds: FeedbackKind) -> tuple[str, ...]:
        """Ids of the items that have feedback of these kinds, each once, oldest first."""
        return tuple(dict.fromkeys(each.item_id for each in self.feedback if each.kind in kinds))

    def with_shown(self, item_ids: Sequence[str]) -> ConversationState:
        """The state after a list was shown in this turn, best first. A later list of the turn replaces it."""
        before = [item for item in self.shown if item.turn != self.turn]
        now = [
            ShownItem(item_id=item_id, turn=self.turn, position=position)
            for position, item_id in enumerate(dict.fromkeys(item_ids), start=1)
        ]
        return replace(self, shown=(*before, *now)[-MAX_SHOWN:], focus=())

    def with_feedback(self, kind: FeedbackKind, item_ids: Sequence[str]) -> ConversationState:
        """The state after a person did something with items. What they think of an item replaces what they thought.

        An item counts as `in_cart` or newly `bought` once the tool that does it has confirmed it.
        """
        opposite = {"liked": "disliked", "disliked": "liked"}.get(kind)
        kept = [each for each in self.feedback if each.item_id not in item_ids or each.kind not in (kind, opposite)]
        new = [Feedback(item_id=item_id, kind=kind, turn=self.turn) for item_id in dict.fromkeys(item_ids)]
        return replace(self, feedback=(*kept, *new))

    def without_feedback(self, kind: FeedbackKind, item_ids: Sequence[str]) -> ConversationState:
        """The state after feedback was taken back, such as an item that left the cart."""
        kept = [each for each in self.feedback if each.item_id not in item_ids or each.kind != kind]
        return replace(self, feedback=tuple(kept))

    def with_question(self, attribute: str) -> ConversationState:
        """The state after the person was asked about an attribute in this turn."""
        return replace(self, asked=(*self.asked, AskedQuestion(attribute=attribute, turn=self.turn)))

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON values, which `read_state` reads back."""
        written: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return written


def alternatives(conditions: Sequence[StatedCondition]) -> tuple[tuple[StatedCondition, ...], ...]:
    """Group conditions by what joins them: those of one group are alternatives, and each other one is by itself."""
    groups: dict[object, list[StatedCondition]] = {}
    for at, each in enumerate(conditions):
        groups.setdefault(("or", each.alternative) if each.alternative else at, []).append(each)
    return tuple(map(tuple, groups.values()))


def read_state(value: object) -> ConversationState:
    """Read a state from JSON values.

    Args:
        value: A mapping as `ConversationState.to_dict` writes it. Fields that are left out have their defaults.

    Raises:
        ConfigError: a field is unknown, has another type, or a condition makes no sense; the field is named.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"The state of a conversation is {str(value)[:80]!r}. Give the mapping that to_dict wrote.")
    try:
        import json

        return _adapter().validate_json(json.dumps(dict(value), allow_nan=False))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        why = unlabelled(first["msg"]).rstrip(".")
        raise ConfigError(
            f"The state of a conversation has {str(first['input'])[:80]!r} at {place}: {why}. Give what "
            "ConversationState.to_dict wrote."
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"The state of a conversation is not JSON ({str(error)[:80]}). Give what to_dict wrote."
        ) from None


@cache
def _adapter() -> TypeAdapter[ConversationState]:
    return TypeAdapter(ConversationState)
