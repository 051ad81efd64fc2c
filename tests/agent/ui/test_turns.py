"""Turns as tasks of the server: pages follow them, also late and again, and each ends for its page in any case."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from deeprec.agent.ui import turns as turns_module
from deeprec.agent.ui.thread_view import thread_view
from deeprec.agent.ui.turns import Part, Turns
from tests.agent.shopping.lamp_shop import catalogue

BEFORE = thread_view({}, catalogue())
Add = Callable[[Part], None]


async def received(turns: Turns, thread: str, start: int = 0) -> list[dict[str, Any]]:
    turn = turns.get(thread)
    assert turn is not None
    events = [event async for event in turn.events(start)]
    return [json.loads(event.split("data: ", 1)[1]) for event in events if "data: " in event]


async def test_pages_follow_a_turn_from_where_they_are_until_its_end() -> None:
    turns, goes_on = Turns(), asyncio.Event()

    async def work(add: Add) -> None:
        add({"place": "log", "how": "append", "html": "1"})
        await goes_on.wait()
        add({"place": "log", "how": "append", "html": "2"})
        add({"end": "Done."})

    turns.start("t", work, BEFORE)
    early, late = asyncio.create_task(received(turns, "t")), asyncio.create_task(received(turns, "t", 1))
    await asyncio.sleep(0.01)
    assert turns.is_running("t")
    goes_on.set()
    assert [part.get("html") or part["end"] for part in await early] == ["1", "2", "Done."]
    assert [part.get("html") or part["end"] for part in await late] == ["2", "Done."]
    assert not turns.is_running("t")
    assert await received(turns, "t", 3) == []


@pytest.mark.parametrize("ending", ["error", "stop"])
async def test_a_turn_that_ends_early_still_ends_for_its_page(ending: str) -> None:
    turns = Turns()

    async def work(add: Add) -> None:
        if ending == "error":
            raise ValueError("unexpected")
        await asyncio.sleep(30)

    turns.start("t", work, BEFORE)
    turn = turns.get("t")
    assert turn is not None
    following = asyncio.create_task(received(turns, "t"))
    await asyncio.sleep(0.01)
    await turn.stop()
    assert [part["end"][:22] for part in await following] == ["The answer ended early"]


async def test_a_silent_turn_sends_comments_and_the_number_of_turns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(turns_module, "MAX_RUNNING", 2)
    monkeypatch.setattr(turns_module, "MAX_KEPT", 3)
    turns = Turns()

    async def sleep(add: Add) -> None:
        await asyncio.sleep(30)

    async def end(add: Add) -> None:
        add({"end": "Done."})

    for thread in ("a", "b", "c", "d"):
        turns.start(thread, end, BEFORE)
        await received(turns, thread)
    turns.start("e", sleep, BEFORE)
    assert turns.get("a") is None
    assert turns.get("d") is not None
    assert not turns.are_full
    turns.start("f", sleep, BEFORE)
    assert turns.are_full
    turn = turns.get("e")
    assert turn is not None
    assert await anext(turn.events()) == ": still here\n\n"
    await turns.stop_all()
    assert not turns.are_full
