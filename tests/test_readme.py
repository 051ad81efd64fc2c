"""The README's examples run, and its picture is the graph."""

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from deeprec.agent import CompletionPolicy, RunFilter, TraceStore, build_graph
from deeprec.trm_tool import Dataset, Retriever, load_artifact
from tests.tiny_server import MODEL, serve_tiny

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_picture_is_drawn_from_the_graph(retriever: Retriever) -> None:
    graph = build_graph(CompletionPolicy("http://127.0.0.1:9/v1", MODEL), retriever)
    [picture] = blocks("mermaid")
    assert picture.split() == graph.get_graph().draw_mermaid().split()


def run_block(text: str, folder: Path, artifact: Path, catalogue_ids: tuple[str, ...], base_url: str = "") -> None:
    """Run an example in its folder, with the embedded things replaced by the tests' own."""
    text = text.replace(".deeprec/trm/ml-100k", str(artifact)).replace("http://127.0.0.1:8000/v1", base_url)
    text = text.replace('["50", "181", "172"]', str(list(catalogue_ids[:3])))
    text = text.replace('["1"]', str(list(catalogue_ids[3:4])))
    script = folder / "example.py"
    script.write_text(text, encoding="utf-8")
    runpy.run_path(str(script), run_name="__main__")


def test_the_examples_of_the_agent_and_of_its_traces_run(
    retriever: Retriever,
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    agent, traces, *_ = blocks("python")
    with serve_tiny() as server:
        run_block(agent, tmp_path, artifact_folder, retriever.catalogue.ids, server.base_url)
    assert len(capsys.readouterr().out.splitlines()) == 5
    with TraceStore(tmp_path / ".deeprec/traces.db") as store:
        [run] = store.runs()
    assert run.message == "something lighter"
    assert run.policy_model == MODEL
    run_block(traces, tmp_path, artifact_folder, retriever.catalogue.ids)
    assert run.status in capsys.readouterr().out


def test_the_example_of_collecting_runs(
    dataset: Dataset, artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_artifact(artifact_folder)
    artifact = dataclasses.replace(loaded, config=loaded.config | {"holdout": 3})
    monkeypatch.setattr("deeprec.trm_tool.load_artifact", lambda _: artifact)
    monkeypatch.setattr("deeprec.trm_tool.read_atomic_files", lambda _: dataset)
    monkeypatch.chdir(tmp_path)
    with serve_tiny() as server:
        run_block(blocks("python")[2], tmp_path, artifact_folder, (), server.base_url)
    with TraceStore(tmp_path / "STORE") as store:
        collected = store.runs(where=RunFilter(suite="guided", guided=True))
        assert collected
        assert len(collected) == len(store.runs())


def test_the_example_of_the_recommender_runs(
    retriever: Retriever,
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_block(blocks("python")[3], tmp_path, artifact_folder, retriever.catalogue.ids)
    assert capsys.readouterr().out.endswith("()\n")  # every constraint was held
    assert "new-1" in Retriever.load(tmp_path / ".deeprec/trm/changed").catalogue
