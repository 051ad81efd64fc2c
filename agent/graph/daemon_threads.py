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
from threading import Lock, Thread
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
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._lock = Lock()
        self._threads = 0  # those that count
        self._pending = 0  # calls that wait or run on a thread that counts

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread, with the caller's context variables, and wait for what it returns."""
        call = _Call(partial(copy_context().run, function))
        with self._lock:
            self._pending += 1
            self._start_threads()
        self._calls.put(call)
        try:
            result: T = await asyncio.wrap_future(call.answer)
        except asyncio.CancelledError:
            self._abandon(call)
            raise
        return result

    def _start_threads(self) -> None:
        while self._threads < min(self._size, self._pending):
            self._threads += 1
            Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while self._finish(self._calls.get()):
            pass

    def _finish(self, call: _Call) -> bool:
        """Run a call; whether this thread still counts afterwards."""
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
