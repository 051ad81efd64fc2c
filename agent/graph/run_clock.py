"""The clock of a run. The time that its log takes is not the run's: a slow store changes no list."""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from time import perf_counter
from typing import TypeVar
from uuid import UUID

from deeprec.agent.traces.records import RetrievalRecord, RunOutcome, RunRecord, TurnRecord
from deeprec.agent.traces.store.recorder import Recorder

_T = TypeVar("_T")
_logging_s: ContextVar[float] = ContextVar("deeprec_logging_s", default=0.0)


def run_clock() -> float:
    """Seconds on a clock that stands still while this task waits for a `TimedRecorder`; differences have a meaning."""
    return perf_counter() - _logging_s.get()


class TimedRecorder:
    """A recorder whose time `run_clock` leaves out. Its methods are those of the recorder inside."""

    def __init__(self, inner: Recorder) -> None:
        self._inner = inner

    async def start_run(self, record: RunRecord) -> None:
        """Open a run."""
        await _timed(self._inner.start_run(record))

    async def load_turn(self, run_id: UUID, position: int) -> TurnRecord | None:
        """The turn at a position."""
        return await _timed(self._inner.load_turn(run_id, position))

    async def load_retrieval(self, run_id: UUID, position: int) -> RetrievalRecord | None:
        """The retrieval at a position."""
        return await _timed(self._inner.load_retrieval(run_id, position))

    async def record_turn(self, run_id: UUID, turn: TurnRecord) -> None:
        """Log one call of the policy."""
        await _timed(self._inner.record_turn(run_id, turn))

    async def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        """Log one call of the recommender."""
        await _timed(self._inner.record_retrieval(run_id, retrieval))

    async def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        """Close a run."""
        await _timed(self._inner.finish_run(run_id, outcome))


async def _timed(call: Awaitable[_T]) -> _T:
    begun = perf_counter()
    try:
        return await call
    finally:
        _logging_s.set(_logging_s.get() + perf_counter() - begun)
