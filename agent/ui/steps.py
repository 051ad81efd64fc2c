"""Steps of the agent as the page shows them while they happen, from the parts of the stream mode `custom`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deeprec.agent.ui.thread_view import condition_text
from deeprec.trm_tool.text import plain

MAX_ITEMS = 5
"""Items of a retrieval that are named; the others are counted."""
MAX_TEXT = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step."""

    label: str
    text: str = ""
    lines: Sequence[str] = ()
    """Changes of what is known, problems, or titles, a line each."""
    kind: str = ""
    """A colour of the style sheet: call, warn, or none."""


def step_of(part: object) -> Step | None:
    """Lay out one part of the stream; None where the page shows nothing of it."""
    if not isinstance(part, Mapping):
        return None
    match part.get("deeprec") or part.get("type"):
        case "delta":
            lines = [*map(condition_text, _texts(part.get("changes"))), *_texts(part.get("problems"))]
            return Step(label="Understood", lines=lines, kind="call") if lines else None
        case "thought":
            return Step(label="Thought", text=plain(str(part.get("text", "")), MAX_TEXT))
        case "preference":
            return Step(label="Asked for", text=plain(str(part.get("text", "")), MAX_TEXT), kind="call")
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
