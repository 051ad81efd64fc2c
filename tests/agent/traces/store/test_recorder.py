import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID, uuid4

import pytest

from deeprec.agent.traces import NullRecorder, Recorder, SqlRecorder, StepConflictError, TraceStore
from deeprec.trm_tool import ConfigError, ScoredItem

# A writer that says what is down after each commit; the text is long enough to spread a step over many pages.
WRITER = """
import asyncio, sys
from uuid import UUID
from deeprec.agent.traces import RetrievalRecord, RunRecord, SqlRecorder, TraceStore, TurnRecord
from deeprec.trm_tool import ScoredItem

async def main(path, run_id):
    recorder = SqlRecorder(TraceStore(path))
    await recorder.start_run(RunRecord(run_id=run_id, protocol="tagged", protocol_version="1", prompt_version="1",
        guided=False, k=10, policy_model="m", trm_fingerprint="f"))
    for position in range(100_000):
        await recorder.record_turn(run_id, TurnRecord(position=position, node="reason", action="retrieve",
            text="x" * 20_000, prompt_ids=(position,), completion_ids=(1, 2), logprobs=(0.0, 0.0), latency_ms=1.0))
        print(position, flush=True)
        await recorder.record_retrieval(run_id, RetrievalRecord(position=position, turn=position, k=20, latency_ms=1.0,
            items=tuple(ScoredItem(str(n), 0.5) for n in range(20))))

asyncio.run(main(sys.argv[1], UUID(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("last", [0, 7, 23])
def test_a_killed_writer_loses_at_most_the_step_in_flight(tmp_path: Path, last: int, make: Any) -> None:
    path, run_id = tmp_path / "traces.db", uuid4()
    command = [sys.executable, "-c", WRITER, str(path), str(run_id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as writer:
        assert writer.stdout is not None
        told = -1
        while told < last:
            told = int(writer.stdout.readline())
        os.killpg(writer.pid, signal.SIGKILL)
        told = max([told, *(int(line) for line in writer.stdout.read().split())])
    with TraceStore(path, create=False) as store:
        trace = store.run(run_id)
        assert trace.status == "running"
        assert [turn.position for turn in trace.turns] == list(range(len(trace.turns)))
        assert len(trace.turns) in (
            told + 1,
            told + 2,
        )  # all that was told, and at most the commit before the next telling
        assert len(trace.turns) - 1 <= len(trace.retrievals) <= len(trace.turns)
        assert all(len(retrieval.items) == 20 for retrieval in trace.retrievals)  # whole or not at all
        make.write(store)  # and the store takes new runs
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


async def record(recorder: Recorder, make: Any, run_id: UUID, between: Callable[[], None] = lambda: None) -> None:
    """A run of two turns and a list; `between` comes after the first turn."""
    await recorder.start_run(make.run(run_id))
    await recorder.record_turn(run_id, make.turn(0))
    between()
    await recorder.record_retrieval(run_id, make.retrieval(0))
    await recorder.record_turn(run_id, make.turn(1, node="rank", action="recommend"))
    await recorder.finish_run(run_id, make.outcome())


async def test_each_step_is_down_when_its_call_returns(store: TraceStore, make: Any, tmp_path: Path) -> None:
    recorder, run_id = SqlRecorder(store), uuid4()
    with TraceStore(tmp_path / "traces.db") as reader:
        await recorder.start_run(make.run(run_id))
        assert reader.run(run_id).status == "running"
        await recorder.record_turn(run_id, make.turn(0))
        assert reader.run(run_id).turns == (make.turn(0),)
        await recorder.record_retrieval(run_id, make.retrieval(0))
        assert reader.run(run_id).retrievals == (make.retrieval(0),)
        await recorder.finish_run(run_id, make.outcome())
        assert (reader.run(run_id).status, reader.run(run_id).incomplete) == ("finished", False)


async def test_a_resumed_run_reads_what_is_down_and_goes_on(store: TraceStore, make: Any) -> None:
    run_id = uuid4()
    first = SqlRecorder(store)
    await first.start_run(make.run(run_id, parent_id=None))
    await first.record_turn(run_id, make.turn(0))
    second = SqlRecorder(store)
    await second.start_run(make.run(run_id, parent_id=None))
    assert await second.load_turn(run_id, 0) == make.turn(0)
    assert (await second.load_turn(run_id, 1), await second.load_retrieval(run_id, 0)) == (None, None)
    await record(second, make, run_id)
    trace = store.run(run_id)
    assert (trace.status, trace.incomplete, len(trace.turns)) == ("finished", False, 2)


async def test_of_a_run_that_is_new_only_what_was_written_is_read(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, folder = uuid4(), tmp_path / "there"
    with TraceStore(folder / "traces.db") as store:
        recorder = SqlRecorder(store)
        await recorder.start_run(make.run(run_id))
        await recorder.record_turn(run_id, make.turn(0))
        assert await recorder.load_turn(run_id, 0) == make.turn(0)  # a step that runs again after an interrupt
        folder.rename(tmp_path / "away")  # no read could go unnoticed now
        assert (await recorder.load_turn(run_id, 1), await recorder.load_retrieval(run_id, 0)) == (None, None)
        assert caplog.records == []
        assert await recorder.load_turn(run_id, 0) is None
        assert "was removed or replaced" in caplog.text


async def test_a_step_whose_task_was_cancelled_is_found_again(store: TraceStore, make: Any, tmp_path: Path) -> None:
    run_id, recorder = uuid4(), SqlRecorder(store)
    await recorder.start_run(make.run(run_id))
    other = sqlite3.connect(tmp_path / "traces.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(recorder.record_turn(run_id, make.turn(0)))
    await asyncio.sleep(0.2)  # its thread waits for the lock
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    other.execute("ROLLBACK")
    other.close()
    assert await recorder.load_turn(run_id, 0) == make.turn(0)
    await recorder.finish_run(run_id, make.outcome())
    assert not store.run(run_id).incomplete


async def test_many_runs_at_once(store: TraceStore, make: Any) -> None:
    recorder = SqlRecorder(store)
    ids = [uuid4() for _ in range(32)]
    await asyncio.gather(*(record(recorder, make, run_id) for run_id in ids))
    traces = list(store.traces())
    assert {trace.run.run_id for trace in traces} == set(ids)
    assert not any(trace.incomplete for trace in traces)


async def test_a_null_recorder_keeps_nothing(make: Any) -> None:
    recorder = NullRecorder()
    await record(recorder, make, uuid4())
    assert (await recorder.load_turn(uuid4(), 0), await recorder.load_retrieval(uuid4(), 0)) == (None, None)


def limit_pages(path: Path, store: TraceStore, extra: int) -> None:
    """Fill the disk, as far as SQLite is concerned: the writers' connection may add `extra` pages."""
    raw = store.database.readers.raw_connection()
    cursor = raw.cursor()
    (pages,) = cursor.execute("PRAGMA page_count").fetchone()
    cursor.execute(f"PRAGMA max_page_count={pages + extra}")
    cursor.close()
    raw.close()


async def test_a_full_disk_does_not_stop_a_run(
    store: TraceStore, make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, run_id = SqlRecorder(store), uuid4()
    caplog.set_level(logging.WARNING)
    await recorder.start_run(make.run(run_id))
    await recorder.record_turn(run_id, make.turn(0))
    limit_pages(tmp_path / "traces.db", store, 2)
    await recorder.record_turn(run_id, make.turn(1, text="x" * 100_000))
    await recorder.record_turn(run_id, make.turn(2, text="x" * 100_000))
    await recorder.finish_run(run_id, make.outcome())
    trace = store.run(run_id)
    assert (trace.status, trace.incomplete, len(trace.turns)) == ("finished", True, 1)
    messages = [entry.getMessage() for entry in caplog.records]
    assert messages == [
        f"The trace of run {run_id} is incomplete: The trace store cannot be written: database or disk is full. "
        "The run goes on."
    ]


async def test_a_disk_that_is_full_only_for_a_while_still_marks_the_run(
    store: TraceStore, make: Any, tmp_path: Path
) -> None:
    recorder, run_id = SqlRecorder(store), uuid4()
    await recorder.start_run(make.run(run_id))
    limit_pages(tmp_path / "traces.db", store, 0)
    await recorder.record_turn(run_id, make.turn(0, text="x" * 100_000))
    limit_pages(tmp_path / "traces.db", store, 10_000)
    await recorder.record_turn(run_id, make.turn(1))
    assert store.run(run_id).incomplete  # already here: a kill before the end must not leave a gap that looks whole
    await recorder.finish_run(run_id, make.outcome())
    assert store.run(run_id).incomplete


async def test_a_store_that_vanishes_does_not_stop_a_run(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, run_id = tmp_path / "gone", uuid4()
    with TraceStore(folder / "traces.db") as store:
        await record(SqlRecorder(store), make, run_id, between=lambda: shutil.rmtree(folder))
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert f"run {run_id} is incomplete" in caplog.text
    assert "was removed or replaced" in caplog.text


async def test_a_store_that_goes_away_and_comes_back_marks_the_run(make: Any, tmp_path: Path) -> None:
    folder, run_id = tmp_path / "there", uuid4()
    with TraceStore(folder / "traces.db") as store:
        recorder = SqlRecorder(store)
        await recorder.start_run(make.run(run_id))
        folder.rename(tmp_path / "away")
        await recorder.record_turn(run_id, make.turn(0))
        (tmp_path / "away").rename(folder)
        await recorder.finish_run(run_id, make.outcome())
        assert store.run(run_id).incomplete


async def test_a_start_that_was_not_stored_is_made_up_for(make: Any, tmp_path: Path) -> None:
    folder, run_id = tmp_path / "there", uuid4()
    with TraceStore(folder / "traces.db") as store:
        folder.rename(tmp_path / "away")
        await (recorder := SqlRecorder(store)).start_run(make.run(run_id))
        (tmp_path / "away").rename(folder)
        await recorder.record_turn(run_id, make.turn(0))
        assert store.run(run_id).incomplete


async def test_a_locked_store_does_not_stop_a_run_and_the_run_is_marked_later(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.agent.traces.store.database.BUSY_TIMEOUT_MS", 50)
    path, run_id = tmp_path / "traces.db", uuid4()
    with TraceStore(path) as store:
        recorder = SqlRecorder(store)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await recorder.start_run(make.run(run_id))
        await recorder.record_turn(run_id, make.turn(0))
        other.execute("ROLLBACK")
        other.close()
        await recorder.record_turn(run_id, make.turn(1))
        await recorder.finish_run(run_id, make.outcome())
        trace = store.run(run_id)
    assert (trace.status, trace.incomplete, [turn.position for turn in trace.turns]) == ("finished", True, [1])


async def test_a_store_that_hangs_is_waited_for_once_and_gets_the_ending_later(
    store: TraceStore, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("deeprec.agent.traces.store.recorder.WRITE_TIMEOUT_S", 0.3)
    other = sqlite3.connect(tmp_path / "traces.db", isolation_level=None)
    stored, unknown = uuid4(), uuid4()
    with SqlRecorder(store) as recorder:
        await recorder.start_run(make.run(stored))
        other.execute("BEGIN IMMEDIATE")
        begun = monotonic()
        await recorder.record_turn(stored, make.turn(0))
        for position in range(1, 20):
            assert await recorder.load_turn(stored, position) is None
            await recorder.record_turn(stored, make.turn(position))
        await recorder.finish_run(stored, make.outcome(status="budget"))
        await record(recorder, make, unknown)
        assert monotonic() - begun < 5  # not 10 seconds for each
        assert len(caplog.messages) == 2
        assert "gave no answer within 0.3 seconds" in caplog.messages[0]
        assert "has not answered an earlier call yet" in caplog.messages[1]
        assert (store.run(stored).status, [run.run_id for run in store.runs()]) == ("running", [stored])
        other.execute("ROLLBACK")
        other.close()
        await asyncio.to_thread(wait_until, lambda: bool(store.run(stored).turns))  # the write that hung
        monkeypatch.undo()
        await record(recorder, make, uuid4())
    traces = [store.run(run_id) for run_id in (stored, unknown)]
    assert [(trace.status, trace.incomplete) for trace in traces] == [("budget", True), ("finished", True)]
    assert [len(trace.turns) for trace in traces] == [1, 0]
    assert len(traces[1].recommended) == 2


async def test_closing_writes_what_is_missing_and_leaves_no_thread(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, others = tmp_path / "there", trace_threads()  # other tests' recorders may still have theirs
    with TraceStore(folder / "traces.db") as store:
        with SqlRecorder(store) as recorder:
            await recorder.start_run(run := make.run())
            folder.rename(tmp_path / "away")
            await recorder.record_turn(run.run_id, make.turn(0))
            await recorder.finish_run(run.run_id, make.outcome())
            (tmp_path / "away").rename(folder)
        assert (store.run(run.run_id).status, store.run(run.run_id).incomplete) == ("finished", True)
        await asyncio.to_thread(wait_until, lambda: not trace_threads() - others)
        await record(recorder, make, uuid4())
        assert "its recorder is closed" in caplog.messages[-1]
        assert len(store.runs()) == 1
        assert not trace_threads() - others
        await record(SqlRecorder(store), make, uuid4())  # and one that nobody closes leaves none when it is collected
        gc.collect()
        await asyncio.to_thread(wait_until, lambda: not trace_threads() - others)


def trace_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("deeprec-traces")}


def wait_until(holds: Callable[[], bool]) -> None:
    patience = monotonic() + 20
    while not holds():
        assert monotonic() < patience
        sleep(0.01)


async def test_two_writers_that_disagree_make_a_run_incomplete(
    store: TraceStore, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = uuid4()
    first, second = SqlRecorder(store), SqlRecorder(store)
    run = make.run(run_id)
    await first.start_run(run)
    await second.start_run(run)
    await first.record_turn(run_id, make.turn(0))
    await second.record_turn(run_id, make.turn(0, text="something else"))
    await first.finish_run(run_id, make.outcome())
    await second.finish_run(run_id, make.outcome())
    trace = store.run(run_id)
    assert trace.incomplete
    assert trace.turns == (make.turn(0),)
    assert "another turn at position 0" in caplog.text


@pytest.mark.parametrize("change", [{"adapter_version": "5"}, {"history": ("1",)}, {"message": "another"}])
async def test_a_run_id_that_is_another_requests_is_the_callers_mistake(
    store: TraceStore, make: Any, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run_id, recorder = uuid4(), SqlRecorder(store)
    await recorder.start_run(make.run(run_id))
    await recorder.record_turn(run_id, make.turn(0))
    why = f"{run_id} is taken by another request: its {next(iter(change))} differ. Leave the id out"
    with pytest.raises(StepConflictError, match=why):
        await recorder.start_run(make.run(run_id, **change))
    await recorder.finish_run(run_id, make.outcome())
    assert (store.run(run_id).status, store.run(run_id).incomplete) == ("finished", False)
    assert caplog.records == []


async def test_a_start_that_was_not_stored_never_writes_into_another_requests_run(make: Any, tmp_path: Path) -> None:
    folder, run_id = tmp_path / "there", uuid4()
    with TraceStore(folder / "traces.db") as store:
        make.write(store, make.run(run_id), turns=2)
        folder.rename(tmp_path / "away")
        await (recorder := SqlRecorder(store)).start_run(make.run(run_id, message="another"))
        (tmp_path / "away").rename(folder)
        await recorder.record_turn(run_id, make.turn(2))
        await recorder.finish_run(run_id, make.outcome())
        trace = store.run(run_id)
    assert (len(trace.turns), trace.incomplete, trace.run.message) == (2, False, "something lighter")


async def test_abandoned_runs_are_forgotten_in_the_end(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.agent.traces.store.recorder.MAX_OPEN_RUNS", 3)
    with TraceStore(tmp_path / "there" / "traces.db") as store:
        recorder = SqlRecorder(store)
        await recorder.start_run(make.run())  # never finished, and nothing is kept of it
        (tmp_path / "there").rename(tmp_path / "away")
        late = [make.run() for _ in range(5)]
        for run in late:
            await recorder.start_run(run)
        (tmp_path / "away").rename(tmp_path / "there")
        for run in (*late[2:], *late[:2]):
            await recorder.finish_run(run.run_id, make.outcome())
        remembered = [trace for trace in store.traces() if trace.incomplete]
    assert {trace.run.run_id for trace in remembered} == {run.run_id for run in late[2:]}


def test_a_seed_beyond_64_bits_is_refused_before_it_reaches_a_store(make: Any) -> None:
    with pytest.raises(ConfigError, match="64 bits"):
        make.run(seed=2**63)


async def test_hostile_text_is_recorded_without_a_warning(
    store: TraceStore, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    evil, run_id = "\x00\udfff{}", uuid4()
    recorder = SqlRecorder(store)
    await recorder.start_run(make.run(run_id, message=evil))
    await recorder.record_turn(run_id, make.turn(0, text=evil, items=(evil,)))
    await recorder.record_retrieval(run_id, make.retrieval(0, items=(ScoredItem(evil, 1.0),), unenforced=(evil,)))
    await recorder.finish_run(run_id, make.outcome(detail=evil))
    assert caplog.records == []
    assert store.run(run_id).turns[0].text == "\\x00\\udfff{}"


async def test_an_id_that_no_column_takes_is_a_failing_store_too(
    store: TraceStore, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = uuid4()
    recorder = SqlRecorder(store)
    await recorder.start_run(make.run(run_id))
    await recorder.record_turn(run_id, make.turn(0, completion_ids=(-1,), logprobs=(0.0,)))
    await recorder.finish_run(run_id, make.outcome())
    assert store.run(run_id).incomplete
    assert "Token ids run from -1" in caplog.text
