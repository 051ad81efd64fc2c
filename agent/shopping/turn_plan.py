"""What a turn has decided and found so far, as the graph hands it from node to node."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from deeprec.agent.conversation import ConversationState, RequestedAction, Unresolved
from deeprec.agent.shopping.reply import ConfirmedAction

Intent = Literal[
    "search",
    "facts",
    "catalogue",
    "count",
    "comparison",
    "explanation",
    "cart",
    "state",
    "feedback",
    "unclear",
    "greeting",
]
"""What a turn answers: with a search; about items; about what the catalogue can be asked for; how many items it has of
something; by comparing items; why items are shown; what is in the cart; what is known; what somebody thinks of items;
by asking which item is meant, or what is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found."""

    item_ids: tuple[str, ...] = ()
    """The list, best first; each item passes every hard constraint."""
    candidates: tuple[str, ...] = ()
    """Items that fit so far, best first, among which a question is chosen."""
    nearest: tuple[str, ...] = ()
    """Items that pass some of the constraints, where none passes all."""
    problems: tuple[str, ...] = ()
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """One turn."""

    intent: Intent
    message: str = ""
    before: ConversationState = field(default_factory=ConversationState)
    """What was known before the turn."""
    item_ids: tuple[str, ...] = ()
    """The items that the turn is about."""
    attributes: tuple[str, ...] = ()
    """The attributes that it asks about."""
    unresolved: tuple[Unresolved, ...] = ()
    actions: tuple[RequestedAction, ...] = ()
    confirmed: tuple[ConfirmedAction, ...] = ()
    problems: tuple[str, ...] = ()
    not_understood: str = ""
    """The message, where it states nothing and no word of it that may name something stands in the catalogue."""
    wants_more: bool = False
    """Whether items are asked for that were not in the lists before."""
    found: Found = field(default_factory=Found)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values, which `read_plan` reads back."""
        written: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return written


def read_plan(value: object) -> TurnPlan:
    """Read a plan from what `TurnPlan.to_dict` wrote."""
    return _adapter().validate_json(json.dumps(value))


@cache
def _adapter() -> TypeAdapter[TurnPlan]:
    return TypeAdapter(TurnPlan)
