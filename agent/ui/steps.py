"""Steps of the agent as a person sees them while they happen, from the parts of the stream mode `custom`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.shopping.shopping_input import storable_edit
from deeprec.agent.ui.thread_view import condition_text
from deeprec.trm_tool.text import plain

MAX_ITEMS = 5
"""Items of a retrieval that are named; the others are counted."""
MAX_TEXT = 600
MAX_STEPS = 200
"""Steps of one turn that are shown as they happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step."""

    label: str
    text: str = ""
    lines: Sequence[str] = ()
    """Changes of what is known, or titles, a line each."""
    kind: str = ""
    """A colour of the style sheet: call, warn, or none."""


async def turn_steps(
    agent: CompiledStateGraph[Any, Any, Any, Any], asked: Mapping[str, Any], thread: str
) -> AsyncGenerator[Step]:
    """Run one turn of a thread, and yield its steps as they happen, those of the search included.

    Args:
        agent: The shopping agent, with a checkpointer.
        asked: The input of the turn.
        thread: The thread to go on.
    """
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    if not asked.get("messages"):  # a message whose answer was stopped is not carried out by the next click
        before = (await agent.aget_state(config)).values.get("messages", [])
        asked = {**asked, "heard": next((each.id for each in reversed(before) if isinstance(each, HumanMessage)), None)}
    if asked.get("edit") is not None:
        asked = {**asked, "edit": storable_edit(asked["edit"])}
    left = MAX_STEPS
    async for _, _, part in agent.astream(dict(asked), config, stream_mode=["custom"], subgraphs=True):
        step = step_of(part)
        if step is not None and left:
            left -= 1
            yield step


def step_of(part: object) -> Step | None:
    """Lay out one part of the stream; None where nothing of it is shown."""
    if not isinstance(part, Mapping):
        return None
    match part.get("deeprec") or part.get("type"):
        case "delta":
            lines = list(map(condition_text, _texts(part.get("changes"))))  # the reply names the problems
            return Step(label="Understood", lines=lines, kind="call") if lines else None
        case "thought":
            return Step(label="Thought", text=plain(str(part.get("text", "")), MAX_TEXT))
        case "preference":
            preference = plain(str(part.get("text", "")), MAX_TEXT)
            return Step(label="Asked for", text=preference or "the recommender's own list", kind="call")
        case "retrieved":  # by the recommender alone
            preference = plain(str(part.get("text", "")), MAX_TEXT)
            return Step(label="Came back", text=preference and f"for “{preference}”", lines=_titles(part))
        case "found":
            return Step(label="Came back", lines=_titles(part))
        case _:
            return None


def _titles(part: Mapping[str, object]) -> list[str]:
    items = part.get("items")
    titles = (
        [str(item.get("title", "")) for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    )
    more = [f"and {len(titles) - MAX_ITEMS} more"] if len(titles) > MAX_ITEMS else []
    return [*titles[:MAX_ITEMS], *more] or ["nothing"]


def _texts(values: object) -> list[str]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    return list(map(str, values))
