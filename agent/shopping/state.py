"""The state of the shopping graph: plain data only, so that any checkpointer can keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict  # typing's own is refused by pydantic before Python 3.12

from deeprec.agent.graph.messages import ThreadMessages


class ShoppingInput(TypedDict, total=False):
    """What one turn takes. On a thread that goes on, all but `edit` stays."""

    messages: ThreadMessages
    """The conversation; its last human message is the turn's, unless it was answered already."""
    history: list[str]
    """Ids of the items that the person chose before the conversation, oldest first."""
    person: str | None
    """The caller's key of the person, for the cart and the trace. Without it the thread's own cart is used."""
    edit: Mapping[str, Any] | None
    """A change that the person made by hand, as `deeprec.agent.conversation.read_delta` reads it."""
    heard: str | None
    """Id of the message that was read last. Give it with an edit to pass over a message whose answer was stopped."""
    conversation: dict[str, Any]
    """What is known, as `ConversationState.to_dict` writes it."""


class ShoppingOutput(TypedDict, total=False):
    """What one turn gives."""

    messages: ThreadMessages
    conversation: dict[str, Any]
    reply: dict[str, Any]
    """The `Reply` as JSON values."""


class ShoppingState(ShoppingInput, ShoppingOutput, total=False):
    """What the nodes read and write."""

    turn: dict[str, Any]
    """What the present turn decided and found so far, a `TurnPlan` as plain data."""
    repeated: dict[str, Any]
    """What was searched last, as a digest, and how often in a row its list was shown."""
