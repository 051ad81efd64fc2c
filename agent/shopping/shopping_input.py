"""The input of a turn is checked before LangGraph drops the keys that it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from deeprec.agent.graph.messages import check_messages
from deeprec.agent.graph.request_settings import is_nested
from deeprec.agent.shopping.state import ShoppingInput, ShoppingState
from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.text import whole_characters

MAX_DEPTH = 8
"""How deep an edit may be nested."""


def take_input(request: object) -> object:
    """Return what the graph was called with.

    As part of another graph it gets the whole state of that one, so that there only keys that resemble one of its own
    are refused.

    Raises:
        ConfigError: a key is unknown, `messages` holds something else than messages, or `person` is no text.
    """
    if not isinstance(request, Mapping):
        return request
    if request.get("messages") is not None:
        check_messages(request["messages"])
    person = request.get("person")
    if person is not None and not isinstance(person, str):
        raise ConfigError(
            f"`person` is the {type(person).__name__} {str(person)[:80]!r}. Pass the person's key as a text."
        )
    names = [name for name in ShoppingInput.__annotations__ if name not in request]
    is_part = is_nested()
    for key in request:
        if key in ShoppingState.__annotations__:
            continue
        close = get_close_matches(str(key).casefold(), names, n=1, cutoff=0.8 if is_part else 0.6)
        if close or not is_part:
            meant = f"Did you mean {close[0]!r}? " if close else ""
            known = ", ".join(ShoppingInput.__annotations__)
            raise ConfigError(f"A turn has no {str(key)[:80]!r}. {meant}It may have {known}.")
    return request


def storable_edit(edit: object, depth: int = 0) -> object:
    """An edit from outside as LangGraph can keep it: integers of more than 64 bits, and deep nesting, become texts.

    `read_delta` then names them. Halves of characters, in keys too, become question marks. A checkpointer sees the
    input before the graph does, so that callers convert it.
    """
    if depth > MAX_DEPTH:
        return "a value nested too deep"
    if isinstance(edit, str):
        return whole_characters(edit)
    if isinstance(edit, Mapping):
        return {
            whole_characters(key) if isinstance(key, str) else key: storable_edit(value, depth + 1)
            for key, value in edit.items()
        }
    if isinstance(edit, list | tuple):
        return [storable_edit(value, depth + 1) for value in edit]
    return "a number of too many digits" if isinstance(edit, int) and not -(2**63) <= edit < 2**63 else edit
