"""Collections beside training: their order, and how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from deeprec.training.loop.collection_ahead import CollectionAhead


class Collected:
    """What happened, in its order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.may_end = threading.Event()
        self.waits = threading.Event()
        self.fails_at: int | None = None

    def begin(self, step: int) -> Callable[[], Coroutine[Any, Any, None]]:
        self.seen.append(f"begin {step}")

        async def collect() -> None:
            if step == self.fails_at:
                raise ConnectionError("the server is unavailable")
            if step == 1:
                self.waits.set()
                while not self.may_end.is_set():
                    await asyncio.sleep(0.01)
            self.seen.append(f"collected {step}")

        return collect


def test_the_runs_of_the_next_step_are_collected_while_one_trains() -> None:
    collected = Collected()
    with CollectionAhead(collected.begin, steps=3, ahead=1) as ahead:
        ahead.wait_for(0)
        assert collected.waits.wait(10)  # step 1 is being collected, and step 0 trains
        assert collected.seen in (["begin 0", "begin 1", "collected 0"], ["begin 0", "collected 0", "begin 1"])
        collected.may_end.set()
        ahead.wait_for(1)
        ahead.wait_for(2)
    assert collected.seen[3:] == ["begin 2", "collected 1", "collected 2"] or collected.seen[3:] == [
        *("collected 1", "begin 2", "collected 2")
    ]


def test_without_it_each_step_waits_for_its_own_runs() -> None:
    collected = Collected()
    collected.may_end.set()
    with CollectionAhead(collected.begin, steps=3, ahead=0) as ahead:
        ahead.wait_for(0)
        assert collected.seen == ["begin 0", "collected 0"]
        ahead.wait_for(1)
    assert collected.seen == ["begin 0", "collected 0", "begin 1", "collected 1"]


def test_a_failed_collection_ends_the_step_that_needs_it_and_not_the_one_before() -> None:
    collected = Collected()
    collected.fails_at = 1
    with CollectionAhead(collected.begin, steps=2, ahead=1) as ahead:
        ahead.wait_for(0)
        with pytest.raises(ConnectionError, match="the server is unavailable"):
            ahead.wait_for(1)


def test_an_error_of_the_training_cancels_what_is_being_collected() -> None:
    collected = Collected()
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        CollectionAhead(collected.begin, steps=3, ahead=2) as ahead,
    ):
        ahead.wait_for(0)
        assert collected.waits.wait(10)
        raise KeyboardInterrupt
    assert collected.seen == ["begin 0", "begin 1", "begin 2", "collected 0"]
    assert not [thread for thread in threading.enumerate() if thread.name == "collection"]
