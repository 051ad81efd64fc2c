import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar, Self
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from deeprec.agent.traces import (
    PARTS,
    RecommendationRecord,
    RunFilter,
    RunNotFoundError,
    StepConflictError,
    TraceStore,
    TraceStoreError,
)
from deeprec.agent.traces.store.codec import storable
from deeprec.trm_tool import ScoredItem

FIRST, SECOND = UUID("aaaa0000-0000-4000-8000-000000000001"), UUID("aaaa1111-0000-4000-8000-000000000002")


@pytest.fixture
def store(any_store: TraceStore) -> TraceStore:
    """Everything here holds on SQLite and on PostgreSQL."""
    return any_store


def count(store: TraceStore, table: str) -> int:
    with store.database.readers.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_run_comes_back_as_it_was_written(store: TraceStore, make: Any) -> None:
    run = make.run()
    make.write(store, run)
    trace = store.run(run.run_id)
    assert trace.run == run
    assert (trace.status, trace.incomplete, trace.ungrounded, trace.latency_ms) == ("finished", False, 1, 900.0)
    assert trace.turns == (make.turn(0), make.turn(1), make.turn(2, node="rank", action="recommend", items=("9",)))
    assert trace.retrievals == (make.retrieval(0), make.retrieval(1))
    assert (trace.written, trace.recommended) == (make.outcome().written, make.outcome().recommended)
    assert trace.finished_at is not None
    assert trace.started_at.utcoffset() is not None
    assert trace.started_at <= trace.finished_at


def test_a_bare_run_comes_back(store: TraceStore, make: Any) -> None:
    unknown = dict.fromkeys(("user_id", "message", "target_id", "adapter", "adapter_version", "seed", "group_id"))
    run = make.run(history=(), sampling={}, config={}, versions={}, split=None, suite=None, parent_id=None, **unknown)
    store.start_run(run)
    store.record_turn(
        run.run_id,
        make.turn(0, prompt_ids=(), completion_ids=(), logprobs=(), chained=False, messages=[{"role": "user"}]),
    )
    trace = store.run(run.run_id)
    assert trace.run == run
    assert trace.status == "running"
    assert trace.latency_ms is None
    assert trace.turns[0].messages == [{"role": "user"}]
    assert trace.turns[0].logprobs == ()


def test_what_a_preference_says_must_be_comes_back(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    constraints = {
        "hard": [{"text": "not horror", "where": {"genre": {"not_in": ["Horror"]}}, "source": "message"}],
        "guessed": [{"text": "year >= 1990", "where": {"year": {"min": 1990.0}}}],
        "unenforceable": ["not scary \ud800"],
    }
    store.record_retrieval(run.run_id, make.retrieval(0, words=True, constraints=constraints))
    store.record_retrieval(run.run_id, make.retrieval(1))
    [stated, plain] = store.run(run.run_id).retrievals
    assert (stated.words, plain.words, plain.constraints) == (True, False, None)
    assert stated.constraints == constraints | {"unenforceable": [storable("not scary \ud800")]}


def test_logprobs_are_kept_as_float32(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    store.record_turn(run.run_id, make.turn(0, logprobs=(-0.1, -math.inf, -1e-30)))
    expected = np.array([-0.1, -math.inf, -1e-30], dtype=np.float32)
    np.testing.assert_array_equal(np.array(store.run(run.run_id).turns[0].logprobs, dtype=np.float32), expected)


def test_writing_the_same_again_changes_nothing(store: TraceStore, make: Any) -> None:
    run = make.run()
    make.write(store, run)
    before = store.run(run.run_id)
    make.write(store, run)
    store.record_turn(run.run_id, make.turn(0, latency_ms=9999.0))  # a clock says something else
    store.finish_run(run.run_id, make.outcome(latency_ms=1.0))
    assert store.run(run.run_id) == before
    assert count(store, "retrieved_items") == 6


@pytest.mark.parametrize(
    "other",
    [
        {"text": "other"},
        {"completion_ids": (1, 2, 3)},
        {"logprobs": (-0.5, -0.25, -2.5)},
        {"prompt_ids": (1,)},
        {"preference": None},
    ],
)
def test_another_turn_at_a_position_is_refused(store: TraceStore, make: Any, other: dict[str, Any]) -> None:
    store.start_run(run := make.run())
    store.record_turn(run.run_id, make.turn(0))
    with pytest.raises(StepConflictError, match="another turn at position 0"):
        store.record_turn(run.run_id, make.turn(0, **other))
    assert store.run(run.run_id).turns == (make.turn(0),)


def test_another_retrieval_at_a_position_is_refused(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    store.record_retrieval(run.run_id, make.retrieval(0))
    with pytest.raises(StepConflictError, match="another retrieval at position 0"):
        store.record_retrieval(run.run_id, make.retrieval(0, items=(ScoredItem("5", 0.1),)))


def test_another_ending_is_refused(store: TraceStore, make: Any) -> None:
    run_id = make.write(store)
    with pytest.raises(StepConflictError, match="ended already"):
        store.finish_run(run_id, make.outcome(status="budget"))
    with pytest.raises(StepConflictError, match="ended already"):
        store.finish_run(run_id, make.outcome(recommended=()))


def test_a_run_resumed_with_another_policy_is_refused(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    store.start_run(make.run(run.run_id, parent_id=run.parent_id, versions={"vllm": "0.33.0"}))
    with pytest.raises(StepConflictError, match="another request: its adapter_version, sampling differ"):
        store.start_run(make.run(run.run_id, adapter_version="5", sampling={"temperature": 0.0}))


def test_a_run_goes_on_under_a_later_kind_of_fingerprint_of_the_same_weights(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run(base_fingerprint="a"))
    store.start_run(make.run(run.run_id, parent_id=run.parent_id, base_fingerprint="a-b"))
    with pytest.raises(StepConflictError, match="its base_fingerprint differ"):
        store.start_run(make.run(run.run_id, parent_id=run.parent_id, base_fingerprint="c-b"))


@pytest.mark.parametrize(
    "change", [{"k": 4}, {"seed": None}, {"target_id": "2"}, {"user_id": "13"}, {"tenant": "books"}, {"message": None}]
)
def test_a_run_resumed_for_another_request_is_refused(store: TraceStore, make: Any, change: dict[str, Any]) -> None:
    store.start_run(run := make.run())
    with pytest.raises(StepConflictError, match=f"another request: its {next(iter(change))} differ"):
        store.start_run(make.run(run.run_id, **change))


def test_starting_says_whether_the_run_is_new(store: TraceStore, make: Any) -> None:
    run = make.run()
    assert [store.start_run(run), store.start_run(run)] == [True, False]


def test_a_label_that_no_index_takes_is_refused_by_name(store: TraceStore, make: Any) -> None:
    with pytest.raises(TraceStoreError, match=r"The user_id of run .* has 5,000 characters"):
        store.start_run(make.run(user_id="\U0001f3ac" * 5000))
    assert store.start_run(make.run(user_id="\U0001f3ac" * 512))


def test_steps_that_are_down_can_be_loaded(store: TraceStore, make: Any) -> None:
    run = make.run()
    assert (store.load_turn(run.run_id, 0), store.load_retrieval(run.run_id, 0)) == (None, None)
    store.start_run(run)
    for position in (0, 1):
        store.record_turn(run.run_id, make.turn(position))
        store.record_retrieval(run.run_id, make.retrieval(position))
    assert [store.load_turn(run.run_id, position) for position in (0, 1, 2)] == [make.turn(0), make.turn(1), None]
    assert [store.load_retrieval(run.run_id, position) for position in (1, 2)] == [make.retrieval(1), None]


@pytest.mark.parametrize("positions", [(0, 2), (1,)])
def test_a_gap_in_the_steps_makes_a_run_incomplete(store: TraceStore, make: Any, positions: tuple[int, ...]) -> None:
    store.start_run(run := make.run())
    for position in positions:
        store.record_turn(run.run_id, make.turn(position))
    store.finish_run(run.run_id, make.outcome())
    trace = store.run(run.run_id)
    assert (trace.status, trace.incomplete) == ("finished", True)


def test_a_step_of_an_unknown_run_is_refused(store: TraceStore, make: Any) -> None:
    with pytest.raises(TraceStoreError, match=r"(?i)cannot be written: .*foreign key"):
        store.record_turn(FIRST, make.turn(0))
    with pytest.raises(RunNotFoundError, match="no run"):
        store.finish_run(FIRST, make.outcome())


def test_deleting_a_run_deletes_all_of_it(store: TraceStore, make: Any) -> None:
    kept, gone = make.write(store), make.write(store)
    for run_id in (kept, gone):
        store.write_rewards(run_id, "list", {"hit": 1.0})
    tables = ("turns", "retrievals", "retrieved_items", "recommendations", "rewards", "runs")
    before = [count(store, table) for table in tables]
    store.delete_run(gone)
    assert [count(store, table) for table in tables] == [rows / 2 for rows in before]
    assert len(store.run(kept).turns) == 3
    with pytest.raises(RunNotFoundError):
        store.delete_run(gone)


def test_rewards_keep_nan_and_are_replaced_by_scheme(store: TraceStore, make: Any) -> None:
    run_id = make.write(store)
    store.write_rewards(run_id, "list", {"hit": math.nan, "format": -1.0})
    store.write_rewards(run_id, "talk", {"turns": 0.5})
    rewards = {(reward.scheme, reward.component): reward.value for reward in store.run(run_id).rewards}
    assert math.isnan(rewards.pop(("list", "hit")))
    assert rewards == {("list", "format"): -1.0, ("talk", "turns"): 0.5}
    store.write_rewards(run_id, "list", {"hit": 3.0})
    rewards = {(reward.scheme, reward.component): reward.value for reward in store.run(run_id).rewards}
    assert rewards == {("list", "hit"): 3.0, ("talk", "turns"): 0.5}
    assert store.rewards([run_id, FIRST], "list") == {run_id: {"hit": 3.0}}
    assert store.rewards([], "list") == store.rewards([run_id], "other") == {}
    with pytest.raises(RunNotFoundError):
        store.write_rewards(FIRST, "list", {"hit": 1.0})


def test_a_missing_score_comes_back_as_nan(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    store.record_retrieval(run.run_id, make.retrieval(0, items=(ScoredItem("9", math.nan),)))
    assert math.isnan(store.run(run.run_id).retrievals[0].items[0].score)


def test_runs_are_listed_newest_first_with_their_counts(store: TraceStore, make: Any) -> None:
    ids = [make.write(store, turns=turns) for turns in (2, 3)]
    store.start_run(running := make.run(target_id=None))
    summaries = store.runs()
    assert [run.run_id for run in summaries] == [running.run_id, ids[1], ids[0]]
    assert [(run.turns, run.retrievals, run.completion_tokens) for run in summaries] == [
        (0, 0, 0),
        (3, 2, 9),
        (2, 1, 6),
    ]
    assert [run.target_rank for run in summaries] == [None, 2, 2]
    assert [run.run_id for run in store.runs(limit=1)] == [running.run_id]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (RunFilter(), 4),
        (RunFilter(status="running"), 1),
        (RunFilter(status="finished"), 2),
        (RunFilter(status="incomplete"), 1),
        (RunFilter(user_id="12"), 3),
        (RunFilter(user_id="12", status="budget"), 1),
        (RunFilter(user_id="nobody\udc80\x00"), 0),
        (RunFilter(tenant="books"), 2),
        (RunFilter(tenant="books", user_id="13"), 1),
        (RunFilter(tenant="Books"), 0),
        (RunFilter(thread_id="thread-1"), 3),
        (RunFilter(thread_id="thread-2"), 1),
        (RunFilter(caller_run_id="5f0c", thread_id="thread-2"), 1),
        (RunFilter(group_id="g2"), 1),
        (RunFilter(split="train"), 1),
        (RunFilter(guided=True), 1),
        (RunFilter(guided=False, protocol="tagged", trm_fingerprint="ab" * 8), 3),
        (RunFilter(protocol="tools"), 0),
        (RunFilter(parent_id=FIRST), 1),
        (RunFilter(since=datetime(2020, 1, 1, tzinfo=UTC), until=datetime(2100, 1, 1)), 4),
        (RunFilter(since=datetime(2100, 1, 1, tzinfo=UTC)), 0),
        (RunFilter(until=datetime(2020, 1, 1)), 0),
        (RunFilter(suite="demo", policy_model="SmolLM2-135M-Instruct", adapter_version="4"), 4),
    ],
)
def test_runs_are_filtered(store: TraceStore, make: Any, where: RunFilter, expected: int) -> None:
    make.write(store)
    make.write(store, make.run(group_id="g2", split="train", tenant="books"))
    store.mark_incomplete(make.write(store, status="budget"))
    store.start_run(make.run(user_id="13", guided=True, parent_id=FIRST, tenant="books", thread_id="thread-2"))
    assert len(store.runs(where=where)) == expected
    assert len(list(store.traces(where))) == expected


def test_runs_are_filtered_by_tags_and_metadata_as_they_are_written(any_store: TraceStore, make: Any) -> None:
    metadata = {"page": "checkout", "visits": "1", 'a "quoted" name': "ä"}
    any_store.start_run(make.run(tags=("web", 'say "hi"', "ü", 'say "we'), caller_metadata=metadata))
    any_store.start_run(make.run(tags=(), caller_metadata={}))
    for where, expected in [
        *((RunFilter(tag=tag), 1) for tag in ("web", 'say "hi"', "ü")),
        *((RunFilter(tag=tag), 0) for tag in ("Web", "we", "hi", 'hi"', 'web", "say', "checkout", "page", "")),
        (RunFilter(metadata=metadata), 1),
        (RunFilter(metadata={"page": "checkout"}, tag="web"), 1),
        (RunFilter(metadata={}), 2),
        (RunFilter(metadata={"page": "check"}), 0),
        (RunFilter(metadata={"page": "checkout", "visits": "12"}), 0),
        (RunFilter(metadata={"age": "checkout"}), 0),
    ]:
        assert len(any_store.runs(where=where)) == expected, where


def test_a_run_is_found_by_the_beginning_of_its_id(store: TraceStore, make: Any) -> None:
    make.write(store, make.run(FIRST))
    make.write(store, make.run(SECOND))
    for prefix in ("aaaa0", "AAAA0000-00", str(FIRST), FIRST.hex):
        assert store.run(prefix).run.run_id == FIRST
    with pytest.raises(RunNotFoundError, match=r"More than one run begins with 'aaaa'.*0001, aaaa1111"):
        store.run("aaaa")
    with pytest.raises(RunNotFoundError, match="No run begins with 'ab'"):
        store.run("ab")
    for nonsense in ("", "xyz", "a%", "a" * 33, "\udc80"):
        with pytest.raises(RunNotFoundError, match="is not a run id"):
            store.run(nonsense)


def test_all_runs_are_streamed_oldest_first_in_batches(store: TraceStore, make: Any) -> None:
    ids = [make.write(store, turns=1) for _ in range(7)]
    for batch in (1, 3, 7, 64):
        assert [trace.run.run_id for trace in store.traces(batch=batch)] == ids


def test_a_stream_does_not_hold_writers_up_and_sees_what_they_add(store: TraceStore, make: Any) -> None:
    ids = [make.write(store, turns=1) for _ in range(3)]
    stream = store.traces(batch=2)
    seen = [next(stream).run.run_id]
    ids.append(make.write(store, turns=1))
    seen += [trace.run.run_id for trace in stream]
    assert seen == ids


def test_many_threads_and_two_stores_write_to_one_database(store: TraceStore, make: Any, url: str) -> None:
    with TraceStore(url) as other, ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: make.write((store, other)[n % 2]), range(32)))
    assert {run.run_id for run in store.runs()} == set(ids)
    assert all(len(trace.turns) == 3 and not trace.incomplete for trace in store.traces())


def test_hostile_text_is_stored_escaped(store: TraceStore, make: Any) -> None:
    evil = "a\x00b\udc80c\x1b[31m'; DROP TABLE runs; -- \u202e"
    kept = "a\\x00b\\udc80c\x1b[31m'; DROP TABLE runs; -- \u202e"
    run = make.run(user_id=evil, message=evil, history=(evil,), target_id=evil, config={evil: [evil, {"x": {1}}]})
    store.start_run(run)
    store.record_turn(run.run_id, make.turn(0, text=evil, thought=evil, preference=evil, detail=evil, messages=[evil]))
    store.record_turn(run.run_id, make.turn(0, text=evil, thought=evil, preference=evil, detail=evil, messages=[evil]))
    store.record_retrieval(run.run_id, make.retrieval(0, preference=evil, items=(ScoredItem(evil, 0.5),)))
    lines = tuple(line for line in make.outcome().recommended)
    store.finish_run(run.run_id, make.outcome(detail=evil, recommended=lines))
    trace = store.run(run.run_id)
    assert (trace.run.message, trace.run.user_id, trace.run.history) == (kept, kept, (kept,))
    assert trace.run.config == {kept: [kept, {"x": "{1}"}]}
    assert (trace.turns[0].text, trace.turns[0].messages, trace.detail) == (kept, [kept], kept)
    assert trace.retrievals[0].items == (ScoredItem(kept, 0.5),)
    assert store.runs(where=RunFilter(user_id=evil))[0].run_id == run.run_id


EVIL = "a\x00b\udc80c\x1b[31m\u202e"


def test_hostile_text_in_every_field_is_stored(store: TraceStore, make: Any) -> None:
    def spoilt(record: Any, **kept: Any) -> Any:
        hostile = {
            field.name: EVIL if isinstance(getattr(record, field.name), str) else (EVIL,)
            for field in fields(record)
            if isinstance(getattr(record, field.name), str | tuple)
        }
        return replace(record, **{**hostile, **kept})

    run = spoilt(make.run(), sampling={EVIL: EVIL}, config={EVIL: [EVIL]}, versions={EVIL: EVIL}, fork={EVIL: EVIL})
    tokens = {"prompt_ids": (1,), "completion_ids": (2,), "logprobs": (-0.5,)}
    items = (ScoredItem(EVIL, 0.5), ScoredItem(EVIL + "2", 0.25))
    line = RecommendationRecord(rank=1, item_id=EVIL, source="written")
    for _ in range(2):  # writing it again is no conflict
        store.start_run(run)
        store.record_turn(run.run_id, spoilt(make.turn(0), messages=[{EVIL: EVIL}], **tokens))
        store.record_retrieval(run.run_id, spoilt(make.retrieval(0), items=items))
        store.finish_run(run.run_id, make.outcome(detail=EVIL, written=(line,), recommended=(line,)))
        store.write_rewards(run.run_id, EVIL, {EVIL: 1.0})
    trace, kept = store.run(run.run_id), storable(EVIL)
    assert (trace.run.policy_model, trace.run.history, trace.run.fork) == (kept, (kept,), {kept: kept})
    assert (trace.turns[0].text, trace.turns[0].items) == (kept, (kept,))
    assert [item.id for item in trace.retrievals[0].items] == [kept, kept + "2"]
    assert [(reward.scheme, reward.component) for reward in trace.rewards] == [(kept, kept)]
    assert [found.run_id for found in store.runs(where=RunFilter(suite=EVIL, policy_model=EVIL))] == [run.run_id]


def test_a_turn_of_ten_megabytes_comes_back(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    huge = "é\x00 " * 2_500_000
    store.record_turn(run.run_id, make.turn(0, text=huge, completion_ids=(1,) * 200_000, logprobs=(-0.5,) * 200_000))
    turn = store.run(run.run_id).turns[0]
    assert (len(turn.text), turn.text[:6]) == (15_000_000, "é\\x00 ")
    assert len(turn.completion_ids) == len(turn.logprobs) == 200_000
    assert store.runs()[0].turns == 1


class JumpingClock(datetime):
    """Jumps back, and stands still."""

    ticks: ClassVar[list[int]] = []

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 11, 1, tzinfo=tz) + timedelta(seconds=cls.ticks.pop(0))


def test_a_clock_that_jumps_back_neither_loses_nor_repeats_runs(
    store: TraceStore, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    JumpingClock.ticks = [9, 8, 8, 8, 7, 100, 3, 3, -50, 8]
    monkeypatch.setattr("deeprec.agent.traces.store.store.datetime", JumpingClock)
    ids = set()
    for _ in range(10):
        store.start_run(run := make.run())
        ids.add(run.run_id)
    for batch in (1, 2, 3, 10):
        for stream in (store.traces(batch=batch), store.traces(omit=PARTS, batch=batch)):
            seen = [found.run.run_id for found in stream]
            assert (len(seen), set(seen)) == (10, ids)
        assert [run_id for page in store.run_ids(batch=batch) for run_id in page] == seen
        assert sorted(chain.run_id for chain in store.chains(batch=batch)) == sorted(ids)
    listed = store.runs()
    assert [run.started_at for run in listed] == sorted((run.started_at for run in listed), reverse=True)


def test_an_open_reader_does_not_hold_writers_up(store: TraceStore, make: Any) -> None:
    for _ in range(3):
        make.write(store)
    with store.reading() as connection:
        rows = connection.execute(text("SELECT run_id FROM turns"))  # a cursor that stays open
        rows.fetchone()
        started = time.perf_counter()
        make.write(store)
        assert time.perf_counter() - started < 9  # the lock timeouts are ten seconds
        rows.close()
    assert len(store.runs()) == 4


# Writes runs of its own, and the shared run as well; two of these start at once.
WRITER = """
import sys
from uuid import UUID
from deeprec.agent.traces import TraceStore
from benchmarks.made_runs import make_runs

store = TraceStore(sys.argv[1])  # both may find an empty database, and make its tables
for run in [*make_runs(12, seed=int(sys.argv[2])), *make_runs(4, seed=99)]:
    store.start_run(run.run)
    for turn in run.turns:
        store.record_turn(run.run.run_id, turn)
        for retrieval in run.retrievals:
            if retrieval.turn == turn.position:
                store.record_retrieval(run.run.run_id, retrieval)
    store.finish_run(run.run.run_id, run.outcome)
    store.write_rewards(run.run.run_id, "list", {"hit": 1.0, "rank": 0.5})
"""


@pytest.mark.slow
def test_two_processes_make_one_database_and_write_the_same_runs(url: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, seed]) for seed in ("1", "2")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    with TraceStore(url, create=False) as store:
        traces = list(store.traces())
    assert len(traces) == 12 + 12 + 4
    assert not any(trace.incomplete for trace in traces)
    assert {(len(trace.turns), len(trace.retrievals), len(trace.rewards)) for trace in traces} == {(3, 2, 2)}


def test_the_bare_name_of_a_suite_means_all_its_versions(store: TraceStore, make: Any) -> None:
    for suite in ("smoke", "smoke@1", "smoke@2", "Smoke@1", "smoke2@1", "smo%@1", None):
        make.write(store, make.run(suite=suite))
    counts = {name: len(store.runs(where=RunFilter(suite=name))) for name in ("smoke", "smoke@1", "smo%", "smo")}
    assert counts == {"smoke": 3, "smoke@1": 1, "smo%": 1, "smo": 0}
