import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from deeprec.agent.cli.main import app
from deeprec.agent.traces import TraceStore, TraceStoreError
from deeprec.trm_tool import Catalogue, DeepRecError, read_preference_file
from deeprec.trm_tool.data import read_requests

RUN = UUID("abc00000-0000-4000-8000-000000000001")


@pytest.fixture
def path(tmp_path: Path, make: Any) -> Path:
    path = tmp_path / "runs.db"
    with TraceStore(path) as store:
        make.write(store, make.run(RUN))
        store.write_rewards(RUN, "list", {"hit": math.nan})
        make.write(store, make.run(user_id="[bold]13\x1b", guided=True), status="budget")
        store.start_run(make.run())
    return path


def run(*words: str, **options: Any) -> str:
    result = CliRunner().invoke(app, ["traces", *words], catch_exceptions=False, env={"COLUMNS": "160"}, **options)
    assert result.exit_code == 0, result.output
    return result.output


def test_ls_lists_the_newest_first(path: Path) -> None:
    lines = run("ls", "--store", str(path)).splitlines()
    assert [next(word for word in ("finished", "budget", "running") if word in line) for line in lines[2:]] == [
        "running",
        "budget",
        "finished",
    ]
    assert lines[-1].startswith("abc00000 ")
    assert "[bold]13\\x1b" in lines[-2]


def test_ls_names_the_model_on_a_narrow_terminal(tmp_path: Path, make: Any) -> None:
    with TraceStore(tmp_path / "runs.db") as store:
        make.write(store, make.run(policy_model="smollm2-135m-instruct"))
    words = ["traces", "ls", "--store", str(tmp_path / "runs.db")]
    shown = CliRunner().invoke(app, words, catch_exceptions=False, env={"COLUMNS": "80"}).output
    assert " model " in shown
    assert "smollm2-135…" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_ls_shows_a_status_as_it_is_and_no_markup(tmp_path: Path, make: Any) -> None:
    evil = "[bold]x[/nope]\x1b[2J\u202e"
    with TraceStore(tmp_path / "runs.db") as store:
        make.write(store, make.run(), status=evil)
    printed = run("ls", "--store", str(tmp_path / "runs.db"))
    assert "[bold]x[/nope]\\x1b[2J\\u202e" in printed
    assert not {"\x1b", "\u202e"} & set(printed)


def test_ls_filters_and_limits(path: Path) -> None:
    store = ("--store", str(path), "--json")
    assert [entry["status"] for entry in json.loads(run("ls", *store))] == ["running", "budget", "finished"]
    assert len(json.loads(run("ls", *store, "--limit", "1"))) == 1
    assert [entry["status"] for entry in json.loads(run("ls", *store, "--status", "budget"))] == ["budget"]
    assert len(json.loads(run("ls", *store, "--user", "12"))) == 2
    assert json.loads(run("ls", *store, "--user", "nobody")) == []
    assert "No run matches" in run("ls", "--store", str(path), "--user", "nobody")
    assert json.loads(run("ls", *store, "--adapter-version", "none such")) == []
    newest, *_, oldest = json.loads(run("ls", *store))
    moment = f"{datetime.fromisoformat(newest['started_at']).astimezone():%Y-%m-%dT%H:%M:%S}"
    assert newest in json.loads(run("ls", *store, "--since", moment))
    assert json.loads(run("ls", *store, "--since", "2999-01-01")) == []
    assert oldest in json.loads(run("ls", *store, "--until", "2999-01-01"))
    assert json.loads(run("ls", *store, "--until", "1999-01-01")) == []


def test_ls_json_is_complete(path: Path) -> None:
    entry = json.loads(run("ls", "--store", str(path), "--json", "--status", "finished"))[0]
    assert entry["run_id"] == str(RUN)
    assert (entry["turns"], entry["retrievals"], entry["completion_tokens"], entry["target_rank"]) == (3, 2, 9, 2)
    assert entry["started_at"].endswith("+00:00")


def test_show_takes_a_prefix_and_titles(path: Path, artifact_folder: Path, catalogue: Catalogue, make: Any) -> None:
    assert f"Run {RUN}" in run("show", "abc", "--store", str(path))
    first = catalogue.ids[0]
    with TraceStore(path) as store:
        store.start_run(other := make.run(history=(first,)))
    page = run("show", str(other.run_id), "--store", str(path), "--artifact", str(artifact_folder))
    assert catalogue.item(first).title in page


def test_show_json_is_strict_and_complete(path: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    trace = json.loads(run("show", "abc", "--store", str(path), "--json"), parse_constant=refuse)
    assert trace["run"]["run_id"] == str(RUN)
    assert trace["run"]["sampling"] == {"temperature": 1.0, "top_p": 0.9, "max_tokens": 64}
    assert trace["turns"][0]["completion_ids"] == [100_000, 7, 2]
    assert trace["retrievals"][0]["items"][0] == {"id": "9", "score": 0.9}
    assert [line["item_id"] for line in trace["written"]] == ["9", "9", "77"]
    assert trace["rewards"] == [{"scheme": "list", "component": "hit", "value": None}]


def test_export_writes_the_preferences_of_finished_runs(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "written.parquet"
    printed = run("export", "--preferences", str(out), "--store", str(path))
    assert f"Wrote 4 preferences of 2 runs to {out}." in printed
    assert "Runs left out: 1 running." in printed
    assert [row.user_id for row in read_preference_file(out)] == ["12", "12", "[bold]13\x1b", "[bold]13\x1b"]
    summary = json.loads(run("export", "--preferences", str(out), "--store", str(path), "--json", "--suite", "demo"))
    assert summary == {
        "file": str(out),
        "format": 1,
        "preferences": 4,
        "runs": 2,
        "left_out": {"running": 1},
    }


def test_export_writes_requests_with_what_people_chose(path: Path, tmp_path: Path, make: Any) -> None:
    out, choices, own = tmp_path / "requests.jsonl", tmp_path / "choices.csv", uuid4()
    with TraceStore(path) as store:
        make.write(store, make.run(own, suite=None, split=None, target_id=None))
    choices.write_text(f"run_id,item_id\n{own},7\n{uuid4()},8\n")
    printed = run("export", "--requests", str(out), "--choices", str(choices), "--store", str(path))
    assert f"Wrote 1 requests to {out}." in printed
    assert "Runs left out: " in printed
    assert "3 of an experiment" in printed
    assert "Choices of 1 run are of runs that this store lacks" in printed
    assert [request.targets for request in read_requests(out)] == [("7",)]


def test_the_store_comes_from_the_environment(path: Path) -> None:
    output = (
        CliRunner()
        .invoke(app, ["traces", "ls", "--json"], env={"DEEPREC_STORE": str(path)}, catch_exceptions=False)
        .output
    )
    assert len(json.loads(output)) == 3


@pytest.mark.parametrize("command", [["ls"], ["show", "abc"], ["export", "--preferences", "x.parquet"]])
def test_a_missing_store_is_one_clear_line(tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TraceStoreError) as caught:
        CliRunner().invoke(app, ["traces", *command], catch_exceptions=False)
    assert str(caught.value).startswith("There is no trace store at .deeprec/traces.db.")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["ls", "--status", "dead"], "is not a status of a run"),
        (["show", "fff"], "No run begins with 'fff'"),
        (["show", "--", "-1%"], "is not a run id"),
        (["show", "abc", "--artifact", "nowhere"], "nowhere"),
        (["export", "--preferences", "x.parquet", "--split", "train"], "nothing to export"),
        (["export", "--preferences", "."], "is not a file of preferences"),
        (["export", "--requests", "x.jsonl"], "so there is nothing to export"),
        (["export", "--requests", "x.txt"], "no suffix of a file of requests"),
        (["export", "--preferences", "x.parquet", "--choices", "x.csv"], "go with --requests FILE"),
    ],
)
def test_a_mistake_is_one_clear_line(path: Path, command: list[str], message: str) -> None:
    with pytest.raises(DeepRecError, match=message) as caught:
        CliRunner().invoke(app, ["traces", *command], catch_exceptions=False, env={"DEEPREC_STORE": str(path)})
    assert "\n" not in str(caught.value)


def test_runs_are_listed_by_what_they_belong_to(path: Path) -> None:
    for option in ("--suite", "--system", "--split", "--model"):
        assert run("ls", "--store", str(path), option, "other") == "No run matches.\n"
