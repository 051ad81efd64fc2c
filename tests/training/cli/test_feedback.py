"""`deeprec train knowledge` and `train feedback` as a user calls them, and the commands that read knowledge runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deeprec.agent import TraceStore
from deeprec.agent.cli.main import app
from deeprec.agent.traces import RunFilter, export_jsonl, import_jsonl
from deeprec.evals import diagnose
from tests.conftest import WriteAtomic, tiny_items
from tests.tiny_server import TinyServer


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def wrote(server: TinyServer, atomic_folder: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    """A store with four pieces of knowledge, and the command that made them."""
    store = tmp_path / "traces.db"
    command: list[object] = [
        *("train", "knowledge", "--store", store, "--data", atomic_folder, "--base-url", server.base_url),
        *("--people", 2, "--group-size", 2),
    ]
    outcome = call(*command)
    assert outcome.exit_code == 0, outcome.output
    assert "4 of 4 pieces are knowledge, stored under knowledge/train." in outcome.output
    assert "Factors: class (6 values); release year (4 values); studio (3 values)." in outcome.output
    return store, command


def test_the_same_command_goes_on(server: TinyServer, wrote: tuple[Path, list[object]]) -> None:
    _, command = wrote
    asked = len([each for each in server.requests if each["path"].endswith("/completions")])
    outcome = call(*command, "--json")
    assert json.loads(outcome.stdout) == {"suite": "knowledge/train", "runs": 4, "valid": 4}
    assert len([each for each in server.requests if each["path"].endswith("/completions")]) == asked == 4


def test_knowledge_runs_are_shown_exported_and_diagnosed(wrote: tuple[Path, list[object]], tmp_path: Path) -> None:
    store, _ = wrote
    with TraceStore(store) as traces:
        [first, *_] = [run_id for page in traces.run_ids(RunFilter(kind="knowledge")) for run_id in page]
        knowledge = str(traces.run(first).turns[0].preference)
        export_jsonl(traces, tmp_path / "runs.jsonl")
        with TraceStore(tmp_path / "copy.db") as copy:
            import_jsonl(copy, tmp_path / "runs.jsonl")
            assert copy.run(first).turns == traces.run(first).turns
            assert copy.run(first).run.kind == "knowledge"
        diagnosis = diagnose(traces)
        assert (diagnosis.counted, diagnosis.left_out["knowledge"]) == (0, 4)
    page = call("traces", "html", first, "--store", store, "-o", tmp_path / "run.html")
    assert page.exit_code == 0, page.output
    assert knowledge.split("; ")[0] in (tmp_path / "run.html").read_text()
    shown = call("traces", "show", first, "--store", store)
    assert shown.exit_code == 0
    assert knowledge.split("; ")[0] in shown.output
    assert "4 of knowledge" in call("eval", "diagnose", "--store", store).output
    checked = call("train", "check", store, "--guided")
    assert checked.exit_code == 0, checked.output


@pytest.mark.slow
def test_answers_that_are_no_knowledge_are_named_before_a_recommender_is_trained(
    server: TinyServer, atomic_folder: Path, tiny_base: Path, tmp_path: Path
) -> None:
    server.writer = lambda *_: ""
    few = ("--people", 2, "--test-people", 2, "--group-size", 2, "--free", "--backbone", "trm")
    given = ("--data", atomic_folder, "--base", tiny_base, "--base-url", server.base_url)
    outcome = call("train", "feedback", *given, "--store", tmp_path / "x.db", "--out", tmp_path / "out", *few)
    assert "None of 2 answers under feedback-" in str(outcome.exception)
    assert "leave out --free" in str(outcome.exception)
    assert not (tmp_path / "out" / "recommenders").exists()


def test_a_catalogue_without_attributes_is_refused_before_a_store_is_made(
    server: TinyServer, write_atomic: WriteAtomic, tmp_path: Path
) -> None:
    items = ["\t".join(line.split("\t")[:2]) for line in tiny_items()]
    bare = write_atomic(items=items, item_header="item_id:token\tmovie_title:token_seq")
    given = ("--data", bare, "--base-url", server.base_url, "--store", tmp_path / "x.db")
    for asked in (("knowledge",), ("feedback", "--out", tmp_path / "out")):
        outcome = call("train", *asked, *given)
        assert "None of the catalogue's attributes (it has none)" in str(outcome.exception)
        assert not (tmp_path / "x.db").exists()


def test_settings_that_cannot_work_are_named(server: TinyServer, atomic_folder: Path, tmp_path: Path) -> None:
    given = ("--data", atomic_folder, "--base-url", server.base_url, "--store", tmp_path / "x.db")
    outcome = call("train", "knowledge", *given, "--temperature", 0)
    assert "would be alike" in str(outcome.exception)
    outcome = call("train", "knowledge", *given, "--split", "last")
    assert "There is no split 'last'" in str(outcome.exception)
    outcome = call("train", "feedback", *given, "--out", tmp_path / "out", "--backbone", "bert")
    assert "Name each of trm and sasrec" in str(outcome.exception)
    outcome = call("train", "feedback", *given, "--out", tmp_path / "out", "--group-size", 1)
    assert "one piece of knowledge is neither best nor worst" in str(outcome.exception)
