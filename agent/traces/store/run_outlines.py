"""Runs without their tokens and texts: what statistics over many runs are computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, type_coerce
from sqlalchemy.orm import QueryableAttribute, Session
from sqlalchemy.types import NullType

from deeprec.agent.traces.records import Action, Source, Status
from deeprec.agent.traces.store import schema
from deeprec.agent.traces.store.filters import RunFilter
from deeprec.agent.traces.store.store import TraceStore


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOutline:
    """One call of the policy."""

    position: int
    """0-based."""
    action: Action
    preference: str | None
    prompt_tokens: int
    completion_tokens: int
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalOutline:
    """One call of the recommender."""

    position: int
    """0-based."""
    turn: int
    """Position of the turn that asked."""
    items: tuple[str, ...]
    """Ids, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOutline:
    """One place of a list."""

    item_id: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutline:
    """One run; steps and lists in their order."""

    run_id: UUID
    system: str | None
    target_id: str | None
    k: int
    status: Status
    incomplete: bool
    is_fork: bool
    """A replay, or a run with an edited preference."""
    detail: str | None
    ungrounded: int
    latency_ms: float | None
    turns: tuple[TurnOutline, ...]
    retrievals: tuple[RetrievalOutline, ...]
    written: tuple[PlaceOutline, ...]
    recommended: tuple[PlaceOutline, ...]


def read_outlines(store: TraceStore, where: RunFilter | None = None, *, batch: int = 256) -> Iterator[RunOutline]:
    """Every run that matches, oldest first, read `batch` at a time so that memory does not grow.

    Raises:
        TraceStoreError: the store cannot be read.
    """
    return store._paged(_load_outlines, where, batch)


_RUN_COLUMNS = ("run_id", "system", "target_id", "k", "status", "incomplete", "detail", "ungrounded", "latency_ms")


def _load_outlines(session: Session, page: Select[Any]) -> list[RunOutline]:
    run = schema.Run
    wanted = (getattr(run, name) for name in _RUN_COLUMNS)
    fork = run.fork.is_not(None).label("is_fork")
    runs = session.execute(page.with_only_columns(_raw(run.run_id), fork, *wanted)).all()
    ids = [found.run_id for found in runs]
    turns = _load_turns(session, ids)
    retrievals = _load_retrievals(session, ids)
    lists = _load_lists(session, ids)
    return [
        RunOutline(
            **dict(zip(_RUN_COLUMNS, values, strict=True)),
            is_fork=bool(is_fork),
            turns=tuple(turns[key]),
            retrievals=tuple(retrievals[key]),
            written=tuple(lists[key, "written"]),
            recommended=tuple(lists[key, "recommended"]),
        )
        for key, is_fork, *values in runs
    ]


def _load_turns(session: Session, ids: Sequence[UUID]) -> defaultdict[Any, list[TurnOutline]]:
    turn = schema.Turn
    names = ("position", "action", "preference", "prompt_tokens", "completion_tokens", "latency_ms")
    query = select(_raw(turn.run_id), *(getattr(turn, name) for name in names))
    found: defaultdict[Any, list[TurnOutline]] = defaultdict(list)
    for run_id, *values in _of(session, query, turn.run_id, ids, turn.position):
        found[run_id].append(TurnOutline(**dict(zip(names, values, strict=True))))
    return found


def _load_retrievals(session: Session, ids: Sequence[UUID]) -> defaultdict[Any, list[RetrievalOutline]]:
    call, item = schema.Retrieval, schema.RetrievedItem
    items: defaultdict[tuple[Any, int], list[str]] = defaultdict(list)
    query = select(_raw(item.run_id), item.position, item.item_id)
    for run_id, position, item_id in _of(session, query, item.run_id, ids, item.position, item.rank):
        items[run_id, position].append(item_id)
    found: defaultdict[Any, list[RetrievalOutline]] = defaultdict(list)
    calls = select(_raw(call.run_id), call.position, call.turn)
    for run_id, position, turn in _of(session, calls, call.run_id, ids, call.position):
        found[run_id].append(RetrievalOutline(position=position, turn=turn, items=tuple(items[run_id, position])))
    return found


def _load_lists(session: Session, ids: Sequence[UUID]) -> defaultdict[tuple[Any, str], list[PlaceOutline]]:
    line = schema.Recommendation
    found: defaultdict[tuple[Any, str], list[PlaceOutline]] = defaultdict(list)
    query = select(_raw(line.run_id), line.listing, line.item_id, line.source)
    for run_id, listing, item_id, source in _of(session, query, line.run_id, ids, line.listing, line.rank):
        found[run_id, listing].append(PlaceOutline(item_id=item_id, source=source))
    return found


def _raw(run_id: QueryableAttribute[UUID]) -> ColumnElement[Any]:
    """A run's id as the driver gives it: to find what belongs together, no object has to be made of each."""
    return type_coerce(run_id, NullType()).label("key")


def _of(session: Session, query: Any, run_id: Any, ids: Sequence[UUID], *order: Any) -> Any:
    return session.execute(query.where(run_id.in_(ids)).order_by(run_id, *order))
