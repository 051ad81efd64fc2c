import json
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from deeprec.agent.traces import TraceStore
from tests.command_line import run_command
from tests.otlp_receiver import receive_otlp

RUN = UUID("abc00000-0000-4000-8000-000000000001")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "runs.db"
    monkeypatch.setenv("DEEPREC_STORE", str(path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with TraceStore(path) as store:
        make.write(store, make.run(RUN, user_id="ann", parent_id=None))
        make.write(store, make.run(user_id="bob", suite="other"), status="malformed")
        store.start_run(make.run(user_id="eve"))
    return path


@pytest.fixture
def call(path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    return partial(run_command, capsys, "traces")


def statuses(path: Path) -> list[str]:
    with TraceStore(path) as store:
        return sorted(run.status for run in store.runs())


def test_prune_says_what_it_would_do_and_does_it_when_told(call: Call, path: Path) -> None:
    code, out, _ = call("prune", "--status", "malformed")
    assert (code, out.splitlines()[0][:22]) == (0, "Would delete 1 run, ab")
    assert "matches: 1 run" in out
    assert out.splitlines()[-1] == "Nothing was deleted: give --yes to delete them."
    assert "malformed" in statuses(path)
    code, out, _ = call("prune", "--status", "malformed", "--yes")
    assert (code, out.splitlines()[0][:16]) == (0, "Deleted 1 run, a")
    assert "Space freed: " in out
    assert statuses(path) == ["finished", "running"]


def test_prune_in_json_with_every_option(call: Call) -> None:
    options = ("--older-than", 0, "--max-runs", 0, "--max-size", "1.5GB", "--model", "SmolLM2-135M-Instruct")
    code, out, _ = call("prune", *options, "--adapter-version", "4", "--suite", "demo", "--json")
    result = json.loads(out)
    assert (code, result["dry_run"], result["runs"], result["running"], result["reclaimed"]) == (0, True, 1, 1, None)
    assert result["reasons"][0]["reason"] == "older than asked for"
    assert result["oldest"].endswith("+00:00")


def test_what_is_kept_is_said(call: Call) -> None:
    call("pin", "abc")
    _, out, _ = call("prune", "--suite", "demo")
    assert out.splitlines()[0] == "Would delete 0 runs, about 0 bytes."
    assert out.splitlines()[1] == "Kept although the rules match them: 1 pinned, 1 maybe running."
    assert "--yes" not in out


def test_pin_and_unpin(call: Call, path: Path) -> None:
    assert call("pin", "abc")[:2] == (0, "Pinned 1 run.\n")
    with TraceStore(path) as store:
        assert store.run(RUN).pinned
    code, out, _ = call("unpin", "abc", "--json")
    assert (code, json.loads(out)) == (0, {"pinned": False, "runs": [str(RUN)]})
    with TraceStore(path) as store:
        assert not store.run(RUN).pinned


def test_redact_says_what_it_would_do_and_does_it_when_told(call: Call, path: Path) -> None:
    code, out, _ = call("redact", "--user", "ann")
    assert (code, "Would redact 1 run with 3 turns. Nothing was changed" in out) == (0, True)
    with TraceStore(path) as store:
        assert store.run(RUN).run.user_id == "ann"
    code, out, _ = call("redact", "--user", "ann", "--yes")
    assert code == 0
    assert out == ("Redacted 1 run with 3 turns.\nOld bytes were removed from the database's files by a full vacuum.\n")
    with TraceStore(path) as store:
        assert store.run(RUN).run.user_id is None
    code, out, _ = call("redact", "--user", "ann", "--yes", "--json")
    assert (code, json.loads(out)["runs"], json.loads(out)["reclaimed"]["done"]) == (0, 0, True)


def test_the_runs_of_a_tenant_are_listed_exported_redacted_and_pruned(call: Call, path: Path, make: Any) -> None:
    with TraceStore(path) as store:
        for tenant in ("books", "films"):
            make.write(store, make.run(tenant=tenant, user_id="ann", parent_id=None))
    _, out, _ = call("ls", "--tenant", "books", "--json")
    assert [(run["tenant"], run["user_id"]) for run in json.loads(out)] == [("books", "ann")]
    call("export", "--format", "jsonl", "-o", path.with_name("books.jsonl"), "--tenant", "books")
    [line] = path.with_name("books.jsonl").read_text().splitlines()[1:-1]
    assert json.loads(line)["run"]["tenant"] == "books"
    _, out, _ = call("redact", "--user", "ann")
    assert "Would redact 3 runs (tenants: books, films) with 9 turns." in out
    assert "covers the runs of every tenant" in out
    assert "every tenant" in call("redact", "--help")[1]
    _, out, _ = call("redact", "--user", "ann", "--tenant", "books", "--yes")
    assert out.startswith("Redacted 1 run (tenants: books) with 3 turns.\n")
    assert "Deleted 1 run," in call("prune", "--tenant", "films", "--yes")[1]
    with TraceStore(path) as store:
        left = {(trace.run.tenant, trace.run.user_id) for trace in store.traces()}
    assert left == {(None, "ann"), (None, "bob"), (None, "eve"), ("books", None)}


def test_redact_ends_with_1_where_bytes_remain(call: Call, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.agent.traces.store.database.BUSY_TIMEOUT_MS", 100)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchone()
    code, out, _ = call("redact", "--user", "ann", "--yes")
    reader.close()
    assert code == 1
    assert out.splitlines()[0] == "Redacted 1 run with 3 turns."
    assert "Old bytes may remain in the database's files (a full vacuum, but a reader keeps" in out
    assert call("redact", "--user", "ann", "--yes")[0] == 0


def test_runs_travel_through_a_file(call: Call, path: Path, tmp_path: Path) -> None:
    code, out, _ = call("export", "--format", "jsonl", "-o", tmp_path / "runs.jsonl.gz")
    assert (code, out) == (0, f"Wrote 3 runs to {tmp_path / 'runs.jsonl.gz'}.\n")
    other = tmp_path / "other.db"
    assert call("import", tmp_path / "runs.jsonl.gz", "--store", other)[:2] == (0, "Imported 3 runs.\n")
    code, out, _ = call("import", tmp_path / "runs.jsonl.gz", "--store", other)
    assert (code, out) == (0, "Imported 0 runs; the store had 3 already.\n")
    with TraceStore(other) as store:
        store.write_rewards(RUN, "list", {"hit": 1.0})
    code, out, _ = call("import", tmp_path / "runs.jsonl.gz", "--store", other)
    assert code == 1
    assert f"the store has them with other content: 1 ({RUN})." in out
    code, out, _ = call("import", tmp_path / "runs.jsonl.gz", "--store", other, "--json")
    printed = {"imported": 0, "known": 2, "conflicts": [str(RUN)], "conversation_turns": 0}
    assert (code, json.loads(out)) == (1, printed)


def test_runs_become_tables(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("export", "--format", "parquet", "-o", tmp_path / "out", "--status", "finished", "--json")
    printed = {"output": str(tmp_path / "out"), "format": "parquet", "runs": 1, "conversation_turns": 0}
    assert (code, json.loads(out)) == (0, printed)
    assert pq.read_table(tmp_path / "out" / "runs.parquet").column("run_id").to_pylist() == [str(RUN)]


def test_stored_runs_are_sent(call: Call, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receive_otlp() as receiver:
        code, out, _ = call("otel", "abc", "--endpoint", receiver.endpoint)
        assert (code, out) == (0, f"Sent 1 run as 6 spans to {receiver.endpoint}.\n")
        assert len(receiver.spans) == 6
        assert "sci-fi" not in str(receiver.spans)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        code, out, _ = call("otel", "abc", "--content", "--json")
        assert (code, json.loads(out)["spans"], "sci-fi" in str(receiver.spans)) == (0, 6, True)


def test_migrate_goes_back_and_forth_with_the_data_in_place(call: Call, path: Path, tmp_path: Path) -> None:
    before = json.loads(call("show", "abc", "--json")[1])
    before["run"] |= {"thread_id": None, "caller_run_id": None, "tags": [], "caller_metadata": {}}  # newer than 0003
    code, out, _ = call("migrate")
    assert (code, "already" in out) == (0, True)
    code, out, _ = call("migrate", "--to", "0003")
    assert (code, "→ 0003, and lose" in out) == (0, True)
    code, out, _ = call("migrate", "--to", "0003", "--yes", "--json")
    result = json.loads(out)
    assert (code, result["after"], result["down"], result["dry_run"]) == (0, "0003", True, False)
    assert result["steps"][-1] == "0004"
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT version_num FROM deeprec_traces_version").fetchone() == ("0003",)
    assert raw.execute("SELECT count(*) FROM runs").fetchone() == (3,)
    raw.close()
    code, out, _ = call("migrate")
    assert (code, out) == (0, f"Migrated the store: 0003 → {result['before']}.\n")
    assert json.loads(call("show", "abc", "--json")[1]) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune"], "No rule says which runs are to go"),
        (["prune", "--status", "dead"], "'dead' is not a status"),
        (["prune", "--max-size", "much"], "'much' is not a size"),
        (["prune", "--max-size", "-1"], "below 0"),
        (["prune", "--max-size", "infGB"], "is not a size"),
        (["prune", "--older-than", "-1"], "below 0"),
        (["pin", "fff"], "No run begins with 'fff'"),
        (["redact", "--user", "eve", "--yes"], "may still be running"),
        (["export"], "Nothing to export was named"),
        (["export", "--preferences", "a", "--format", "jsonl"], "Nothing to export was named"),
        (["export", "--format", "jsonl"], "--format and -o go together"),
        (["export", "--preferences", "a", "-o", "b"], "--format and -o go together"),
        (["export", "--format", "jsonl", "-o", "."], "so it stays"),
        (["export", "--format", "jsonl", "-o", "/proc/no/file"], "cannot be written"),
        (["export", "--format", "parquet", "-o", "/dev/null"], "is not a folder"),
        (["import", "nowhere.jsonl"], "nowhere.jsonl is not a file"),
        (["import", "/dev/null"], "is not a file"),
        (["migrate", "--to", "9999"], "'9999' is not a revision"),
        (["migrate", "--store", "nowhere.db"], "There is no trace store at nowhere.db"),
        (["otel", "abc", "--endpoint", "nowhere"], "'nowhere' is not an OTLP address"),
        (["otel", "fff", "--endpoint", "http://127.0.0.1:1"], "No run begins with 'fff'"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(call: Call, words: list[str], message: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_mistaken_import_makes_no_store(call: Call, tmp_path: Path) -> None:
    assert call("import", tmp_path / "none.jsonl", "--store", tmp_path / "new.db")[0] == 2
    assert not (tmp_path / "new.db").exists()
    (tmp_path / "x.jsonl").write_text("hello\n")
    code, _, err = call("import", tmp_path / "x.jsonl", "--store", tmp_path / "new.db")
    assert (code, "line 1: this is not a file of exported runs" in err) == (2, True)


def test_a_store_of_another_program_is_not_migrated(call: Call, tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "other.db")
    raw.execute("CREATE TABLE notes (x)")
    raw.close()
    code, _, err = call("migrate", "--store", tmp_path / "other.db")
    assert (code, "is not a trace store" in err) == (2, True)
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    code, _, err = call("migrate", "--store", tmp_path / "junk.db")
    assert (code, "cannot be migrated: file is not a database" in err) == (2, True)
