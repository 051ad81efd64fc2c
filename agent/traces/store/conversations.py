"""Reading conversations: filters, listings, and the turns of whole conversations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, literal, select, tuple_
from sqlalchemy.orm import aliased

from deeprec.agent.traces.conversation_records import ConversationSummary, ConversationTrace, ConversationTurn
from deeprec.agent.traces.records import TraceStoreError
from deeprec.agent.traces.store.codec import storable
from deeprec.agent.traces.store.filters import RunFilter, is_of_suite
from deeprec.agent.traces.store.rows import CONVERSATION_TURN
from deeprec.agent.traces.store.schema import ConversationTurn as TurnRow

_KEY = (TurnRow.created_at, TurnRow.conversation_id)
"""What orders the first turns of conversations."""
_TUPLES = ("history", "problems", "shown", "actions")
_SUMMARY = (
    *("thread_id", "turn", "message_id", "tenant", "user_id", "suite", "message", "kind", "created_at", "redacted_at"),
)
"""The fields of a turn that a listing is made of."""
_MOST_IDS = 500
"""Ids in one query: databases bound how many values it may hold."""


class ConversationNotFoundError(TraceStoreError):
    """A thread that names no conversation, or several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFilter:
    """A choice of conversations. Every field that is not None has to match, and only turns that match are read."""

    thread_id: str | None = None
    tenant: str | None = None
    user_id: str | None = None
    suite: str | None = None
    """As in `RunFilter`."""
    since: datetime | None = None
    """The first turn was at that time or later. A time without a zone is the machine's."""
    until: datetime | None = None
    """The first turn was before that time."""


def conversations_like(where: RunFilter | None) -> ConversationFilter | None:
    """The choice of conversations that a filter of runs makes.

    A turn has a tenant, a person, a thread, a suite and a time; None where the filter asks for anything else.
    """
    asked = {} if where is None else {f.name: v for f in fields(where) if (v := getattr(where, f.name)) is not None}
    known = {each.name for each in fields(ConversationFilter)}
    return ConversationFilter(**asked) if asked.keys() <= known else None


def matching(query: Select[Any], where: ConversationFilter, turn: type[TurnRow] = TurnRow) -> Select[Any]:
    """`query`, which reads `turn`, with the conditions of a filter on single turns: all but the times."""
    for name in ("thread_id", "tenant", "user_id"):
        value = getattr(where, name)
        if value is not None:
            query = query.where(getattr(turn, name) == storable(value))
    return query if where.suite is None else query.where(is_of_suite(turn.suite, where.suite))


def starts(where: ConversationFilter) -> Select[Any]:
    """A query of the first turn of each conversation that matches: (started_at, conversation_id)."""
    earlier = aliased(TurnRow)
    is_earlier = tuple_(earlier.created_at, earlier.turn_id) < tuple_(TurnRow.created_at, TurnRow.turn_id)
    of_same = select(earlier.turn_id).where(earlier.conversation_id == TurnRow.conversation_id, is_earlier)
    first: Any = select(TurnRow.created_at.label("started_at"), TurnRow.conversation_id)
    query = matching(first, where).where(~matching(of_same, where, earlier).exists())
    if where.since is not None:
        query = query.where(TurnRow.created_at >= where.since)
    return query if where.until is None else query.where(TurnRow.created_at < where.until)


def load_summaries(
    connection: Connection, where: ConversationFilter, limit: int | None, before: ConversationSummary | None
) -> list[ConversationSummary]:
    """The lines of a listing, newest conversation first, from behind `before` on."""
    query = starts(where)
    if before is not None:
        query = query.where(_key() < _values(before.started_at, before.conversation_id))
    page = connection.execute(query.order_by(*(column.desc() for column in _KEY)).limit(limit))
    ids = [row.conversation_id for row in page]
    lines = []
    for start in range(0, len(ids), _MOST_IDS):
        for trace in load_conversations(connection, ids[start : start + _MOST_IDS], where, _SUMMARY):
            turns, current = trace.turns, trace.current
            lines.append(
                ConversationSummary(
                    conversation_id=trace.conversation_id,
                    thread_id=trace.thread_id,
                    tenant=trace.tenant,
                    user_id=next((turn.user_id for turn in reversed(turns) if turn.user_id is not None), None),
                    suite=turns[0].suite,
                    turns=len(current),
                    started_at=turns[0].created_at,
                    last_at=turns[-1].created_at,
                    message=next((turn.message for turn in current if not turn.is_edit), ""),
                    redacted=any(turn.redacted_at is not None for turn in turns),
                )
            )
    return lines


def load_page(
    connection: Connection, where: ConversationFilter, limit: int, after: tuple[datetime, UUID] | None
) -> tuple[list[ConversationTrace], tuple[datetime, UUID] | None]:
    """Some whole conversations, oldest first, from behind a key on; and the key of the last, None at the end."""
    query = starts(where)
    if after is not None:
        query = query.where(_key() > _values(*after))
    keys = connection.execute(query.order_by(*_KEY).limit(limit)).all()
    traces = load_conversations(connection, [row.conversation_id for row in keys], where)
    return traces, (keys[-1].started_at, keys[-1].conversation_id) if len(keys) == limit else None


def load_conversations(
    connection: Connection, ids: Sequence[UUID], where: ConversationFilter, names: Sequence[str] = CONVERSATION_TURN
) -> list[ConversationTrace]:
    """The conversations with these ids, in their order, with the turns that match; of each only the fields `names`."""
    turns: dict[UUID, list[ConversationTurn]] = defaultdict(list)
    query = matching(select(TurnRow), where).where(TurnRow.conversation_id.in_(ids))
    for turn in load_conversation_turns(connection, query, names):
        turns[turn.conversation_id].append(turn)
    return [
        ConversationTrace(
            conversation_id=each,
            thread_id=turns[each][0].thread_id,
            tenant=turns[each][0].tenant,
            turns=tuple(turns[each]),
        )
        for each in ids
        if turns[each]
    ]


def load_conversation_turns(
    connection: Connection, chosen: Select[Any], names: Sequence[str] = CONVERSATION_TURN
) -> list[ConversationTurn]:
    """The turns that `chosen` selects, in the order in which they happened; of each only the fields `names`."""
    query = chosen.with_only_columns(*(getattr(TurnRow, name) for name in names))
    turns = []
    for row in connection.execute(query.order_by(TurnRow.created_at, TurnRow.turn, TurnRow.turn_id)).mappings():
        lists = {name: tuple(row[name]) for name in _TUPLES if name in row}
        turns.append(ConversationTurn(**{**row, **lists}))
    return turns


def load_conversation(connection: Connection, where: ConversationFilter) -> ConversationTrace:
    """The one conversation that matches.

    Raises:
        ConversationNotFoundError: none does, or more than one.
    """
    ids = connection.scalars(matching(select(TurnRow.conversation_id), where).distinct().limit(3)).all()
    name = repr(where.thread_id)[:80]
    if not ids:
        raise ConversationNotFoundError(
            f"No conversation has the thread {name}. `deeprec traces conversations` lists those that there are."
        )
    found = load_conversations(connection, ids, replace(where, since=None, until=None))
    if len(found) > 1:
        tenants = ", ".join(sorted(repr(each.tenant)[:80] for each in found))
        raise ConversationNotFoundError(f"The thread {name} is of several tenants ({tenants}). Name one of them.")
    return found[0]


def _key() -> Any:
    return tuple_(*_KEY)


def _values(started_at: datetime, conversation_id: UUID) -> Any:
    values = zip((started_at, conversation_id), _KEY, strict=True)
    return tuple_(*(literal(value, column.type) for value, column in values))
