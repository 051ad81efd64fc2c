"""What a run shows before it ends: the parts that LangGraph's stream mode `custom` brings, small enough for a browser.

async for part in agent.astream(request, stream_mode="custom"):
    if part["type"] == "list":
        show(part["items"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langgraph.config import get_stream_writer
from typing_extensions import TypedDict

from deeprec.agent.protocols.turn import MAX_PREFERENCE_CHARS
from deeprec.agent.traces.records import RecommendationRecord, RetrievalRecord, Source, Status
from deeprec.trm_tool import CatalogueView
from deeprec.trm_tool.text import plain

MAX_THOUGHT_CHARS = 2_000
MAX_TITLE_CHARS = 200


class ThoughtPart(TypedDict):
    """What the model thought in one turn."""

    type: Literal["thought"]
    run_id: str
    turn: int
    """Position of the turn, from 0."""
    text: str
    """At most 2,000 characters, without control characters."""


class PreferencePart(TypedDict):
    """What the model asks the recommender for."""

    type: Literal["preference"]
    run_id: str
    retrieval: int
    """Position of the retrieval, from 0."""
    text: str


class FoundItem(TypedDict):
    """One item that a retrieval brought back."""

    item_id: str
    title: str
    """At most 200 characters, without control characters. It is catalogue text: a page has to escape it."""


class FoundPart(TypedDict):
    """What a retrieval brought back, best first; empty where it found nothing or the recommender was unavailable."""

    type: Literal["found"]
    run_id: str
    retrieval: int
    items: list[FoundItem]


class ListedItem(FoundItem):
    """One position of the list."""

    rank: int
    source: Source


class ListPart(TypedDict):
    """The list as it stands. It replaces the one before."""

    type: Literal["list"]
    run_id: str
    status: Status
    """`running` while the list grows: what the model has written so far comes first, and what the retrievals found
    fills it. Every other status comes once, with the final list."""
    items: list[ListedItem]


PartialResult = ThoughtPart | PreferencePart | FoundPart | ListPart
"""One part of the stream mode `custom`; `type` says which."""


class PartialResults:
    """Sends the parts to whoever streams the run of the current node; without a stream they are dropped."""

    def __init__(self, catalogue: CatalogueView) -> None:
        self._catalogue = catalogue

    def turn(self, run_id: str, position: int, decision: Mapping[str, Any], *, retrieval: int | None) -> None:
        """Send the thought of a turn, and its preference where a retrieval at position `retrieval` follows."""
        if thought := plain(decision.get("thought") or "", MAX_THOUGHT_CHARS):
            _send(ThoughtPart(type="thought", run_id=run_id, turn=position, text=thought))
        if retrieval is not None:
            preference = plain(decision["preference"], MAX_PREFERENCE_CHARS)
            _send(PreferencePart(type="preference", run_id=run_id, retrieval=retrieval, text=preference))

    def found(self, run_id: str, record: RetrievalRecord) -> None:
        """Send what a retrieval brought back."""
        items = [FoundItem(item_id=item.id, title=self._title(item.id)) for item in record.items]
        _send(FoundPart(type="found", run_id=run_id, retrieval=record.position, items=items))

    def listed(self, run_id: str, listed: Sequence[RecommendationRecord], status: Status) -> None:
        """Send the list as it stands."""
        items = [
            ListedItem(
                item_id=position.item_id,
                title=self._title(position.item_id),
                rank=position.rank,
                source=position.source,
            )
            for position in listed
        ]
        _send(ListPart(type="list", run_id=run_id, status=status, items=items))

    def _title(self, item_id: str) -> str:
        return plain(self._catalogue.item(item_id).title, MAX_TITLE_CHARS)


def _send(part: PartialResult) -> None:
    get_stream_writer()(part)
