"""Threads for blocking calls that may never return, and that then hold neither their caller nor the process.

`asyncio.to_thread` and `concurrent.futures` wait for every thread before the loop or the process ends. These threads
are daemons, and nothing waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from threading import RLock, Thread
from typing import Any, TypeVar

from deeprec.agent.forks import renew_in_forks

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    answer: Future[Any] = field(default_factory=Future)
    is_abandoned: bool = False

    def run(self) -> None:
        if not self.answer.set_running_or_notify_cancel():
            return
        try:
            result = self.function()
        except StopIteration as error:  # no future can carry it: whoever waits would wait for ever
            failure = RuntimeError("The call raised StopIteration.")
            failure.__cause__ = error
            self.answer.set_exception(failure)
        except BaseException as error:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)


class DaemonThreads:
    """A pool of at most `size` threads. They start when they are needed and are used again.

    A call that its caller abandons (by a timeout or a cancellation) keeps its thread until it returns. Such a thread no
    longer counts, so that calls that hang do not keep others from running.
    """

    def __init__(self, size: int, *, name: str) -> None:
        self._size, self._name = size, name
        self._begin()
        renew_in_forks(self, DaemonThreads._begin)

    def _begin(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()  # None ends a thread
        self._lock = RLock()  # `stop` may be called by a collection of garbage inside it
        self._threads = 0  # those that count
        self._pending = 0  # calls that wait or run on a thread that counts

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread, with the caller's context variables, and wait for what it returns."""
        call = self._submit(function)
        try:
            result: T = await asyncio.wrap_future(call.answer)
        except asyncio.CancelledError:
            self._abandon(call)
            raise
        return result

    def wait_for(self, function: Callable[[], T], timeout_s: float) -> T:
        """As `run`, from synchronous code and for a bounded time.

        Raises:
            TimeoutError: `function` has not returned in time. Its thread is left behind.
        """
        call = self._submit(function)
        try:
            result: T = call.answer.result(timeout_s)
        except TimeoutError:
            call.answer.cancel()
            self._abandon(call)
            raise
        return result

    def stop(self) -> None:
        """End the threads, each after the calls that wait before it; those that hang end when their call returns."""
        with self._lock:
            for _ in range(self._threads):
                self._calls.put(None)
            self._threads = 0

    def _submit(self, function: Callable[[], Any]) -> _Call:
        call = _Call(partial(copy_context().run, function))
        with self._lock:
            self._pending += 1
            self._start_threads()
        self._calls.put(call)
        return call

    def _start_threads(self) -> None:
        while self._threads < min(self._size, self._pending):
            self._threads += 1
            Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run a call; whether this thread goes on afterwards. No call is kept alive while it waits for the next."""
        call = self._calls.get()
        if call is None:
            return False
        call.run()
        with self._lock:
            if not call.is_abandoned:
                self._pending -= 1
            return not call.is_abandoned

    def _abandon(self, call: _Call) -> None:
        with self._lock:
            if not call.answer.done():  # a call that was still waiting is cancelled, and its thread goes on
                call.is_abandoned = True
                self._pending -= 1
                self._threads -= 1
                self._start_threads()
