"""The trace store: runs written step by step, and read back as traces."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, insert, literal, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from deeprec.agent.traces import rows, schema
from deeprec.agent.traces.codec import storable
from deeprec.agent.traces.database import first_line, open_database
from deeprec.agent.traces.records import (
    RetrievalRecord,
    RunOutcome,
    RunPreferences,
    RunRecord,
    RunSummary,
    RunTrace,
    StoredSteps,
    TraceStoreError,
    TurnRecord,
)

# What must not differ between the two halves of a resumed run: its tokens would come from two policies.
_LINEAGE = (
    "history",
    "message",
    "protocol",
    "protocol_version",
    "prompt_version",
    "guided",
    "policy_model",
    "adapter",
    "adapter_version",
    "trm_fingerprint",
    "sampling",
)


_T = TypeVar("_T")


class RunNotFoundError(TraceStoreError):
    """A run id, or the beginning of one, that names no run or several."""


class StepConflictError(TraceStoreError):
    """A step that is already stored with other content: two writers, or a resumed run that did not read first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs are meant. Every field that is not None has to match."""

    status: str | None = None
    """An outcome, "running", or "incomplete" (in which the store failed)."""
    user_id: str | None = None
    group_id: str | None = None
    split: str | None = None
    suite: str | None = None
    policy_model: str | None = None
    adapter_version: str | None = None


class TraceStore:
    """The runs in one database. Safe to share between threads; several processes may write to one file.

    Writes are idempotent: a step that is already there with the same content is left alone, one with other content
    raises `StepConflictError` and changes nothing.
    """

    def __init__(self, target: str | Path, *, create: bool = True) -> None:
        """Open a store, making it or bringing it up to date as needed.

        Args:
            target: a SQLite file, or a SQLAlchemy URL.
            create: make the database where there is none.
        Raises:
            TraceStoreError: there is none to open, or what is there is no trace store of a version known here.
        """
        self._database = open_database(target, create=create)
        self._lock = threading.Lock()  # this process' writers wait here: SQLite's own wait polls

    def close(self) -> None:
        """Close every connection."""
        self._database.readers.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing. Each method commits before it returns.

    def start_run(self, record: RunRecord) -> None:
        """Open a run with status "running". One that is there already is left as it is.

        Raises:
            StepConflictError: the run is there, but is another request's, or was made with another policy or prompt.
        """
        row = rows.run_row(record, datetime.now(UTC))
        with self._write() as session:
            stored = session.get(schema.Run, record.run_id)
            if stored is None:
                session.add(row)
                return
            differing = [name for name in _LINEAGE if getattr(stored, name) != getattr(row, name)]
            if differing:
                raise StepConflictError(
                    f"The run id {record.run_id} is taken by another request: its {', '.join(differing)} differ. "
                    "Leave the id out or pass a new one; a run is resumed with all that it was started with."
                )

    def record_turn(self, run_id: UUID, turn: TurnRecord) -> None:
        """Write one turn.

        Raises:
            StepConflictError: another turn is stored at this position.
        """
        row = rows.turn_row(run_id, turn, datetime.now(UTC))
        with self._write() as session:
            stored = session.get(schema.Turn, (run_id, turn.position))
            if stored is None:
                session.add(row)
            elif not _same(stored, row):
                raise StepConflictError(f"Run {run_id} has another turn at position {turn.position} already.")

    def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        """Write one retrieval and its items.

        Raises:
            StepConflictError: another retrieval is stored at this position.
        """
        row = rows.retrieval_row(run_id, retrieval, datetime.now(UTC))
        items = rows.item_values(run_id, retrieval)
        with self._write() as session:
            stored = session.get(schema.Retrieval, (run_id, retrieval.position))
            if stored is None:
                session.add(row)
                session.flush()
                if items:
                    session.execute(insert(schema.RetrievedItem), items)
                return
            of = session.scalars(
                select(schema.RetrievedItem.item_id)
                .filter_by(run_id=run_id, position=retrieval.position)
                .order_by(schema.RetrievedItem.rank)
            )
            if not _same(stored, row) or list(of) != [item["item_id"] for item in items]:
                raise StepConflictError(f"Run {run_id} has another retrieval at position {retrieval.position} already.")

    def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        """Close a run. One whose steps have a gap is marked incomplete.

        Raises:
            RunNotFoundError: no such run.
            StepConflictError: the run is closed already, with another ending.
        """
        values = rows.recommendation_values(run_id, outcome)
        with self._write() as session:
            run = session.get(schema.Run, run_id)
            if run is None:
                raise RunNotFoundError(f"There is no run {run_id} to finish.")
            if run.status != "running":
                written = session.scalars(select(schema.Recommendation).filter_by(run_id=run_id))
                stored = {(line.listing, line.rank, line.item_id) for line in written}
                if run.status != outcome.status or stored != {(v["listing"], v["rank"], v["item_id"]) for v in values}:
                    raise StepConflictError(f"Run {run_id} has ended already, with another outcome.")
                return
            run.status = outcome.status
            run.detail = None if outcome.detail is None else storable(outcome.detail)
            run.ungrounded = outcome.ungrounded
            run.latency_ms = outcome.latency_ms
            run.finished_at = datetime.now(UTC)
            run.incomplete = run.incomplete or any(
                _has_gap(session, run_id, table) for table in (schema.Turn, schema.Retrieval)
            )
            if values:
                session.execute(insert(schema.Recommendation), values)

    def mark_incomplete(self, run_id: UUID) -> bool:
        """Say of a run that steps may be missing: it is never trained on. False if there is no such run."""
        with self._write() as session:
            run = session.get(schema.Run, run_id)
            if run is not None:
                run.incomplete = True
            return run is not None

    def write_rewards(self, run_id: UUID, scheme: str, components: Mapping[str, float]) -> None:
        """Write the components of one reward scheme; what that scheme had for this run is replaced. NaN is kept.

        Raises:
            RunNotFoundError: no such run.
        """
        with self._write() as session:
            if session.get(schema.Run, run_id) is None:
                raise RunNotFoundError(f"There is no run {run_id} to reward.")
            for component, value in components.items():
                session.merge(schema.Reward(run_id=run_id, scheme=scheme, component=component, value=value))
            session.flush()
            stale = schema.Reward.component.not_in(list(components))
            for reward in session.scalars(select(schema.Reward).filter_by(run_id=run_id, scheme=scheme).where(stale)):
                session.delete(reward)

    def delete_run(self, run_id: UUID) -> None:
        """Delete a run with its steps, lists and rewards.

        Raises:
            RunNotFoundError: no such run.
        """
        with self._write() as session:
            run = session.get(schema.Run, run_id)
            if run is None:
                raise RunNotFoundError(f"There is no run {run_id} to delete.")
            session.delete(run)

    # Reading.

    def load_steps(self, run_id: UUID) -> StoredSteps:
        """The steps of a run that are stored, by position; empty for a run that is not there."""
        with self._read() as session:
            return StoredSteps(
                turns=rows.load_turns(session, [run_id]).get(run_id, []),
                retrievals=rows.load_retrievals(session, [run_id]).get(run_id, []),
            )

    def runs(self, limit: int | None = 50, where: RunFilter | None = None) -> list[RunSummary]:
        """Summaries of runs, newest first.

        Args:
            limit: most runs to return; None for all.
            where: which runs; None for all.
        """
        newest_first = (schema.Run.started_at.desc(), schema.Run.run_id.desc())
        chosen = _filtered(rows.summary_query(), where).order_by(*newest_first).limit(limit)
        with self._read() as session:
            return rows.load_summaries(session, chosen)

    def run(self, run_id: UUID | str) -> RunTrace:
        """One run, by its id or by the beginning of its id.

        Raises:
            RunNotFoundError: no run begins so, or more than one.
        """
        with self._read() as session:
            return rows.load_traces(session, [_find(session, run_id)])[0]

    def traces(self, where: RunFilter | None = None, *, batch: int = 64) -> Iterator[RunTrace]:
        """Every run that matches, oldest first, read `batch` at a time so that memory does not grow.

        No transaction stays open between two batches. Runs that start meanwhile come at the end.
        """
        return self._paged(rows.load_traces, where, batch)

    def preferences(self, where: RunFilter | None = None, *, batch: int = 256) -> Iterator[RunPreferences]:
        """What the models of the runs that match searched with, run by run; read as `traces` is, without the tokens."""
        return self._paged(rows.load_preferences, where, batch)

    def _paged(
        self, load: Callable[[Session, Sequence[schema.Run]], list[_T]], where: RunFilter | None, batch: int
    ) -> Iterator[_T]:
        key = tuple_(schema.Run.started_at, schema.Run.run_id)
        order = (schema.Run.started_at, schema.Run.run_id)
        after: tuple[datetime, UUID] | None = None
        while True:
            chosen = _filtered(select(schema.Run), where).order_by(*order).limit(batch)
            if after is not None:
                chosen = chosen.where(key > tuple_(*_literals(after)))
            with self._read() as session:
                found = session.scalars(chosen).all()
                loaded = load(session, found)
                last = (found[-1].started_at, found[-1].run_id) if found else None
            yield from loaded
            if len(loaded) < batch:
                return
            after = last

    @contextmanager
    def _write(self) -> Iterator[Session]:
        self._database.check_in_place()
        try:
            with self._lock, Session(self._database.writers) as session, session.begin():
                yield session
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise TraceStoreError(f"The trace store cannot be written: {first_line(error)}.") from error

    @contextmanager
    def _read(self) -> Iterator[Session]:
        self._database.check_in_place()
        try:
            with Session(self._database.readers) as session:
                yield session
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise TraceStoreError(f"The trace store cannot be read: {first_line(error)}.") from error


def _same(stored: schema.Base, row: schema.Base) -> bool:
    """Whether two rows of one table say the same, clocks apart."""
    names = [column.key for column in stored.__table__.columns if column.key not in {"latency_ms", "recorded_at"}]
    return all(getattr(stored, name) == getattr(row, name) for name in names)


def _has_gap(session: Session, run_id: UUID, table: type[schema.Turn] | type[schema.Retrieval]) -> bool:
    count, last = session.execute(select(func.count(), func.max(table.position)).where(table.run_id == run_id)).one()
    return bool(count) and last != count - 1


def _filtered(query: Select[Any], where: RunFilter | None) -> Select[Any]:
    if where is None:
        return query
    for field in fields(where):
        value = getattr(where, field.name)
        if value is None:
            continue
        if field.name == "status" and value == "incomplete":
            query = query.where(schema.Run.incomplete)
        else:
            query = query.where(getattr(schema.Run, field.name) == storable(value))
    return query


def _literals(after: Sequence[Any]) -> list[ColumnElement[Any]]:
    columns = (schema.Run.started_at, schema.Run.run_id)
    return [literal(value, column.type) for value, column in zip(after, columns, strict=True)]


def _find(session: Session, run_id: UUID | str) -> schema.Run:
    prefix = re.sub(r"[-\s]", "", str(run_id)).lower()
    if not re.fullmatch("[0-9a-f]{1,32}", prefix):
        raise RunNotFoundError(
            f"{storable(str(run_id))[:60]!r} is no run id: those are made of the digits 0-9 and a-f."
        )
    low, high = UUID(prefix.ljust(32, "0")), UUID(prefix.ljust(32, "f"))
    found = session.scalars(
        select(schema.Run).where(schema.Run.run_id.between(low, high)).order_by(schema.Run.run_id).limit(3)
    ).all()
    if not found:
        raise RunNotFoundError(f"No run begins with {prefix!r}. `deeprec traces ls` lists those that there are.")
    if len(found) > 1:
        some = ", ".join(str(run.run_id) for run in found[:2])
        raise RunNotFoundError(f"More than one run begins with {prefix!r} ({some}, …). Give more of the id.")
    return found[0]
