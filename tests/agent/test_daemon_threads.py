"""Blocking calls that never return."""

import asyncio
import subprocess
import sys

import pytest

from deeprec.agent.daemon_threads import DaemonThreads

HANGS = """
import asyncio, threading
from deeprec.agent.daemon_threads import DaemonThreads

threads = DaemonThreads(1, name="hangs")

async def main():
    for _ in range(3):  # more than the pool has threads
        try:
            await asyncio.wait_for(threads.run(threading.Event().wait), 0.1)
        except TimeoutError:
            pass
    print(await threads.run(lambda: "another call runs"))

asyncio.run(main())
"""


def test_calls_that_hang_keep_neither_others_from_running_nor_the_process_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "another call runs\n"


async def test_a_call_that_raises_stop_iteration_does_not_hold_its_caller() -> None:
    """An asyncio future refuses this exception, and would never be done."""
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        await asyncio.wait_for(DaemonThreads(1, name="stops").run(lambda: next(iter(()))), 10)
    assert isinstance(caught.value.__cause__, StopIteration)
