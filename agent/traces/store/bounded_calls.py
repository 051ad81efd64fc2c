"""Calls of a database that may hang: each has a limit of its own, and while one hangs no other waits for it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from time import monotonic

from deeprec.agent.daemon_threads import DaemonThreads
from deeprec.agent.forks import renew_in_forks
from deeprec.agent.traces.records import TraceStoreError

RETRY_S = 30.0
"""Seconds after which a database is tried again although an earlier call still hangs in it."""


class BoundedCalls:
    """Threads that call a database. They end with `close`, or with this object."""

    def __init__(self, size: int) -> None:
        self._threads = DaemonThreads(size, name="deeprec-traces")
        self._begin()
        renew_in_forks(self, BoundedCalls._begin)
        weakref.finalize(self, self._threads.stop).atexit = False

    def _begin(self) -> None:
        self._running: set[object] = set()
        self._overdue: dict[object, float] = {}  # running call -> when its caller stopped waiting

    async def run(self, function: Callable[[], None], timeout_s: float) -> None:
        """Call `function` in a thread and wait for it.

        Raises:
            TraceStoreError: the call took longer, and goes on in its thread; or an earlier one still hangs.
            Exception: whatever `function` raises.
        """
        call = self._checked()
        try:
            async with asyncio.timeout(timeout_s):
                await self._threads.run(lambda: self._run(call, function))
        except TimeoutError:
            raise self._late(call, timeout_s) from None

    def close(self, last: Callable[[], None], timeout_s: float) -> None:
        """Call `last` after the calls that wait, unless one hangs, and end the threads. Errors of `last` pass."""
        try:
            call = self._checked()
            self._threads.wait_for(lambda: self._run(call, last), timeout_s)
        except TimeoutError:
            raise self._late(call, timeout_s) from None
        finally:
            self._threads.stop()

    def _checked(self) -> object:
        overdue = [since for call, since in list(self._overdue.items()) if call in self._running]
        if overdue and monotonic() - max(overdue) < RETRY_S:
            raise TraceStoreError("The trace store has not answered an earlier call yet")
        return object()

    def _run(self, call: object, function: Callable[[], None]) -> None:
        self._running.add(call)
        try:
            function()
        finally:
            self._running.discard(call)
            self._overdue.pop(call, None)

    def _late(self, call: object, timeout_s: float) -> TraceStoreError:
        if call in self._running:
            self._overdue[call] = monotonic()
        return TraceStoreError(f"The trace store gave no answer within {timeout_s:g} seconds")
