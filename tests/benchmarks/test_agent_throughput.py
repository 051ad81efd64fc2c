"""The scheduler that the throughput bench compares with really keeps step."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.agent_throughput import StepLock


@pytest.mark.asyncio
async def test_nobody_begins_a_step_before_everybody_who_still_runs_has_finished_the_last() -> None:
    lock, log = StepLock(3), list[tuple[int, int]]()

    async def agent(number: int, steps: int) -> None:
        for step in range(steps):
            await asyncio.sleep(0.001 * number)
            log.append((step, number))
            await lock.finish_step()
        lock.leave()

    await asyncio.wait_for(asyncio.gather(agent(0, 2), agent(1, 5), agent(2, 3)), timeout=5)
    assert [step for step, _ in log] == sorted(step for step, _ in log)
    assert len(log) == 10


@pytest.mark.asyncio
async def test_the_last_who_runs_waits_for_nobody() -> None:
    lock = StepLock(2)
    lock.leave()
    await asyncio.wait_for(lock.finish_step(), timeout=1)
