"""Blocking calls that never return."""

import subprocess
import sys

HANGS = """
import asyncio, threading
from deeprec.agent.graph.daemon_threads import DaemonThreads

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
