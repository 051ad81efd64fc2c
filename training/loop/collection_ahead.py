"""Collection of the next steps' runs beside training, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from threading import Event, Thread
from typing import Any, Self

Start = Callable[[], Coroutine[Any, Any, None]]
"""Starts a collection."""


class CollectionAhead:
    """The collections of a stage's steps, one after another, of which some run while an earlier step trains.

    It is entered as a context. At its end, also by an error, a collection that still runs is cancelled: its runs go on
    when it is started again.

    Args:
        begin: Step -> what starts the collection of its runs. It is called in the thread that trains, before the step's
            turn comes; what it returns is called when it does, and collects only the runs that are not stored.
        steps: Steps of the stage, counted from 0.
        ahead: Collections that may run before their step begins. 0 starts no thread.
    """

    def __init__(
        self,
        begin: Callable[[int], Start],
        *,
        steps: int,
        ahead: int,
    ) -> None:
        self._begin, self._steps, self._ahead = begin, steps, ahead
        self._begun: dict[int, Future[None]] = {}
        self._thread = Thread(target=lambda: asyncio.run(self._run()), name="collection", daemon=True)
        self._is_running = Event()

    def __enter__(self) -> Self:
        if self._ahead:
            self._thread.start()
            self._is_running.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ahead:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def wait_for(self, step: int) -> None:
        """Return once the runs of a step are stored, and leave those of the next steps to be collected meanwhile.

        Raises:
            Exception: whatever the collection of this step raised.
        """
        if not self._ahead:
            asyncio.run(self._begin(step)())
            return
        for later in range(step, min(step + self._ahead + 1, self._steps)):
            if later not in self._begun:
                self._begun[later] = asyncio.run_coroutine_threadsafe(self._in_turn(self._begin(later)), self._loop)
        self._begun[step].result()

    async def _run(self) -> None:
        """Keep the event loop until the end; `asyncio.run` then cancels what still runs in it."""
        self._loop, self._end, self._turn = asyncio.get_running_loop(), asyncio.Event(), asyncio.Lock()
        self._is_running.set()
        await self._end.wait()

    async def _in_turn(self, start: Start) -> None:
        async with self._turn:
            await start()
