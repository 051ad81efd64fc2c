"""What a thread knows when a turn begins: its state, or what the messages alone tell where a client keeps no state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    apply_delta,
    delta_of_message,
    read_state,
)
from deeprec.agent.conversation.state import MAX_SHOWN
from deeprec.agent.graph.messages import DATA_KEY
from deeprec.agent.shopping.state import ShoppingState
from deeprec.trm_tool.text import whole_characters

MAX_READ_AGAIN = 40
"""Messages of a client without state that are read again, the latest ones."""


def conversation_of(state: ShoppingState, catalogue: ConversationCatalogue) -> ConversationState:
    """What is known in a thread.

    A client that keeps no state sends all messages with each turn, such as a supervisor: what was said before the last
    message is then read again.

    Raises:
        ConfigError: `conversation` holds something else than a state.
    """
    if state.get("conversation") is not None:
        return _known(read_state(state["conversation"]), catalogue)
    messages = state.get("messages") or []
    last = max((at for at, each in enumerate(messages) if isinstance(each, HumanMessage)), default=0)
    return _read_again(messages[:last][-MAX_READ_AGAIN:], catalogue)


def last_heard(state: ShoppingState) -> tuple[HumanMessage | None, str | None]:
    """The message of this turn, None where the last one was answered already; and the id of the last one."""
    said = [each for each in state.get("messages") or [] if isinstance(each, HumanMessage)]
    if not said:
        return None, state.get("heard")
    message = said[-1]
    return (None if message.id is not None and message.id == state.get("heard") else message), message.id


def _known(state: ConversationState, catalogue: ConversationCatalogue) -> ConversationState:
    """The state without items that the catalogue does not have, since it was made with another one."""
    here = catalogue.catalogue
    return replace(
        state,
        shown=tuple(each for each in state.shown if each.item_id in here),
        feedback=tuple(each for each in state.feedback if each.item_id in here),
        similar_to=tuple(each for each in state.similar_to if each in here),
        focus=tuple(each for each in state.focus if each in here),
        set_aside=tuple(each for each in state.set_aside if each in here)[-MAX_SHOWN:],
    )


def _read_again(messages: Sequence[AnyMessage], catalogue: ConversationCatalogue) -> ConversationState:
    state = ConversationState()
    for message in messages:
        if isinstance(message, HumanMessage):
            state = apply_delta(state, delta_of_message(whole_characters(str(message.text)), state, catalogue))
        elif isinstance(message, AIMessage):
            reply = message.additional_kwargs.get(DATA_KEY)
            items = reply.get("items") if isinstance(reply, dict) and reply.get("kind") == "list" else None
            ids = [each.get("item_id") for each in items or () if isinstance(each, dict)]
            if known := [item_id for item_id in ids if isinstance(item_id, str) and item_id in catalogue.catalogue]:
                state = state.with_shown(known)
    return state
