"""Pruning, redacting, moving and migrating runs in each kind of database."""

import math
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from deeprec.agent.traces import (
    PruneRules,
    StepConflictError,
    TraceStore,
    export_jsonl,
    export_parquet,
    import_jsonl,
    pin_runs,
    prune_runs,
    redact_person,
)
from deeprec.agent.traces.admin.migrate import migrate
from deeprec.agent.traces.admin.redaction import redact_runs, runs_of_person
from deeprec.agent.traces.store.schema import Run
from deeprec.trm_tool import ScoredItem


def age(store: TraceStore, run_id: Any, days: float) -> None:
    with store.writing() as connection:
        connection.execute(
            update(Run).where(Run.run_id == run_id).values(started_at=datetime.now(UTC) - timedelta(days=days))
        )


def write_odd(store: TraceStore, make: Any) -> Any:
    """A run with missing and infinite numbers, odd text and a reward that could not be computed."""
    caller = {"thread_id": None, "caller_run_id": None, "tags": (), "caller_metadata": {}}  # not in older stores
    odd = {"message": "NUL \x00 \udc80 \u2028", "seed": -(2**63)}
    store.start_run(run := make.run(user_id="ann", parent_id=None, **odd, **caller))
    store.record_turn(
        run.run_id,
        make.turn(0, logprobs=(math.nan, -math.inf, -0.1), latency_ms=math.nan, messages=[{"a": [1, None, "é"]}]),
    )
    items = (ScoredItem("a", math.nan), ScoredItem("b", 0.1))
    store.record_retrieval(run.run_id, make.retrieval(0, items=items, preference=None))
    store.record_turn(run.run_id, make.turn(1, action="recommend", items=("b",)))
    store.finish_run(run.run_id, make.outcome())
    store.write_rewards(run.run_id, "list", {"hit": 1.0, "Odd": math.nan, "odd": 0.5})
    return run.run_id


def test_pruning(any_store: TraceStore, make: Any) -> None:
    old, pinned, new = (make.write(any_store) for _ in range(3))
    for run in (old, pinned):
        age(any_store, run, 40)
    pin_runs(any_store, [pinned])
    dry = prune_runs(any_store, PruneRules(older_than_days=30))
    assert (dry.runs, dry.pinned, dry.bytes > 1000) == (1, 1, True)
    report = prune_runs(any_store, PruneRules(older_than_days=30), dry_run=False)
    assert (report.runs, report.reclaimed and report.reclaimed.done) == (1, True)
    assert {run.run_id for run in any_store.runs()} == {pinned, new}
    assert prune_runs(any_store, PruneRules(max_bytes=0), dry_run=False).runs == 1
    assert any_store.run(pinned).turns


def test_redacting(any_store: TraceStore, make: Any) -> None:
    run = write_odd(any_store, make)
    other = make.write(any_store)
    was, line = repr(any_store.run(other)), any_store.runs()[-1]
    report = redact_person(any_store, "ann", dry_run=False)
    assert (report.runs, report.turns, report.reclaimed and report.reclaimed.done) == (1, 2, True)
    trace = any_store.run(run)
    assert (trace.run.user_id, trace.run.message, trace.run.history, trace.redacted_at is None) == (
        None,
        None,
        (),
        False,
    )
    assert [item.id for item in trace.retrievals[0].items] == ["redacted:1", "redacted:2"]
    assert trace.turns[1].items == ("redacted:2",)
    assert any_store.runs()[-1].target_rank == line.target_rank == 2
    assert [reward.value for reward in trace.rewards if reward.component != "Odd"] == [1.0, 0.5]
    assert repr(any_store.run(other)) == was
    assert redact_person(any_store, "ann", dry_run=False).runs == 0


def test_a_step_that_comes_while_its_run_is_redacted_waits_and_is_refused(
    any_store: TraceStore, url: str, make: Any
) -> None:
    any_store.start_run(run := make.run(user_id="ann", parent_id=None))
    age(any_store, run.run_id, 1)
    refused: list[Exception] = []

    def come() -> None:
        with TraceStore(url) as other:
            try:
                other.record_turn(run.run_id, make.turn(0))
            except StepConflictError as error:
                refused.append(error)

    writer = threading.Thread(target=come)
    with any_store.writing() as connection:
        now = datetime.now(UTC)
        redact_runs(connection, runs_of_person(connection, "ann", now, lock=True), now)
        writer.start()
        writer.join(0.5)
        assert writer.is_alive()
    writer.join()
    assert len(refused) == 1
    assert any_store.run(run.run_id).turns == ()


def test_runs_travel_into_it_and_out_again(any_store: TraceStore, tmp_path: Path, make: Any) -> None:
    write_odd(any_store, make)
    make.write(any_store)
    export_jsonl(any_store, tmp_path / "a.jsonl")
    with TraceStore(tmp_path / "other.db") as between:
        assert import_jsonl(between, tmp_path / "a.jsonl").imported == 2
        export_jsonl(between, tmp_path / "b.jsonl")
        assert import_jsonl(any_store, tmp_path / "b.jsonl").known == 2  # nothing became something else on the way
        prune_runs(any_store, PruneRules(max_runs=0), dry_run=False)
        assert import_jsonl(any_store, tmp_path / "b.jsonl").imported == 2
        assert import_jsonl(between, tmp_path / "a.jsonl").known == 2


def test_tables_are_written(any_store: TraceStore, tmp_path: Path, make: Any) -> None:
    run = write_odd(any_store, make)
    export_parquet(any_store, tmp_path / "out")
    [row] = pq.read_table(tmp_path / "out" / "runs.parquet").to_pylist()
    assert (row["run_id"], row["started_at"]) == (str(run), any_store.run(run).started_at)
    assert pq.read_table(tmp_path / "out" / "retrieved_items.parquet").column("score").to_pylist() == [None, 0.1]


def test_migrating(url: str, make: Any) -> None:
    fresh = migrate(url, "0003") if url.startswith("postgresql") else None
    with TraceStore(url) as store:
        run = write_odd(store, make)
        was = repr(store.run(run))
    down = migrate(url, "0003")
    assert (down.down, down.after, down.steps[-1]) == (True, "0003", "0004")
    up = migrate(url)
    assert (up.down, up.before, up.steps[0]) == (False, "0003", "0004")
    assert migrate(url).steps == ()
    with TraceStore(url) as store:
        assert repr(store.run(run)) == was
    assert fresh is None or (fresh.before, fresh.steps) == (None, ("0001", "0002", "0003"))


@pytest.mark.postgres
def test_a_failure_in_the_middle_of_a_server_s_redaction(postgres: Any, make: Any) -> None:
    made = postgres.database()
    with TraceStore(made) as store:
        runs = [make.write(store, make.run(user_id="ann", parent_id=None)) for _ in range(2)]
        was = [repr(store.run(run)) for run in runs]
        with postgres.connect(made.split("@/")[1].split("?")[0]) as raw:
            raw.execute(
                "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE 'broken'; END $$ LANGUAGE plpgsql;"
                "CREATE TRIGGER no BEFORE UPDATE ON recommendations EXECUTE FUNCTION no()"
            )
        with pytest.raises(Exception, match="broken"):
            redact_person(store, "ann", dry_run=False)
        assert [repr(store.run(run)) for run in runs] == was
    postgres.drop(made)
