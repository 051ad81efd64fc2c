"""Reading conversations: filters, listings, and the turns of whole conversations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, func, literal, select, tuple_

from deeprec.agent.traces.conversation_records import ConversationSummary, ConversationTrace, ConversationTurn
from deeprec.agent.traces.records import TraceStoreError
from deeprec.agent.traces.store.codec import storable
from deeprec.agent.traces.store.filters import RunFilter, is_of_suite
from deeprec.agent.traces.store.rows import CONVERSATION_TURN
from deeprec.agent.traces.store.schema import ConversationTurn as TurnRow


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


def matching(query: Select[Any], where: ConversationFilter) -> Select[Any]:
    """`query`, which reads conversation turns, with the conditions of a filter on single turns: all but the times."""
    for name in ("thread_id", "tenant", "user_id"):
        value = getattr(where, name)
        if value is not None:
            query = query.where(getattr(TurnRow, name) == storable(value))
    return query if where.suite is None else query.where(is_of_suite(TurnRow.suite, where.suite))


def starts(where: ConversationFilter) -> Select[Any]:
    """A query of the conversations that match: (conversation_id, started_at)."""
    started = func.min(TurnRow.created_at)
    columns: Any = select(TurnRow.conversation_id, started.label("started_at"))
    query = matching(columns, where).group_by(TurnRow.conversation_id)
    if where.since is not None:
        query = query.having(started >= literal(where.since, TurnRow.created_at.type))
    if where.until is not None:
        query = query.having(started < literal(where.until, TurnRow.created_at.type))
    return query


def load_summaries(
    connection: Connection, where: ConversationFilter, limit: int | None, before: ConversationSummary | None
) -> list[ConversationSummary]:
    """The lines of a listing, newest conversation first, from behind `before` on."""
    found = starts(where).subquery()
    query = select(found.c.conversation_id, found.c.started_at)
    if before is not None:
        query = query.where(_key(found) < _values(found, before.started_at, before.conversation_id))
    page = connection.execute(query.order_by(found.c.started_at.desc(), found.c.conversation_id.desc()).limit(limit))
    ids = [row.conversation_id for row in page]
    lines = []
    for trace in load_conversations(connection, ids, where):
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
    found = starts(where).subquery()
    query = select(found.c.started_at, found.c.conversation_id)
    if after is not None:
        query = query.where(_key(found) > _values(found, *after))
    keys = connection.execute(query.order_by(found.c.started_at, found.c.conversation_id).limit(limit)).all()
    traces = load_conversations(connection, [row.conversation_id for row in keys], where)
    return traces, (keys[-1].started_at, keys[-1].conversation_id) if len(keys) == limit else None


def load_conversations(
    connection: Connection, ids: Sequence[UUID], where: ConversationFilter
) -> list[ConversationTrace]:
    """The conversations with these ids, in their order, with the turns that match."""
    turns: dict[UUID, list[ConversationTurn]] = defaultdict(list)
    for turn in load_conversation_turns(
        connection, matching(select(TurnRow), where).where(TurnRow.conversation_id.in_(ids))
    ):
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


def load_conversation_turns(connection: Connection, chosen: Select[Any]) -> list[ConversationTurn]:
    """The turns that `chosen` selects, in the order in which they happened."""
    query = chosen.with_only_columns(*(getattr(TurnRow, name) for name in CONVERSATION_TURN))
    turns = []
    for row in connection.execute(query.order_by(TurnRow.created_at, TurnRow.turn, TurnRow.turn_id)).mappings():
        lists = {name: tuple(row[name]) for name in ("history", "problems", "shown", "actions")}
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


def _key(found: Any) -> Any:
    return tuple_(found.c.started_at, found.c.conversation_id)


def _values(found: Any, started_at: datetime, conversation_id: UUID) -> Any:
    return tuple_(literal(started_at, TurnRow.created_at.type), literal(conversation_id, found.c.conversation_id.type))
