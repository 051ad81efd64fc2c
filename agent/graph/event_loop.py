"""One event loop in a thread of its own, so that the asynchronous graph can also be called synchronously."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="deeprec-graph", daemon=True).start()
    return loop


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code, on a loop that all such calls share."""
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()
