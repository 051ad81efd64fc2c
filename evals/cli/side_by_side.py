"""Lists for one person beside each other: from the history alone, with the person's words, and by the agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deeprec.agent import RunTrace, visible
from deeprec.agent.traces.records import listed
from deeprec.trm_tool import CatalogueView
from deeprec.trm_tool.data import Request

DEAF, HEARING, AGENT = "history alone", "with the words", "under the agent"
SHOWN = 5
"""Positions of a list that are shown."""
_LATEST = 3
_CONSTRAINTS = {"hard": "held to", "guessed": "a guess that only weighed:", "unenforceable": "not in the catalogue:"}
"""Part of a retrieval's constraints -> how it is introduced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A request with one target, and the lists that answer it."""

    request: Request
    trace: RunTrace
    """The agent's run for it."""
    deaf: Sequence[str]
    """What the recommender found from the history alone: item ids, best first."""
    hearing: Sequence[str]
    """What it found from the history and the message as it stands."""

    @property
    def target(self) -> str:
        """The item that was held out."""
        return self.request.targets[0]

    @property
    def filled(self) -> list[str]:
        """The agent's list as it was handed out."""
        return [item.item_id for item in self.trace.recommended]

    @property
    def lists(self) -> dict[str, Sequence[str]]:
        """What is shown beside each other, by name."""
        return {DEAF: self.deaf, HEARING: self.hearing, AGENT: self.filled}


def render_answered(answered: Answered, catalogue: CatalogueView) -> RenderableType:
    """Return one person for a terminal: what they say, what the agent asked for, and the lists with the target marked.

    The last row says where the target stands in each whole list, which is longer than what is shown.
    """
    request, target = answered.request, answered.target
    table = Table("", *answered.lists, box=None, expand=True, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.ratio, column.no_wrap, column.overflow = 1, True, "ellipsis"
    for position in range(min(SHOWN, max(map(len, answered.lists.values())))):
        items = [each[position] if position < len(each) else None for each in answered.lists.values()]
        table.add_row(str(position + 1), *(_title(item, target, catalogue) for item in items))
    table.add_row("", *(_found(each, target) for each in answered.lists.values()))
    label = " (a made sentence)" if request.made else ""
    latest = "; ".join(catalogue.item(item).title for item in request.history[-_LATEST:])
    held_out = catalogue.summary(target)
    return Group(
        Text(visible(f"User {request.person}{label}: “{request.message}”"), style="bold"),
        *(
            Padding(part, (0, 0, 0, 2))
            for part in (
                Text(visible(f"{len(request.history)} items before, lately {latest}; held out: {held_out}"), "dim"),
                Text(visible(_asked(answered.trace))),
                table,
            )
        ),
    )


def _asked(trace: RunTrace) -> str:
    """What the agent asked for, and what became of the constraints in it."""
    preferences = dict.fromkeys(each.preference for each in trace.retrievals if each.preference)
    parts = [f"The agent asked for {', then for '.join(f'“{each}”' for each in preferences) or 'nothing'}"]
    for name, words in _CONSTRAINTS.items():
        stated = [each for retrieval in trace.retrievals for each in listed(retrieval.constraints, name)]
        texts = dict.fromkeys(str(each.get("text") if isinstance(each, Mapping) else each) for each in stated)
        if texts:
            parts.append(f"{words} {', '.join(texts)}")
    return "; ".join(parts) + "."


def _title(item_id: str | None, target: str, catalogue: CatalogueView) -> Text:
    if item_id is None:
        return Text("")
    title = visible(catalogue.item(item_id).title)
    return Text(f"→ {title}", style="bold green") if item_id == target else Text(f"  {title}")


def _found(items: Sequence[str], target: str) -> Text:
    if target not in items:
        return Text(f"  not in {len(items)}", style="dim")
    return Text(f"  position {list(items).index(target) + 1}", style="green")
