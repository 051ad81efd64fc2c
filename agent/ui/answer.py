"""One turn of the shopping agent as parts of the page: what it does, as it does it, and the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.ui.steps import turn_steps
from deeprec.agent.ui.thread_view import Entry, ThreadView, thread_view
from deeprec.agent.ui.turns import Part
from deeprec.agent.views import page_environment
from deeprec.trm_tool import CatalogueView
from deeprec.trm_tool.errors import DeepRecError

TEMPLATES = Path(__file__).parent / "templates"
_READY = "The answer is ready."

_log = logging.getLogger(__name__)


async def read_thread(
    agent: CompiledStateGraph[Any, Any, Any, Any], thread: str, catalogue: CatalogueView
) -> ThreadView:
    """Read the state of a thread from the agent's checkpointer."""
    snapshot = await agent.aget_state({"configurable": {"thread_id": thread}})
    return thread_view(snapshot.values, catalogue)


async def answer(
    agent: CompiledStateGraph[Any, Any, Any, Any],
    catalogue: CatalogueView,
    address: str,
    asked: Mapping[str, Any],
    thread: str,
    add: Callable[[Part], None],
) -> None:
    """Run one turn and add its parts. It ends with a part `end` in any case: answered, stopped or failed.

    Args:
        agent: The shopping agent, with a checkpointer.
        catalogue: What it recommends from.
        address: The address of the conversation, without a closing slash.
        asked: The input of the turn: `messages`, `edit`, `person`.
        thread: The thread to go on.
        add: Gets each part.
    """
    said = [message for message in asked["messages"] if isinstance(message, HumanMessage)]
    for message in said:
        add(_append("log", "entry", Entry(said=str(message.text)), {}, address))
    if said or "changes" in (asked["edit"] or {}):  # a click on a card leaves the steps of the answer where they are
        add({"place": "steps", "how": "replace", "html": ""})
    try:
        async with aclosing(turn_steps(agent, asked, thread)) as steps:
            async for step in steps:
                add(_append("steps", "step", step))
        end = _READY
    except asyncio.CancelledError:
        end = "Stopped. What was understood by then is kept."
        add(_append("log", "note", end))
    except Exception as error:
        _log.exception("A turn failed.")
        reason = str(error) if isinstance(error, DeepRecError) else "An unexpected error; the server's log has it."
        end = f"The answer failed: {reason}"
        add(_append("log", "note", end))
    view = await read_thread(agent, thread, catalogue)
    if end == _READY and view.entries:
        add(_append("log", "entry", view.entries[-1], view.feedback, address))
    add({"place": "known", "how": "replace", "html": _rendered("known", view)})
    add({"end": end, "feedback": view.feedback})


def _append(place: str, macro: str, *values: object) -> Part:
    return {"place": place, "how": "append", "html": _rendered(macro, *values)}


def _rendered(macro: str, *values: object) -> str:
    """One part of the page, by the macro that the whole page renders it with."""
    parts = page_environment(TEMPLATES).get_template("conversation_parts.html.j2").module
    return str(getattr(parts, macro)(*values))
