"""Suites from the command line, on stored runs: what is shown came from files, and is text."""

import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from deeprec.agent import TraceStore
from deeprec.agent.cli.main import app
from deeprec.trm_tool import Artifact, Dataset
from tests.evals.suites.test_harness import make_suite, run


def invoke(*words: str, columns: int = 250) -> str:
    result = CliRunner().invoke(app, ["eval", *words], catch_exceptions=False, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.output


def test_compare_tells_few_users_weak_points_and_attributes_as_they_are(
    tmp_path: Path, store: TraceStore, dataset: Dataset, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.evals.suites.comparison.MIN_SLICE", 2)
    run(make_suite(split="valid"), store, dataset, artifact)
    for trace in store.traces():
        assert trace.case is not None
        store.write_case(trace.run.run_id, replace(trace.case, phrases=(*trace.case.phrases, "[/b] [red]noir")))
    command = ("compare", "tiny", "trm-oracle", "trm", "--store", str(tmp_path / "traces.db"))
    shown = invoke(*command)
    assert "trm-oracle (oracle) against trm" in shown
    assert "target is [/b] [red]noir" in shown
    assert "12, too few" in shown
    assert "Note: Training chose the recommender's epoch" in shown
    assert any("chose the recommender's epoch" in line for line in json.loads(invoke(*command, "--json"))["warnings"])


def test_the_report_is_written_beside_its_figures(
    tmp_path: Path, store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    results = run(make_suite(), store, dataset, artifact)
    killed = next(trace.run for trace in store.traces() if trace.run.system == "trm")
    store.start_run(replace(killed, run_id=uuid4()))
    page = tmp_path / "out" / "report.html"
    shown = invoke("report", "tiny", "-o", str(page), "--store", str(tmp_path / "traces.db"))
    assert "Note: 12 users are too few" in shown
    assert "Note: Not ended: 1 of the runs of trm. `deeprec eval run` goes on" in shown
    assert results.label in page.read_text(encoding="utf-8")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["suite"] == results.label


def test_tables_fit_a_terminal_of_80_columns(
    tmp_path: Path, store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    run(make_suite(), store, dataset, artifact)
    place = ("--store", str(tmp_path / "traces.db"))
    for words in (("compare", "tiny", "trm-oracle", "trm"), ("report", "tiny", "-o", str(tmp_path / "page.html"))):
        shown = invoke(*words, *place, columns=80)
        for head in ("difference", "corrected", "could", "trm-oracle"):
            assert head in shown
        assert "…" not in shown


def test_what_ran_without_the_baseline_is_shown(tmp_path: Path, atomic_folder: Path, artifact_folder: Path) -> None:
    suite = tmp_path / "tiny.yaml"
    suite.write_text(
        f"name: tiny\ndata: {atomic_folder}\nbaseline: trm\nusers: all\nsystems: [popularity, co-occurrence, trm]\n"
    )
    place = ("--artifact", str(artifact_folder), "--store", str(tmp_path / "runs.db"))
    shown = invoke("run", str(suite), *place, "--only", "popularity", "--only", "co-occurrence")
    assert f"Suite tiny: loading {artifact_folder} and its data" in shown
    assert "Against popularity" in shown
    assert "The baseline trm has no runs here yet, so that popularity stands in its place." in shown
    assert "--only trm` makes them" in shown
    assert "Against trm" in invoke("run", str(suite), *place)
