"""Turns of conversations are stored whole, once each, and read back by thread, person, tenant and time."""

import asyncio
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent.traces import (
    ConversationFilter,
    ConversationNotFoundError,
    ConversationTrace,
    NullRecorder,
    Reaction,
    SqlRecorder,
    StepConflictError,
    TraceStore,
    TraceStoreError,
    redact_person,
)
from deeprec.agent.traces.store.schema import Base
from deeprec.trm_tool import ConfigError


def feedback(*given: tuple[str, str]) -> dict[str, Any]:
    return {"feedback": [{"item_id": item_id, "kind": kind, "turn": 1} for item_id, kind in given]}


def test_a_conversation_is_read_back_as_it_was_written(any_store: TraceStore, make: Any) -> None:
    turns = [make.conversation_turn(number) for number in (1, 2)]
    for turn in reversed(turns):
        any_store.record_conversation_turn(turn)
    assert any_store.conversation("thread-1").turns == tuple(turns)
    odd = make.conversation_turn(thread_id="\x00\ud800", message="\ud800\x00", user_id=None, tenant=None, run_id=None)
    any_store.record_conversation_turn(odd)
    [read] = any_store.conversation("\x00\ud800").turns
    assert (read.message, read.run_id, read.tenant) == (r"\ud800\x00", None, None)


def test_a_turn_that_is_written_again_replaces_its_row_and_keeps_its_time(store: TraceStore, make: Any) -> None:
    first = make.conversation_turn(1)
    store.record_conversation_turn(first)
    store.record_conversation_turn(replace(first, reply="Again.", created_at=first.created_at + timedelta(hours=1)))
    assert store.conversation("thread-1").turns == (replace(first, reply="Again."),)


def test_an_undone_turn_stays_in_the_log_and_counts_no_more(store: TraceStore, make: Any) -> None:
    turns = [make.conversation_turn(number) for number in (1, 2, 3)]
    again = make.conversation_turn(2, message_id="other", created_at=turns[2].created_at + timedelta(minutes=1))
    edit = make.conversation_turn(3, message_id="", message="", created_at=again.created_at + timedelta(minutes=1))
    for turn in (*turns, again, edit):
        store.record_conversation_turn(turn)
    trace = store.conversation("thread-1")
    assert trace.turns == (*turns, again, edit)
    assert trace.current == (turns[0], again, edit)
    assert store.conversations()[0].turns == 3


def test_a_reaction_belongs_to_the_turn_that_showed_the_item_last(make: Any) -> None:
    def turn(number: int, shown: tuple[str, ...], *given: tuple[str, str]) -> Any:
        return make.conversation_turn(number, shown=shown, state_before={}, state_after=feedback(*given))

    turns = (
        turn(1, ("a", "b")),
        turn(2, ("b", "c"), ("a", "liked"), ("old", "bought")),
        turn(3, (), ("a", "liked"), ("old", "bought"), ("b", "in_cart"), ("c", "liked")),
        turn(4, (), ("a", "liked"), ("old", "bought"), ("b", "in_cart"), ("c", "disliked")),
    )
    trace = ConversationTrace(conversation_id=UUID(int=1), thread_id="t", tenant=None, turns=turns)
    assert trace.reactions == {
        0: (Reaction("a", "liked"),),
        1: (Reaction("old", "bought"), Reaction("b", "in_cart"), Reaction("c", "disliked")),
    }
    odd = replace(turns[0], state_after={"feedback": ["x", {"item_id": 3}]}, state_before={"feedback": 7})
    assert replace(trace, turns=(odd,)).reactions == {0: (Reaction("3", "None"),)}
    assert replace(trace, turns=()).reactions == {}


def test_a_thread_is_a_tenants_own_and_a_person_sees_their_turns_only(store: TraceStore, make: Any) -> None:
    store.record_conversation_turn(make.conversation_turn(1))
    store.record_conversation_turn(make.conversation_turn(2, user_id="13"))
    store.record_conversation_turn(make.conversation_turn(1, tenant="books", message="a novel"))
    with pytest.raises(ConversationNotFoundError, match=r"of several tenants \('books', 'camping'\)"):
        store.conversation("thread-1")
    assert [turn.message for turn in store.conversation("thread-1", tenant="books").turns] == ["a novel"]
    assert [turn.turn for turn in store.conversation("thread-1", tenant="camping", user_id="13").turns] == [2]
    for thread, user in (("thread-1", "14"), ("thread", None), ("%", None)):
        with pytest.raises(ConversationNotFoundError, match="No conversation has the thread"):
            store.conversation(thread, user_id=user)


def test_conversations_are_listed_in_pages(any_store: TraceStore, make: Any) -> None:
    turns = [make.conversation_turn(n, thread_id=f"thread-{n}", tenant=("a", "b")[n % 2]) for n in range(1, 6)]
    for turn in turns:
        any_store.record_conversation_turn(turn)
    any_store.record_conversation_turn(make.conversation_turn(7, thread_id="thread-1", tenant="b", message="cheaper"))
    page = any_store.conversations(2)
    assert [line.thread_id for line in page] == ["thread-5", "thread-4"]
    rest = any_store.conversations(None, before=page[-1])
    assert [line.thread_id for line in rest] == ["thread-3", "thread-2", "thread-1"]
    assert (rest[-1].turns, rest[-1].message, rest[-1].last_at - rest[-1].started_at) == (
        2,
        "a red tent",
        timedelta(minutes=6),
    )
    some = ConversationFilter(tenant="b", since=turns[1].created_at, until=turns[4].created_at)
    assert [line.thread_id for line in any_store.conversations(where=some)] == ["thread-3"]
    for batch in (1, 2, 5):
        found = [trace.thread_id for trace in any_store.conversation_traces(batch=batch)]
        assert found == [f"thread-{n}" for n in range(1, 6)]
    assert list(any_store.conversation_traces(ConversationFilter(user_id="nobody"))) == []


def test_a_turn_goes_with_the_run_of_its_search(store: TraceStore, make: Any) -> None:
    run_id = make.write(store)
    store.record_conversation_turn(make.conversation_turn(1, run_id=run_id))
    store.record_conversation_turn(make.conversation_turn(2, run_id=None))
    store.delete_run(run_id)
    assert [turn.turn for turn in store.conversation("thread-1").turns] == [2]


def test_what_cannot_be_stored_is_refused_with_its_reason(store: TraceStore, make: Any) -> None:
    with pytest.raises(TraceStoreError, match="The thread_id of turn 1 of a conversation has 513 characters"):
        store.record_conversation_turn(make.conversation_turn(thread_id="t" * 513))
    with pytest.raises(ConfigError, match="Give the id of its thread, and its number from 1"):
        make.conversation_turn(thread_id="")
    run_id = make.write(store, make.run(user_id="gone"))
    redact_person(store, "gone", dry_run=False)
    with pytest.raises(StepConflictError, match="was redacted"):
        store.record_conversation_turn(make.conversation_turn(run_id=run_id))


def test_every_field_of_a_turn_is_a_column(make: Any) -> None:
    columns = {column.name for column in Base.metadata.tables["conversation_turns"].c}
    assert columns == {*make.conversation_turn().__dataclass_fields__, "turn_id", "conversation_id"}


async def test_the_null_recorder_keeps_no_turn(make: Any) -> None:
    await NullRecorder().record_conversation_turn(make.conversation_turn())


async def test_a_store_that_goes_away_ends_no_conversation_and_gets_its_turns_later(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, turns = tmp_path / "there", [make.conversation_turn(number) for number in range(1, 6)]
    with TraceStore(folder / "traces.db") as store:
        recorder = SqlRecorder(store)
        await recorder.record_conversation_turn(turns[0])
        folder.rename(tmp_path / "away")
        await recorder.record_conversation_turn(turns[1])
        await recorder.record_conversation_turn(turns[2])
        (tmp_path / "away").rename(folder)
        assert [entry.levelname for entry in caplog.records] == ["WARNING"]
        assert "Turn 2 of a conversation is not stored yet: The trace store" in caplog.text
        await recorder.record_conversation_turn(turns[3])
        assert store.conversation("thread-1").turns == tuple(turns[:4])
        folder.rename(tmp_path / "away")
        await recorder.record_conversation_turn(turns[4])
        (tmp_path / "away").rename(folder)
        recorder.close()
        assert store.conversation("thread-1").turns == tuple(turns)


async def test_a_store_that_hangs_is_waited_for_once(
    store: TraceStore, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.agent.traces.store.recorder.WRITE_TIMEOUT_S", 0.2)
    other = sqlite3.connect(tmp_path / "traces.db", isolation_level=None)
    with SqlRecorder(store) as recorder:
        other.execute("BEGIN IMMEDIATE")
        begun = monotonic()
        for number in range(1, 20):
            await recorder.record_conversation_turn(make.conversation_turn(number))
        assert monotonic() - begun < 5  # not 10 seconds for each
        other.execute("ROLLBACK")
        other.close()
        while not store.conversations():  # the write that hung
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        monkeypatch.undo()
    assert [turn.turn for turn in store.conversation("thread-1").turns] == list(range(1, 20))


async def test_a_turn_that_no_attempt_can_store_holds_nothing_up(
    store: TraceStore, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with SqlRecorder(store) as recorder:
        await recorder.record_conversation_turn(make.conversation_turn(message_id="m" * 600))
        assert "Turn 1 of a conversation is not kept: The message_id of" in caplog.text
        await recorder.record_conversation_turn(make.conversation_turn(2))
    assert [turn.turn for turn in store.conversation("thread-1").turns] == [2]
    assert len(caplog.records) == 1
