"""Recorders, which log for the graph: one writes each step before the next begins, one writes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from deeprec.agent.forks import renew_in_forks
from deeprec.agent.traces.records import (
    RetrievalRecord,
    RunOutcome,
    RunRecord,
    TraceStoreError,
    TurnRecord,
)
from deeprec.agent.traces.store.database import first_line
from deeprec.agent.traces.store.store import StepConflictError, TraceStore

MAX_OPEN_RUNS = 1024
"""Unfinished runs that a recorder remembers as new, or as failed by the store."""

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """The log that the graph writes to. No method raises because a store fails."""

    async def start_run(self, record: RunRecord) -> None:
        """Open a run. A run that is already there is left as it is (a resumed one).

        Raises:
            StepConflictError: the run id is another request's.
        """

    async def load_turn(self, run_id: UUID, position: int) -> TurnRecord | None:
        """The turn of a run that is already stored at a position; None if none is."""

    async def load_retrieval(self, run_id: UUID, position: int) -> RetrievalRecord | None:
        """The retrieval of a run that is already stored at a position; None if none is."""

    async def record_turn(self, run_id: UUID, turn: TurnRecord) -> None:
        """Log one call of the policy; it is committed when this returns."""

    async def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        """Log one call of the recommender; it is committed when this returns."""

    async def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        """Close a run with its lists."""


class NullRecorder:
    """A recorder that keeps nothing."""

    async def start_run(self, record: RunRecord) -> None:
        """Do nothing."""

    async def load_turn(self, run_id: UUID, position: int) -> TurnRecord | None:
        """None."""
        return None

    async def load_retrieval(self, run_id: UUID, position: int) -> RetrievalRecord | None:
        """None."""
        return None

    async def record_turn(self, run_id: UUID, turn: TurnRecord) -> None:
        """Do nothing."""

    async def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        """Do nothing."""

    async def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        """Do nothing."""


class SqlRecorder:
    """Writes each step to a `TraceStore`, committed before the call returns.

    A failing store never stops a run: the first failure of a run is logged as one warning, later steps are still tried,
    and whatever is written from then on marks the run incomplete, so that nobody trains on it.

    Of a run that this recorder opened as a new one, it reads only the steps that it wrote: there can be no others. (A
    second process that resumes the run meanwhile is a second writer, and their conflict marks the run.)
    """

    def __init__(self, store: TraceStore) -> None:
        self._store = store
        # Its own, so that a write does not queue behind slow calls of the recommender. SQLite has one writer at a time.
        self._start_threads()
        renew_in_forks(self, SqlRecorder._start_threads)
        # Runs that the store failed, the oldest first; a record where the start itself is not stored yet.
        self._failed: dict[UUID, RunRecord | None] = {}
        # The steps of runs that are new: those that may be stored.
        self._new: dict[UUID, set[tuple[str, int]]] = {}

    async def start_run(self, record: RunRecord) -> None:
        """Open a run. A run that is already there is left as it is (a resumed one).

        Raises:
            StepConflictError: the run id is another request's: the caller's mistake, and nothing is written.
        """

        def start() -> None:
            if self._store.start_run(record):
                self._new[record.run_id] = set()
                _forget_oldest(self._new)

        await self._try(record.run_id, start, start=record)

    async def load_turn(self, run_id: UUID, position: int) -> TurnRecord | None:
        """The turn of a run that is already stored at a position; None if none is, or if the store cannot be read."""
        return await self._load(run_id, "turn", position, self._store.load_turn)

    async def load_retrieval(self, run_id: UUID, position: int) -> RetrievalRecord | None:
        """The retrieval of a run that is already stored at a position; None if none is, or if it cannot be read."""
        return await self._load(run_id, "retrieval", position, self._store.load_retrieval)

    async def record_turn(self, run_id: UUID, turn: TurnRecord) -> None:
        """Log one call of the policy; it is committed when this returns."""
        self._note(run_id, "turn", turn.position)
        await self._try(run_id, lambda: self._store.record_turn(run_id, turn))

    async def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        """Log one call of the recommender; it is committed when this returns."""
        self._note(run_id, "retrieval", retrieval.position)
        await self._try(run_id, lambda: self._store.record_retrieval(run_id, retrieval))

    async def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        """Close a run with its lists; after a failure, mark it incomplete as well."""
        await self._try(run_id, lambda: self._store.finish_run(run_id, outcome))
        if run_id in self._failed:
            await self._try(run_id, lambda: None)  # the outcome itself may have been what failed
        self._failed.pop(run_id, None)
        self._new.pop(run_id, None)

    async def _load(self, run_id: UUID, kind: str, position: int, load: Callable[[UUID, int], _T | None]) -> _T | None:
        if (kind, position) not in self._new.get(run_id, {(kind, position)}):
            return None
        found: _T | None = None

        def read() -> None:
            nonlocal found
            found = load(run_id, position)

        await self._try(run_id, read)
        return found

    def _note(self, run_id: UUID, kind: str, position: int) -> None:
        """Remember a step before its write, which goes on if the task is cancelled."""
        if run_id in self._new:
            self._new[run_id].add((kind, position))

    def _start_threads(self) -> None:
        self._threads = ThreadPoolExecutor(self._store.max_writers, thread_name_prefix="deeprec-traces")

    async def _try(self, run_id: UUID, write: Callable[[], None], start: RunRecord | None = None) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._write, run_id, write)
        except (SQLAlchemyError, OSError, TraceStoreError) as error:
            if start is not None and isinstance(error, StepConflictError):
                raise
            if run_id not in self._failed:
                self._failed[run_id] = start
                _forget_oldest(self._failed)
                reason = first_line(error)
                _log.warning("The trace of run %s is incomplete: %s. The run goes on.", run_id, reason)

    def _write(self, run_id: UUID, write: Callable[[], None]) -> None:
        # Before the step, so that a later kill cannot leave a gap that looks whole.
        if run_id in self._failed:
            start = self._failed[run_id]
            if start is not None:
                self._store.start_run(start)  # refuses if the run is another request's, which then stays as it is
                self._failed[run_id] = None
            self._store.mark_incomplete(run_id)
        write()


def _forget_oldest(runs: dict[UUID, Any]) -> None:
    """Runs that were abandoned do not pile up."""
    while len(runs) > MAX_OPEN_RUNS:
        runs.pop(next(iter(runs)), None)
