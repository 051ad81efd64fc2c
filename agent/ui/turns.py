"""Turns that run: each in a task of its own, so that a reload finds it again, and a stop cancels it.

A turn's parts are kept until the next turn of the thread, for a page that comes back in the middle of it.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from deeprec.agent.ui.thread_view import ThreadView

MAX_KEPT = 1_000
"""Threads whose last turn is kept."""
MAX_RUNNING = 64
"""Turns that run at once in all threads."""
HEARTBEAT_S = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy closes the stream."""
Part = Mapping[str, Any]
"""What a page does next: `{"place": ID, "how": "append" | "replace", "html": …}`, or `{"end": STATUS, …}`."""
Work = Callable[[Callable[[Part], None]], Awaitable[None]]
"""What a turn does: it gets the function that adds a part. A stop cancels it."""


class Turn:
    """One running or finished turn: its parts so far."""

    def __init__(self, work: Work, before: ThreadView) -> None:
        self.before = before
        self._parts: list[Part] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run(work))

    @property
    def is_running(self) -> bool:
        """Whether more parts may come."""
        return not self._task.done()

    async def stop(self) -> None:
        """Cancel the turn and wait until it has ended."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def events(self, start: int = 0) -> AsyncGenerator[str]:
        """The parts from a position on as server-sent events, each with its position, until the turn ends."""
        while True:
            while start < len(self._parts):
                yield f"id: {start}\ndata: {json.dumps(self._parts[start])}\n\n"
                start += 1
            if not self.is_running:
                return
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                yield ": still here\n\n"

    async def _run(self, work: Work) -> None:
        try:
            await work(self._add)
        finally:
            if not self._parts or "end" not in self._parts[-1]:  # a page waits for it
                self._add({"end": "The answer ended early. Reload the page to see what is known."})
            asyncio.get_running_loop().call_soon(self._notify)  # by then the task is done

    def _add(self, part: Part) -> None:
        self._parts.append(part)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Turns:
    """The last turn of each thread."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, Turn] = OrderedDict()

    def get(self, thread: str) -> Turn | None:
        """The last turn of a thread; None where it had none, or none lately."""
        return self._turns.get(thread)

    def is_running(self, thread: str) -> bool:
        """Whether a thread's turn runs."""
        turn = self.get(thread)
        return turn is not None and turn.is_running

    @property
    def are_full(self) -> bool:
        """Whether as many turns run as may."""
        return sum(turn.is_running for turn in self._turns.values()) >= MAX_RUNNING

    def start(self, thread: str, work: Work, before: ThreadView) -> None:
        """Start a turn, whose parts take the place of those of the thread's last one. `before` is the thread so far."""
        self._turns.pop(thread, None)
        self._turns[thread] = Turn(work, before)
        done = [name for name, turn in self._turns.items() if not turn.is_running]
        for name in done[: max(0, len(self._turns) - MAX_KEPT)]:
            del self._turns[name]

    async def stop_all(self) -> None:
        """Cancel what runs, for the end of the server."""
        await asyncio.gather(*(turn.stop() for turn in self._turns.values() if turn.is_running))
