"""The trace store: runs written step by step, and read back as traces."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import Pool

from deeprec.agent.forks import renew_in_forks
from deeprec.agent.traces.conversation_records import ConversationSummary, ConversationTrace, ConversationTurn
from deeprec.agent.traces.records import (
    CaseRecord,
    Part,
    RetrievalRecord,
    RunChain,
    RunOutcome,
    RunRecord,
    RunSummary,
    RunTrace,
    TraceStoreError,
    TurnRecord,
)
from deeprec.agent.traces.store import conversations, rows, schema, writes
from deeprec.agent.traces.store.conversations import ConversationFilter, ConversationNotFoundError
from deeprec.agent.traces.store.database import first_line, open_database
from deeprec.agent.traces.store.filters import RunFilter, RunNotFoundError, filtered, find_run, started_after
from deeprec.agent.traces.store.snapshot import Snapshot
from deeprec.agent.traces.store.writes import StepConflictError

__all__ = [
    "ConversationFilter",
    "ConversationNotFoundError",
    "RunFilter",
    "RunNotFoundError",
    "StepConflictError",
    "TraceStore",
]

SERVER_WRITERS = 4
"""Threads of one recorder that write to a server at once; its pool of connections has room for more."""

_T = TypeVar("_T")


class TraceStore:
    """The runs in one database. Safe to share between threads; several processes may write to one file.

    Writes are idempotent: a step that is already there with the same content is left alone, one with other content
    raises `StepConflictError` and changes nothing.
    """

    _pools_of_parents: ClassVar[list[Pool]] = []

    def __init__(self, target: str | Path, *, create: bool = True) -> None:
        """Open a store, making it or bringing it up to date as needed.

        Args:
            target: a SQLite file, or a SQLAlchemy URL.
            create: make the database where there is none.
        Raises:
            TraceStoreError: there is none to open, or the database is not a trace store of a known version.
        """
        self.database = open_database(target, create=create)
        self._lock = self._writers_lock()
        renew_in_forks(self, TraceStore._renew)

    def _writers_lock(self) -> AbstractContextManager[Any]:
        """SQLite has one writer at a time. This process' writers wait here, because SQLite's own wait polls."""
        return nullcontext() if self.database.path is None else threading.Lock()

    def _renew(self) -> None:
        self._lock = self._writers_lock()
        self._pools_of_parents.append(self.database.readers.pool)  # to close its connections is the parent's part
        self.database.readers.dispose(close=False)

    @property
    def max_writers(self) -> int:
        """Most threads that can write at once: SQLite has one writer at a time."""
        return 1 if self.database.path is not None else SERVER_WRITERS

    def close(self) -> None:
        """Close every connection."""
        self.database.readers.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing. Each method commits before it returns.

    def start_run(self, record: RunRecord) -> bool:
        """Open a run with status "running". One that is there already is left as it is.

        Returns:
            whether the run is new.
        Raises:
            StepConflictError: the run is there, but is another request's, or was made with another policy or prompt.
        """
        with self.writing() as connection:
            return writes.start_run(connection, record, datetime.now(UTC))

    def record_turn(self, run_id: UUID, turn: TurnRecord) -> None:
        """Write one turn.

        Raises:
            StepConflictError: another turn is stored at this position.
        """
        with self.writing() as connection:
            writes.write_turn(connection, run_id, turn, datetime.now(UTC))

    def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        """Write one retrieval and its items.

        Raises:
            StepConflictError: another retrieval is stored at this position.
        """
        with self.writing() as connection:
            writes.write_retrieval(connection, run_id, retrieval, datetime.now(UTC))

    def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        """Close a run. One whose steps have a gap is marked incomplete.

        Raises:
            RunNotFoundError: no such run.
            StepConflictError: the run is closed already, with another ending.
        """
        with self.writing() as connection:
            writes.finish_run(connection, run_id, outcome, datetime.now(UTC))

    def mark_incomplete(self, run_id: UUID) -> bool:
        """Mark a run whose steps may be missing: it is never trained on. False if there is no such run."""
        with self.writing() as connection:
            return writes.mark_incomplete(connection, run_id)

    def write_rewards(self, run_id: UUID, scheme: str, components: Mapping[str, float]) -> None:
        """Write the components of one reward scheme; what that scheme had for this run is replaced. NaN is kept.

        Raises:
            RunNotFoundError: no such run.
        """
        with self.writing() as connection:
            writes.write_rewards(connection, run_id, scheme, components)

    def write_metrics(self, run_id: UUID, metrics: Mapping[str, float]) -> None:
        """Write what an evaluation measured on a run, in place of what was there. NaN is kept.

        Raises:
            RunNotFoundError: no such run.
        """
        with self.writing() as connection:
            writes.write_metrics(connection, run_id, metrics)

    def write_case(self, run_id: UUID, case: CaseRecord) -> None:
        """Write the facts about a run's request, in place of those that were there.

        Raises:
            RunNotFoundError: no such run.
        """
        with self.writing() as connection:
            writes.write_case(connection, run_id, case)

    def write_runs(self, traces: Iterable[RunTrace]) -> None:
        """Write whole runs that have ended, with their steps, lists and scores, in one transaction.

        Raises:
            StepConflictError: one of them is there already and differs; nothing is written.
        """
        with self.writing() as connection:
            writes.write_runs(connection, list(traces), datetime.now(UTC))

    def record_conversation_turn(self, turn: ConversationTurn) -> None:
        """Write one turn of a conversation; one that is written again replaces its row.

        Raises:
            StepConflictError: the run of its search was redacted.
            TraceStoreError: an id of the turn is too long.
        """
        with self.writing() as connection:
            writes.write_conversation_turn(connection, turn)

    def delete_run(self, run_id: UUID) -> None:
        """Delete a run with its steps, lists and scores, and with the turns of a conversation that it is the search of.

        Raises:
            RunNotFoundError: no such run.
        """
        with self.writing() as connection:
            writes.delete_run(connection, run_id)

    # Reading.

    def load_turn(self, run_id: UUID, position: int) -> TurnRecord | None:
        """The turn that is stored at a position; None if none is."""
        with self.reading() as connection:
            return _only(rows.load_turns(connection, [run_id], position=position))

    def load_retrieval(self, run_id: UUID, position: int) -> RetrievalRecord | None:
        """The retrieval that is stored at a position; None if none is."""
        with self.reading() as connection:
            return _only(rows.load_retrievals(connection, [run_id], position=position))

    def runs(self, limit: int | None = 50, where: RunFilter | None = None) -> list[RunSummary]:
        """Summaries of runs, newest first.

        Args:
            limit: most runs to return; None for all.
            where: which runs; None for all.
        """
        newest_first = (schema.Run.started_at.desc(), schema.Run.run_id.desc())
        chosen = filtered(rows.summary_query(), where).order_by(*newest_first).limit(limit)
        with self.reading() as connection:
            return rows.load_summaries(connection, chosen)

    def run(self, run_id: UUID | str, *, omit: Collection[Part] = ()) -> RunTrace:
        """One run, by its id or by the beginning of its id.

        Args:
            run_id: the id, or as much of its beginning as is unique.
            omit: as for `traces`.
        Raises:
            RunNotFoundError: no run begins so, or more than one.
        """
        with self.reading() as connection:
            found = select(schema.Run).where(schema.Run.run_id == find_run(connection, run_id))
            return rows.load_traces(connection, found, omit)[0]

    def traces(
        self, where: RunFilter | None = None, *, omit: Collection[Part] = (), batch: int = 64
    ) -> Iterator[RunTrace]:
        """Every run that matches, oldest first, read `batch` at a time so that memory does not grow.

        No transaction stays open between two batches. Runs that start meanwhile come at the end.

        Args:
            where: which runs; None for all.
            omit: groups of columns that are not read; their fields are empty. Without "tokens" and "texts" a store of
                many runs is read several times faster.
            batch: runs in one transaction.
        """
        return self.pages(lambda connection, page: rows.load_traces(connection, page, omit), where, batch)

    def run_ids(self, where: RunFilter | None = None, *, batch: int = 256) -> Iterator[list[UUID]]:
        """The ids of the runs that match, oldest first, a page of up to `batch` at a time; read as `traces` is."""
        return self.pages(
            lambda connection, page: [list(connection.scalars(page.with_only_columns(schema.Run.run_id)))], where, batch
        )

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Readers of columns and counts that all see the store as it is now, whoever writes meanwhile.

        Raises:
            TraceStoreError: the store cannot be read.
        """
        with self.reading() as connection:
            yield Snapshot(connection)

    def chains(self, where: RunFilter | None = None, *, batch: int = 256) -> Iterator[RunChain]:
        """The tokens of the runs that match; read as `traces` is, and nothing besides the tokens is read."""
        return self.pages(rows.load_chains, where, batch)

    def rewards(self, run_ids: Sequence[UUID], scheme: str) -> dict[UUID, dict[str, float]]:
        """Read the rewards of one scheme: run -> component -> value. Runs that have none are missing."""
        with self.reading() as connection:
            return rows.load_rewards(connection, run_ids, scheme)

    def conversation(
        self, thread_id: str, *, tenant: str | None = None, user_id: str | None = None
    ) -> ConversationTrace:
        """One conversation with its turns.

        Args:
            thread_id: the whole id of its thread.
            tenant: whose thread it is; None is enough where one tenant has it.
            user_id: read only the turns of this person; a service that shows people their own conversations gives it.
        Raises:
            ConversationNotFoundError: there is none, or several tenants have the thread.
        """
        where = ConversationFilter(thread_id=thread_id, tenant=tenant, user_id=user_id)
        with self.reading() as connection:
            return conversations.load_conversation(connection, where)

    def conversations(
        self,
        limit: int | None = 50,
        where: ConversationFilter | None = None,
        *,
        before: ConversationSummary | None = None,
    ) -> list[ConversationSummary]:
        """Summaries of conversations, by their first turn, newest first.

        Args:
            limit: most conversations to return; None for all.
            where: which conversations; None for all.
            before: the last one of the page before this one.
        """
        with self.reading() as connection:
            return conversations.load_summaries(connection, where or ConversationFilter(), limit, before)

    def conversation_traces(
        self, where: ConversationFilter | None = None, *, batch: int = 64
    ) -> Iterator[ConversationTrace]:
        """Every conversation that matches, oldest first, read `batch` at a time as `traces` reads runs."""
        after = None
        while True:
            with self.reading() as connection:
                found, after = conversations.load_page(connection, where or ConversationFilter(), batch, after)
            yield from found
            if after is None:
                return

    # For the rooms of `deeprec.agent.traces`, which hold the SQL.

    def pages(
        self, load: Callable[[Connection, Select[Any]], list[_T]], where: RunFilter | None, batch: int
    ) -> Iterator[_T]:
        """Yield what `load` returns for each page of the runs that match; a page selects `batch` runs, oldest first."""
        key = (schema.Run.started_at, schema.Run.run_id)
        after: Row[datetime, UUID] | None = None
        while True:
            page = filtered(select(schema.Run), where).order_by(*key)
            if after is not None:
                page = started_after(page, after)
            with self.reading() as connection:
                keys = connection.execute(page.with_only_columns(*key).limit(batch)).all()
                loaded = load(connection, page.limit(batch)) if keys else []
            yield from loaded
            if len(keys) < batch:
                return
            after = keys[-1]

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes, committed at the end.

        Raises:
            TraceStoreError: the store cannot be written.
        """
        self.database.check_in_place()
        try:
            with self._lock, self.database.writers.begin() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise TraceStoreError(f"The trace store cannot be written: {first_line(error)}.") from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads, for queries of your own over `schema`.

        Raises:
            TraceStoreError: the store cannot be read.
        """
        self.database.check_in_place()
        try:
            with self.database.readers.connect() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise TraceStoreError(f"The trace store cannot be read: {first_line(error)}.") from error


def _only(steps: Mapping[Any, Sequence[_T]]) -> _T | None:
    """The one step that was looked for; None if there is none."""
    return next((own[0] for own in steps.values()), None)
