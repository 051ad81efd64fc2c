"""The README's examples run, and its picture is the graph."""

import re
import runpy
from pathlib import Path

import pytest

from deeprec.agent import CompletionPolicy, TraceStore, build_graph
from deeprec.trm_tool import Retriever
from tests.tiny_server import MODEL, serve_tiny

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_picture_is_drawn_from_the_graph(retriever: Retriever) -> None:
    graph = build_graph(CompletionPolicy("http://127.0.0.1:9/v1", MODEL), retriever)
    [picture] = blocks("mermaid")
    assert picture.split() == graph.get_graph().draw_mermaid().split()


def test_the_example_runs(
    retriever: Retriever,
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve_tiny() as server:
        text = blocks("python")[0].replace(".deeprec/trm/ml-100k", str(artifact_folder))
        text = text.replace("http://127.0.0.1:8000/v1", server.base_url)
        text = text.replace('["50", "181", "172"]', str(list(retriever.catalogue.ids[:3])))
        script = tmp_path / "example.py"
        script.write_text(text, encoding="utf-8")
        runpy.run_path(str(script), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 5
    with TraceStore(tmp_path / ".deeprec/traces.db") as store:
        [run] = store.runs()
    assert run.message == "something lighter"
    assert run.policy_model == MODEL


def test_the_example_of_the_recommender_runs(
    retriever: Retriever,
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    text = blocks("python")[1].replace(".deeprec/trm/ml-100k", str(artifact_folder))
    text = text.replace('["50", "181", "172"]', str(list(retriever.catalogue.ids[:3])))
    text = text.replace('["1"]', str(list(retriever.catalogue.ids[3:4])))
    script = tmp_path / "example.py"
    script.write_text(text, encoding="utf-8")
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.endswith("()\n")  # every constraint was held
    assert "new-1" in Retriever.load(tmp_path / "changed-artifact").catalogue
