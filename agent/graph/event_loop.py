"""One event loop in a thread of its own, so that the asynchronous graph can also be called synchronously."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def _loop(_process: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="deeprec-graph", daemon=True).start()
    return loop


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code, on a loop that all such calls of this process share."""
    return asyncio.run_coroutine_threadsafe(work, _loop(os.getpid())).result()  # a fork leaves the thread behind


def is_for_blocking_calls(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop is the one that synchronous calls share."""
    return loop is _loop(os.getpid())
