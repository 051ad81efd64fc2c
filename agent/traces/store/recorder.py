"""Recorders, which log for the graph: one writes each step before the next begins, one writes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.records import (
    RetrievalRecord,
    RunOutcome,
    RunRecord,
    TraceStoreError,
    TurnRecord,
)
from deeprec.agent.traces.store.bounded_calls import BoundedCalls
from deeprec.agent.traces.store.database import first_line
from deeprec.agent.traces.store.rows import TooLongError
from deeprec.agent.traces.store.store import StepConflictError, TraceStore

MAX_OPEN_RUNS = 1024
"""Unfinished runs that a recorder remembers as new, or as failed by the store."""
WRITE_TIMEOUT_S = 10.0
"""Longest wait of a run for one write or read of its store."""
FAILED_TIMEOUT_S = 1.0
"""The same for a run that the store has failed before."""
OWED_AT_ONCE = 8
"""Missed endings of other runs that one write brings along."""

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


class ConversationRecorder(Recorder, Protocol):
    """The log that a conversation writes to, beside the runs of its searches."""

    async def record_conversation_turn(self, turn: ConversationTurn) -> None:
        """Log one turn of a conversation. A turn that is logged again replaces what was logged."""


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

    async def record_conversation_turn(self, turn: ConversationTurn) -> None:
        """Do nothing."""


class SqlRecorder:
    """Writes each step to a `TraceStore`, committed before the call returns.

    A failing store never stops a run: the first failure of a run is logged as one warning, later steps are still tried,
    though for a short time, and whatever is written from then on marks the run incomplete, so that nobody trains on it.
    A store that hangs is waited for once. The ending of a run that could not be written is written, with the mark, when
    the store works again, as long as this recorder lives; so is a turn of a conversation.

    Of a run that this recorder opened as a new one, it reads only the steps that it wrote: there can be no others. (A
    second process that resumes the run meanwhile is a second writer, and their conflict marks the run.)

    `close` ends its threads; a recorder can be used in a `with` block as well.
    """

    def __init__(self, store: TraceStore) -> None:
        self._store = store
        # Its own, so that a write does not queue behind slow calls of the recommender. SQLite has one writer at a time.
        self._calls = BoundedCalls(store.max_writers)
        self._is_closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        # Runs that the store failed, the oldest first; a record where the start itself is not stored yet.
        self._failed: dict[UUID, RunRecord | None] = {}
        # Endings of failed runs that are not stored yet, with the record as above.
        self._owed: dict[UUID, tuple[RunRecord | None, RunOutcome]] = {}
        # Turns of conversations that are not stored yet, by their keys.
        self._owed_turns: dict[UUID, ConversationTurn] = {}
        # The steps of runs that are new: those that may be stored.
        self._new: dict[UUID, set[tuple[str, int]]] = {}

    def close(self) -> None:
        """End the threads, after what is being written. The store stays open; steps of a run that goes on are lost."""
        self._is_closed = True
        try:
            self._calls.close(self._write_owed, WRITE_TIMEOUT_S)
        except (SQLAlchemyError, OSError, TraceStoreError) as error:
            _log.warning("The trace recorder was closed before all was written: %s.", first_line(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        is_written = await self._try(run_id, lambda: self._store.finish_run(run_id, outcome))
        if run_id in self._failed:
            if not is_written and not await self._try(run_id, lambda: None):  # the outcome may be what failed
                self._owed[run_id] = self._failed[run_id], outcome
                _forget_oldest(self._owed)
            self._failed.pop(run_id, None)
        self._new.pop(run_id, None)

    async def record_conversation_turn(self, turn: ConversationTurn) -> None:
        """Log one turn of a conversation; it is committed when this returns, or when a failing store works again."""
        task = asyncio.ensure_future(self._write_turn(turn))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        await asyncio.shield(task)

    async def _write_turn(self, turn: ConversationTurn) -> None:
        def write() -> None:
            self._store.record_conversation_turn(turn)
            self._owed_turns.pop(turn.turn_id, None)
            self._write_owed(OWED_AT_ONCE)

        limit = FAILED_TIMEOUT_S if self._owed_turns else WRITE_TIMEOUT_S
        try:
            if self._is_closed:
                raise TraceStoreError("its recorder is closed")
            await self._calls.run(write, limit)
        except (StepConflictError, TooLongError) as error:
            _log.warning("Turn %s of a conversation is not kept: %s", turn.turn, first_line(error))
        except (SQLAlchemyError, OSError, TraceStoreError) as error:
            if not self._owed_turns:
                _log.warning(
                    "Turn %s of a conversation is not stored yet: %s. The conversation goes on.",
                    turn.turn,
                    first_line(error),
                )
            self._owed_turns[turn.turn_id] = turn
            _forget_oldest(self._owed_turns)

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

    async def _try(self, run_id: UUID, write: Callable[[], None], start: RunRecord | None = None) -> bool:
        """Write or read; whether it worked. A task that is cancelled meanwhile does not take the write along."""
        task = asyncio.ensure_future(self._attempt(run_id, write, start))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # else asyncio reports it where nobody waited for the task any more

    async def _attempt(self, run_id: UUID, write: Callable[[], None], start: RunRecord | None) -> bool:
        limit = FAILED_TIMEOUT_S if run_id in self._failed else WRITE_TIMEOUT_S
        try:
            if self._is_closed:
                raise TraceStoreError("its recorder is closed")
            await self._calls.run(lambda: self._write(run_id, write), limit)
        except (SQLAlchemyError, OSError, TraceStoreError) as error:
            if start is not None and isinstance(error, StepConflictError):
                raise
            if run_id not in self._failed:
                self._failed[run_id] = start
                _forget_oldest(self._failed)
                reason = first_line(error)
                _log.warning("The trace of run %s is incomplete: %s. The run goes on.", run_id, reason)
            return False
        return True

    def _write(self, run_id: UUID, write: Callable[[], None]) -> None:
        # Before the step, so that a later kill cannot leave a gap that looks whole.
        if run_id in self._failed:
            start = self._failed[run_id]
            if start is not None:
                self._store.start_run(start)  # refuses if the run is another request's, which then stays as it is
                self._failed[run_id] = None
            self._store.mark_incomplete(run_id)
        write()
        self._write_owed(OWED_AT_ONCE)

    def _write_owed(self, most: int = MAX_OPEN_RUNS) -> None:
        """Write what an unavailable store has missed; the first that fails again ends the attempt."""
        for _ in range(min(most, len(self._owed_turns))):
            try:
                turn_id, turn = self._owed_turns.popitem()
            except KeyError:
                break
            try:
                self._store.record_conversation_turn(turn)
            except StepConflictError:
                continue
            except (SQLAlchemyError, OSError, TraceStoreError):
                self._owed_turns.setdefault(turn_id, turn)
                return
        for _ in range(most):
            try:
                run_id, (start, outcome) = self._owed.popitem()
            except KeyError:
                return
            try:
                if start is not None:
                    self._store.start_run(start)
                if self._store.mark_incomplete(run_id):
                    self._store.finish_run(run_id, outcome)
            except StepConflictError:  # the run is another request's, or has ended otherwise
                continue
            except (SQLAlchemyError, OSError, TraceStoreError):
                self._owed[run_id] = start, outcome
                return


def _forget_oldest(runs: dict[UUID, Any]) -> None:
    """Runs that were abandoned do not pile up."""
    while len(runs) > MAX_OPEN_RUNS:
        runs.pop(next(iter(runs)), None)
