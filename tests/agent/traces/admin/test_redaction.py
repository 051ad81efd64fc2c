import math
import sqlite3
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from deeprec.agent.traces import RunTrace, StepConflictError, TraceStore, TraceStoreError, pin_runs, redact_person
from deeprec.agent.traces.admin.redaction import ERASED, RENAMED, TRIMMED
from deeprec.agent.traces.store.schema import Base, Run

# What a run counts, or where it comes from: it says nothing about a person.
KEPT = {
    "runs": {
        *("run_id", "parent_id", "protocol", "protocol_version", "prompt_version", "guided", "k", "policy_model"),
        *(
            "adapter",
            "adapter_version",
            "base_fingerprint",
            "adapter_fingerprint",
            "logprobs_mode",
            "trm_fingerprint",
            "trm_holdout",
            "dataset_fingerprint",
            "sampling",
            "seed",
        ),
        *("split", "suite", "versions", "status", "incomplete", "ungrounded", "latency_ms", "started_at"),
        *("finished_at", "pinned", "redacted_at", "system", "kind", "oracle", "shuffled_of", "tenant"),
    },
    "turns": {
        *("run_id", "position", "node", "chained", "action", "finish_reason", "prompt_tokens", "completion_tokens"),
        *("latency_ms", "recorded_at"),
    },
    "retrievals": {"run_id", "position", "turn", "k", "latency_ms", "recorded_at", "words"},
    "retrieved_items": {"run_id", "position", "rank"},
    "recommendations": {"run_id", "listing", "rank", "retrieval", "source"},
    "rewards": {"run_id", "scheme", "component", "value"},
    "metrics": {"run_id", "name", "value"},
    "cases": {"run_id", "target_popularity", "history_length", "other_data", "chosen_on", "words"},
    "run_pairs": {
        *("name", "chosen_id", "rejected_id", "reward", "chosen_reward", "rejected_reward", "margin", "runs"),
    },
    "conversation_turns": {"turn", "tenant", "suite", "kind", "run_id", "created_at", "redacted_at"},
}
SECRET = "Zephyrine Quill of 12 Larch Road"


def file_bytes(path: Path) -> bytes:
    return b"".join(
        path.with_name(path.name + end).read_bytes() for end in ("", "-wal") if path.with_name(path.name + end).exists()
    )


def secret_run(make: Any, **changes: Any) -> Any:
    return make.run(
        **{
            "user_id": "zq",
            "message": SECRET,
            "history": ("secret-50", "secret-181"),
            "target_id": "1",
            "config": {"max_turns": 3, "where": {"brand": SECRET}},
            "fork": {"turn": 0, "preference": SECRET},
            "group_id": "zq-secret",
            "parent_id": None,
        }
        | changes
    )


def write_secret(store: TraceStore, make: Any, **changes: Any) -> Any:
    run = secret_run(make, **changes)
    store.start_run(run)
    store.record_turn(
        run.run_id, make.turn(0, text=SECRET, thought=SECRET, preference=SECRET, messages=[{"content": SECRET}])
    )
    stated = {"unenforceable": [SECRET]}
    store.record_retrieval(
        run.run_id,
        make.retrieval(0, preference=SECRET, detail=SECRET, unenforced=(SECRET,), constraints=stated),
    )
    store.record_turn(run.run_id, make.turn(1, action="recommend", items=("9", "1"), detail=SECRET, text=SECRET))
    store.finish_run(run.run_id, make.outcome(detail=SECRET))
    store.write_rewards(run.run_id, "list", {"hit": 1.0, "odd": math.nan})
    return run.run_id


def test_every_column_is_decided_on() -> None:
    for table in Base.metadata.sorted_tables:
        decided = [
            *ERASED.get(table.name, ()),
            *RENAMED.get(table.name, ()),
            *TRIMMED.get(table.name, ()),
            *KEPT[table.name],
        ]
        assert sorted(decided) == sorted(column.name for column in table.c), (
            f"decide what redaction does with {table.name}"
        )


def test_what_says_who_it_is_goes_and_what_counts_stays(store: TraceStore, make: Any) -> None:
    run_id = write_secret(store, make)
    before, line = store.run(run_id), store.runs()[0]
    report = redact_person(store, "zq", dry_run=False)
    assert (report.runs, report.turns, report.children, report.dry_run) == (1, 2, 0, False)
    after = store.run(run_id)
    assert SECRET not in repr(after)
    assert "secret-" not in repr(after)
    assert (after.run.user_id, after.run.history, after.run.message, after.detail) == (None, (), None, None)
    assert after.run.config == {"max_turns": 3, "where": None}
    assert after.run.fork == {"turn": 0, "preference": "redacted"}
    for turn in after.turns:
        assert (turn.prompt_ids, turn.completion_ids, turn.logprobs, turn.text) == ((), (), (), "")
        assert (turn.thought, turn.preference, turn.messages, turn.detail) == (None, None, None, None)
    assert after.redacted_at is not None
    # The rest is untouched.
    kept = {"text", "thought", "preference", "messages", "detail", "prompt_ids", "completion_ids", "logprobs", "items"}
    for was, now in zip(before.turns, after.turns, strict=True):
        for field in fields(was):
            assert field.name in kept or getattr(was, field.name) == getattr(now, field.name), field.name
    for name in ("status", "incomplete", "started_at", "finished_at", "latency_ms", "ungrounded", "pinned"):
        assert getattr(before, name) == getattr(after, name)
    assert repr(before.rewards) == repr(after.rewards)
    [summary] = store.runs()
    assert replace(summary, user_id="zq", message=SECRET, target_id="1", group_id="zq-secret") == line
    assert line.target_rank == 2


def test_ids_become_names_that_are_equal_where_the_items_were(store: TraceStore, make: Any) -> None:
    run_id = write_secret(store, make)
    before = store.run(run_id)
    redact_person(store, "zq", dry_run=False)
    after = store.run(run_id)

    def shape(trace: RunTrace) -> list[int]:
        ids = [item.id for retrieval in trace.retrievals for item in retrieval.items]
        ids += [line.item_id for line in (*trace.written, *trace.recommended)]
        ids += [item for turn in trace.turns for item in turn.items] + [str(trace.run.target_id)]
        return [ids.index(item) for item in ids]

    assert shape(after) == shape(before)
    assert [(line.rank, line.retrieval, line.source) for line in after.written] == [
        (line.rank, line.retrieval, line.source) for line in before.written
    ]
    assert {line.item_id.partition(":")[0] for line in (*after.written, *after.recommended)} == {"redacted"}
    assert all(math.isnan(item.score) for retrieval in after.retrievals for item in retrieval.items)
    assert all(line.score is None for line in (*after.written, *after.recommended))


def test_a_group_stays_a_group_and_says_no_more(store: TraceStore, make: Any) -> None:
    a, b, c = (write_secret(store, make, group_id=group) for group in ("zq-secret", "zq-secret", "zq-other"))
    redact_person(store, "zq", dry_run=False)
    groups = [store.run(run).run.group_id for run in (a, b, c)]
    assert groups[0] == groups[1] != groups[2]
    assert "zq" not in str(groups)


def test_forks_go_too_named_or_not_and_nobody_else(store: TraceStore, make: Any) -> None:
    own = write_secret(store, make)
    fork = write_secret(store, make, parent_id=own)
    nameless = write_secret(store, make, parent_id=fork, user_id=None)
    other = write_secret(store, make, user_id="zq2")
    was = repr(store.run(other))
    report = redact_person(store, "zq", dry_run=False)
    assert (report.runs, report.children) == (3, 1)
    assert all(store.run(run).redacted_at for run in (own, fork, nameless))
    assert repr(store.run(other)) == was
    assert SECRET not in repr(store.run(nameless))


def test_a_tenant_bounds_the_redaction(store: TraceStore, make: Any) -> None:
    own = write_secret(store, make, tenant="books")
    fork = write_secret(store, make, parent_id=own, user_id=None, tenant="books")
    derived = write_secret(store, make, parent_id=own, user_id=None)
    others = [write_secret(store, make, tenant=tenant) for tenant in ("films", None)]
    others.append(write_secret(store, make, parent_id=own, user_id=None, tenant="films"))
    store.start_run(secret_run(make, tenant="films"))  # another tenant's run that goes on is waited for by nobody
    was = [repr(store.run(run)) for run in others]
    report = redact_person(store, "zq", tenant="books", dry_run=False)
    assert (report.runs, report.children, report.tenants) == (3, 2, ("books",))
    assert all(store.run(run).redacted_at for run in (own, fork, derived))
    assert [repr(store.run(run)) for run in others] == was
    assert store.run(own).run.tenant == "books"
    assert redact_person(store, "zq", tenant="toys").runs == 0


def test_a_dry_run_changes_nothing_and_a_second_run_finds_nothing(store: TraceStore, make: Any) -> None:
    run_id = write_secret(store, make)
    was = repr(store.run(run_id))
    dry = redact_person(store, "zq")
    assert (dry.dry_run, dry.runs, dry.turns, dry.reclaimed) == (True, 1, 2, None)
    assert repr(store.run(run_id)) == was
    redact_person(store, "zq", dry_run=False)
    once = repr(store.run(run_id))
    assert redact_person(store, "zq", dry_run=False).runs == 0
    assert repr(store.run(run_id)) == once


def test_pinned_runs_are_redacted_too(store: TraceStore, make: Any) -> None:
    run_id = write_secret(store, make)
    pin_runs(store, [run_id])
    redact_person(store, "zq", dry_run=False)
    assert store.run(run_id).redacted_at is not None
    assert store.run(run_id).pinned


@pytest.mark.parametrize("table", ["turns", "retrieved_items", "recommendations", "runs"])
def test_a_failure_in_the_middle_leaves_everything(store: TraceStore, make: Any, table: str) -> None:
    runs = [write_secret(store, make) for _ in range(3)]
    was = [repr(store.run(run)) for run in runs]
    with store.writing() as connection:
        condition = f"OLD.run_id = X'{runs[-1].hex}'"
        connection.execute(
            text(
                f"CREATE TRIGGER no BEFORE UPDATE ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
        )
    with pytest.raises(TraceStoreError, match="broken"):
        redact_person(store, "zq", dry_run=False)
    assert [repr(store.run(run)) for run in runs] == was
    with store.writing() as connection:
        connection.execute(text("DROP TRIGGER no"))
    assert redact_person(store, "zq", dry_run=False).runs == 3


def test_a_person_whose_run_goes_on_waits(store: TraceStore, make: Any) -> None:
    done = write_secret(store, make)
    store.start_run(going := secret_run(make))
    for dry_run in (True, False):
        with pytest.raises(TraceStoreError, match=f"Run {going.run_id} of this person may still be running"):
            redact_person(store, "zq", dry_run=dry_run)
    assert store.run(done).redacted_at is None
    with store.writing() as connection:
        old = datetime.now(UTC) - timedelta(hours=2)
        connection.execute(update(Run).where(Run.run_id == going.run_id).values(started_at=old))
    assert redact_person(store, "zq", dry_run=False).runs == 2


def test_a_killed_run_that_comes_back_brings_nothing_in_again(store: TraceStore, make: Any) -> None:
    for changes in ({}, {"user_id": None, "history": (), "message": None, "target_id": None}):
        parent = write_secret(store, make)
        store.start_run(killed := secret_run(make, **changes, parent_id=parent))
        with store.writing() as connection:
            old = datetime.now(UTC) - timedelta(hours=2)
            connection.execute(update(Run).where(Run.run_id == killed.run_id).values(started_at=old))
        redact_person(store, "zq", dry_run=False)
        was = repr(store.run(killed.run_id))
        for write in (
            lambda run=killed: store.start_run(run),
            lambda run=killed: store.record_turn(run.run_id, make.turn(0, text=SECRET)),
            lambda run=killed: store.record_retrieval(run.run_id, make.retrieval(0, preference=SECRET)),
            lambda run=killed: store.finish_run(run.run_id, make.outcome(detail=SECRET)),
        ):
            with pytest.raises(StepConflictError, match="was redacted"):
                write()
        assert repr(store.run(killed.run_id)) == was


def test_no_byte_stays_in_the_file(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "traces.db"
    with TraceStore(path) as store:
        for number in range(150):
            make.write(store, make.run(message=f"{number}" * (number * 40)))
            if number % 3 == 0:
                write_secret(store, make, user_id="zephyrine-17", message=SECRET * (1 if number % 2 else 300))
            if number % 10 == 9:
                store.delete_run(store.runs(1)[0].run_id)
        assert SECRET.encode() in file_bytes(path)
        report = redact_person(store, "zephyrine-17", dry_run=False)
        assert (report.runs, report.reclaimed and report.reclaimed.done) == (45, True)
        for word in (SECRET, "zephyrine-17", "zq-secret", "secret-181"):
            assert word.encode() not in file_bytes(path)


def test_a_reader_that_holds_the_old_file_is_told_of(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.agent.traces.store.database.BUSY_TIMEOUT_MS", 100)
    path = tmp_path / "traces.db"
    with TraceStore(path) as store:
        write_secret(store, make)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchone()
        held = redact_person(store, "zq", dry_run=False)
        assert held.reclaimed is not None
        assert not held.reclaimed.done
        assert held.runs == 1
        reader.execute("COMMIT")
        reader.close()
        again = redact_person(store, "zq", dry_run=False)
        assert (again.runs, again.reclaimed and again.reclaimed.done) == (0, True)
        assert SECRET.encode() not in file_bytes(path)


def test_a_conversation_of_the_person_stays_one_and_says_nothing_of_them(
    any_store: TraceStore, tmp_path: Path, make: Any
) -> None:
    secret: dict[str, Any] = {
        "user_id": "zq",
        "thread_id": "zq-thread",
        "message": SECRET,
        "reply": SECRET,
        "problems": (SECRET,),
        "history": ("secret-50",),
        "shown": ("secret-9", "secret-1"),
        "actions": ({"item_id": "secret-9"},),
        **{name: {"said": SECRET} for name in ("delta", "state_before", "state_after", "question")},
    }
    run_id = write_secret(any_store, make, user_id=None, tenant=None)
    write = any_store.record_conversation_turn
    write(make.conversation_turn(1, **secret, run_id=run_id, message_id=SECRET))
    write(make.conversation_turn(2, **secret | {"user_id": None, "message": "", "shown": ("secret-1",)}))
    write(make.conversation_turn(3, **secret | {"user_id": "13"}))
    write(make.conversation_turn(1, **secret | {"tenant": "books"}))
    report = redact_person(any_store, "zq", tenant="camping")
    assert (report.runs, report.conversation_turns, report.tenants) == (1, 2, ("camping",))
    assert redact_person(any_store, "zq", tenant="camping", dry_run=False).conversation_turns == 2
    assert [turn.turn for turn in any_store.conversation("zq-thread", tenant="camping").turns] == [3]
    assert any_store.conversation("zq-thread", tenant="books").turns[0].message == SECRET
    [redacted] = [trace for trace in any_store.conversation_traces() if trace.turns[0].redacted_at is not None]
    assert SECRET not in repr(redacted)
    assert "secret-" not in repr(redacted)
    first, second = redacted.turns
    assert (first.turn, first.kind, first.message, first.user_id) == (1, "list", "redacted", None)
    assert (first.shown, second.shown) == (("redacted:1", "redacted:2"), ("redacted:2",))
    assert (first.run_id, second.message) == (run_id, "")
    assert any_store.run(run_id).redacted_at is not None
    assert redact_person(any_store, "zq", tenant="camping", dry_run=False).conversation_turns == 0
    other = redact_person(any_store, "zq", dry_run=False)
    assert (other.runs, other.conversation_turns, other.tenants) == (0, 1, ("books",))


def test_no_byte_of_a_redacted_conversation_stays_in_the_file(store: TraceStore, tmp_path: Path, make: Any) -> None:
    store.record_conversation_turn(make.conversation_turn(user_id="zq", message=SECRET, reply=SECRET))
    redact_person(store, "zq", dry_run=False)
    store.close()
    [file] = tmp_path.glob("*.db")
    assert SECRET.encode() not in file_bytes(file)
