import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, update

from deeprec.agent.traces import PruneRules, RunFilter, RunNotFoundError, TraceStore, pin_runs, prune_runs
from deeprec.agent.traces.admin.disk_usage import database_bytes
from deeprec.agent.traces.store.schema import Run
from deeprec.trm_tool import ConfigError


def age(store: TraceStore, run_id: UUID, days: float) -> None:
    with store.writing() as connection:
        started = datetime.now(UTC) - timedelta(days=days)
        connection.execute(update(Run).where(Run.run_id == run_id).values(started_at=started))


def left(store: TraceStore) -> set[UUID]:
    return {run.run_id for run in store.runs(None)}


def test_old_runs_go_with_everything_that_hangs_on_them(store: TraceStore, tmp_path: Path, make: Any) -> None:
    old, new = make.write(store), make.write(store)
    store.write_rewards(old, "list", {"hit": 1.0})
    age(store, old, 31)
    report = prune_runs(store, PruneRules(older_than_days=30), dry_run=False)
    assert (report.runs, [(r.reason, r.runs) for r in report.reasons]) == (1, [("older than asked for", 1)])
    assert report.oldest == report.newest
    assert left(store) == {new}
    with sqlite3.connect(tmp_path / "traces.db") as raw:
        for table in ("turns", "retrievals", "retrieved_items", "recommendations", "rewards"):
            owners = {row[0] for row in raw.execute(f"select distinct run_id from {table}")}
            assert owners <= {new.bytes}, table
    raw.close()


def test_a_dry_run_says_the_same_and_deletes_nothing(store: TraceStore, make: Any) -> None:
    for days in (1, 40, 50):
        age(store, make.write(store), days)
    rules = PruneRules(older_than_days=30)
    dry = prune_runs(store, rules)
    assert (dry.dry_run, dry.runs, dry.reclaimed, len(left(store))) == (True, 2, None, 3)
    assert dry.oldest is not None
    assert dry.newest is not None
    assert dry.newest - dry.oldest == pytest.approx(timedelta(days=10), abs=timedelta(minutes=1))
    wet = prune_runs(store, rules, dry_run=False)
    assert (wet.runs, wet.bytes, wet.reasons) == (dry.runs, pytest.approx(dry.bytes, rel=0.01), dry.reasons)
    assert prune_runs(store, rules, dry_run=False).runs == 0


@pytest.mark.parametrize(
    ("rules", "gone"),
    [
        ({"status": "malformed"}, {"malformed"}),
        ({"status": "incomplete"}, {"incomplete"}),
        ({"policy_model": "other"}, {"other model"}),
        ({"adapter_version": "9"}, {"other adapter"}),
        ({"suite": "s2"}, {"other suite"}),
        ({"suite": "s2", "policy_model": "other"}, set()),
        ({"suite": "demo", "status": "malformed", "older_than_days": 0}, {"malformed"}),
        ({"status": "malformed", "older_than_days": 1}, set()),
    ],
)
def test_what_is_looked_at(store: TraceStore, make: Any, rules: dict[str, Any], gone: set[str]) -> None:
    runs = {
        "malformed": make.write(store, status="malformed"),
        "incomplete": make.write(store),
        "other model": make.write(store, make.run(policy_model="other")),
        "other adapter": make.write(store, make.run(adapter_version="9")),
        "other suite": make.write(store, make.run(suite="s2")),
    }
    store.mark_incomplete(runs["incomplete"])
    prune_runs(store, PruneRules(**rules), dry_run=False)
    assert {name for name, run_id in runs.items() if run_id not in left(store)} == gone


def test_the_newest_stay_and_pinned_runs_count(store: TraceStore, make: Any) -> None:
    runs = [make.write(store) for _ in range(6)]
    pin_runs(store, [runs[0]])
    report = prune_runs(store, PruneRules(max_runs=3), dry_run=False)
    assert left(store) == {runs[0], runs[4], runs[5]}
    assert [(r.reason, r.runs) for r in report.reasons] == [("more runs than asked for", 3)]


def test_a_limit_of_bytes_is_met_by_the_real_file(store: TraceStore, tmp_path: Path, make: Any) -> None:
    for number in range(300):
        make.write(store, make.run(message=f"{number} " * (5 if number % 3 else 400)))
    path = tmp_path / "traces.db"
    with store.reading() as connection:
        before = database_bytes(connection)
    report = prune_runs(store, PruneRules(max_bytes=before // 3), dry_run=False)
    assert report.reclaimed is not None
    assert (report.reclaimed.how, report.reclaimed.bytes > 0) == ("an incremental vacuum", True)
    assert before // 3 * 0.7 < path.stat().st_size < before // 3 * 1.6  # pages keep gaps, which later runs fill
    assert report.bytes == pytest.approx(before * 2 / 3, rel=0.1)
    newest = [run.run_id for run in store.runs(None)]
    assert len(newest) == 300 - report.runs


def test_reasons_are_counted_apart(store: TraceStore, make: Any) -> None:
    runs = [make.write(store) for _ in range(5)]
    age(store, runs[0], 100)
    report = prune_runs(store, PruneRules(older_than_days=30, max_runs=2))
    assert [(r.reason, r.runs) for r in report.reasons] == [
        ("older than asked for", 1),
        ("more runs than asked for", 2),
    ]
    assert report.bytes == sum(reason.bytes for reason in report.reasons)


def test_pinned_and_running_runs_stay_and_are_counted(store: TraceStore, make: Any) -> None:
    pinned, finished = make.write(store), make.write(store)
    store.start_run(running := make.run())
    store.start_run(killed := make.run())
    age(store, killed.run_id, 0.1)
    assert pin_runs(store, [pinned.hex[:12]]) == [pinned]
    report = prune_runs(store, PruneRules(suite="demo"), dry_run=False)
    assert (report.runs, report.pinned, report.running) == (2, 1, 1)
    assert left(store) == {pinned, running.run_id}
    assert finished not in left(store)
    pin_runs(store, [pinned], pinned=False)
    assert prune_runs(store, PruneRules(suite="demo"), dry_run=False).runs == 1


def test_a_run_that_is_pinned_meanwhile_stays(tmp_path: Path, make: Any) -> None:
    class Interrupted(TraceStore):
        """Another process pins the run right before the first transaction that writes."""

        @contextmanager
        def writing(self) -> Iterator[Connection]:
            pin_runs(other, [run])
            with super().writing() as connection:
                yield connection

    with TraceStore(tmp_path / "traces.db") as other, Interrupted(tmp_path / "traces.db") as interrupted:
        run = make.write(other)
        assert prune_runs(interrupted, PruneRules(suite="demo"), dry_run=True).runs == 1
        assert prune_runs(interrupted, PruneRules(suite="demo"), dry_run=False).runs == 0
        assert left(other) == {run}


def test_pinning_is_all_or_none(store: TraceStore, make: Any) -> None:
    run = make.write(store)
    with pytest.raises(RunNotFoundError):
        pin_runs(store, [run, uuid4()])
    assert store.run(run).pinned is False


def test_children_of_a_pruned_run_stay(store: TraceStore, make: Any) -> None:
    parent = make.write(store)
    child = make.write(store, make.run(parent_id=parent))
    age(store, parent, 99)
    prune_runs(store, PruneRules(older_than_days=30), dry_run=False)
    assert left(store) == {child}
    assert store.run(child).run.parent_id == parent


@pytest.mark.slow
def test_writers_are_not_blocked_long(store: TraceStore, tmp_path: Path, make: Any) -> None:
    for _ in range(400):
        age(store, make.write(store, make.run(suite="old", message="x" * 20_000)), 60)
    waits: list[float] = []
    done = threading.Event()

    def write() -> None:
        with TraceStore(tmp_path / "traces.db") as other:
            while not done.is_set():
                started = time.perf_counter()
                other.start_run(make.run(suite="new"))
                waits.append(time.perf_counter() - started)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = prune_runs(store, PruneRules(older_than_days=30), dry_run=False)
    finally:
        done.set()
        writer.join()
    assert report.runs == 400
    assert len(waits) > 3
    assert max(waits) < 3  # the store gives up after ten seconds
    assert len(store.runs(None, RunFilter(suite="new"))) == len(waits)


def test_a_file_of_an_earlier_version_is_vacuumed_whole(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "old.db"
    with TraceStore(path) as store:
        for _ in range(100):
            make.write(store, make.run(message="x" * 10_000))
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA journal_mode=DELETE")
    raw.execute("PRAGMA auto_vacuum=NONE")
    raw.execute("VACUUM")
    raw.close()
    before = path.stat().st_size
    with TraceStore(path) as store:
        first = prune_runs(store, PruneRules(max_runs=50), dry_run=False).reclaimed
        second = prune_runs(store, PruneRules(max_runs=10), dry_run=False).reclaimed
    assert first is not None
    assert second is not None
    assert (first.how, second.how) == ("a full vacuum", "an incremental vacuum")
    assert path.stat().st_size < before / 4


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "No rule says which runs are to go"),
        ({"max_runs": -1}, "below 0"),
        ({"older_than_days": float("nan")}, "below 0"),
        ({"older_than_days": 1e300}, "no run is that old"),
    ],
)
def test_rules_that_cannot_be_meant(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PruneRules(**rules)


def test_a_turn_goes_with_its_run_and_one_without_a_run_by_its_own_age(any_store: TraceStore, make: Any) -> None:
    def turn(number: int, days: float, **changes: Any) -> None:
        created = datetime.now(UTC) - timedelta(days=days)
        any_store.record_conversation_turn(make.conversation_turn(number, created_at=created, **changes))

    def turns_left() -> list[int]:
        return sorted(turn.turn for trace in any_store.conversation_traces() for turn in trace.turns)

    old, new, pinned = (make.write(any_store) for _ in range(3))
    age(any_store, old, 31)
    age(any_store, pinned, 31)
    pin_runs(any_store, [pinned])
    turn(1, 31, run_id=old)
    turn(2, 31, run_id=new)
    turn(3, 31, run_id=pinned)
    turn(4, 31, run_id=uuid4())
    turn(5, 31, run_id=None)
    turn(6, 29, run_id=None)
    assert prune_runs(any_store, PruneRules(older_than_days=30, status="fallback"), dry_run=False).runs == 0
    assert turns_left() == [1, 2, 3, 4, 5, 6]
    dry = prune_runs(any_store, PruneRules(older_than_days=30))
    report = prune_runs(any_store, PruneRules(older_than_days=30), dry_run=False)
    assert (report.runs, report.conversation_turns, report.pinned) == (1, 2, 1)
    assert (dry.runs, dry.conversation_turns, dry.reasons[0].conversation_turns) == (1, 2, 2)
    assert turns_left() == [2, 3, 6]
    assert prune_runs(any_store, PruneRules(tenant="books"), dry_run=False).conversation_turns == 0
    assert prune_runs(any_store, PruneRules(max_runs=0), dry_run=False).runs == 1
    assert turns_left() == [3, 6]
    report = prune_runs(any_store, PruneRules(max_bytes=0), dry_run=False)
    assert (report.runs, report.conversation_turns) == (0, 1)
    assert turns_left() == [3]
