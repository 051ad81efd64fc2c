"""The checks that keep the notebooks honest, and the notebooks as they are committed."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeprec.agent import ModelServer
from deeprec.trm_tool import embedded_ml100k, read_atomic_files
from tools.notebook_checks import MAX_TITLES, cleaned, output_faults, source_faults

pytest.importorskip("nbformat", reason="needs the extra [notebooks]")
COMMITTED = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def cell(source: str, *outputs: dict[str, Any], tags: tuple[str, ...] = (), count: int | None = 1) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "source": source,
        "outputs": list(outputs),
        "execution_count": count,
        "metadata": {"tags": list(tags), "execution": {"iopub.execute_input": "2026-11-21T10:00:00Z"}},
    }


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": {"language_info": {"version": "3.11.9"}}, "nbformat": 4}


def shown(**data: Any) -> dict[str, Any]:
    data = {name.replace("_", "/", 1): value for name, value in data.items()}
    return {"output_type": "display_data", "data": data, "metadata": {"image/png": {"width": 3}}}


def printed(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def picture(*, is_blank: bool) -> str:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    if not is_blank:
        figure.subplots().plot([1, 2])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("x = 1\n" * 21, "cell 1 has 21 lines, more than 20"),
        ("%matplotlib inline", "no magics"),
        ("import deeprec.agent.graph.build", "imports deeprec.agent.graph.build"),
        (
            "from deeprec.agent.graph.build import build_graph",
            "imports deeprec.agent.graph.build.build_graph, which is not public",
        ),
        ("from deeprec.agent import MAX_HISTORY", "imports deeprec.agent.MAX_HISTORY, which is not public"),
        ("def f():\n    from deeprec.evals import _shown", "which is not public"),
        ("store._database", "uses the private name _database"),
    ],
)
def test_a_fault_of_a_cell_is_named(source: str, printed: str) -> None:
    [fault] = source_faults(notebook(cell(source)))
    assert printed in fault


def test_public_names_awaited_in_short_cells_are_fine() -> None:
    source = "from deeprec.agent import TraceStore, build_graph\nawait build_graph(x).ainvoke({})\nx.__class__"
    source += "\nfrom deeprec.agent.shopping import build_shopping_agent"
    markdown = {"cell_type": "markdown", "source": "long\n" * 50, "metadata": {}}
    assert source_faults(notebook(markdown, cell(source), cell("x = 1\n" * 20))) == []


@pytest.mark.parametrize(
    "output",
    [
        printed("<Figure size 640x480 with 1 Axes>"),
        shown(text_plain="<Figure size 640x480 with 1 Axes>"),
        shown(text_html="<div class='page'> <style>p { color: red }</style>\n</div>"),
        shown(text_html="<table><tr><th>run</th><th>turn</th></tr></table>"),
        shown(image_png=picture(is_blank=True)),
        shown(image_png="bm8gcGljdHVyZQ=="),
    ],
    ids=["printed", "named", "empty page", "table without rows", "blank picture", "no picture"],
)
def test_an_output_that_is_empty_where_a_figure_belongs_is_a_fault(output: dict[str, Any]) -> None:
    [fault] = output_faults(notebook(cell("plot()", output, tags=("figure",))))
    assert "cell 1 is to show a figure" in fault
    assert output_faults(notebook(cell("plot()", output))) == []
    assert output_faults(notebook(cell("plot()", tags=("figure",))))


@pytest.mark.parametrize(
    "output",
    [
        shown(image_png=picture(is_blank=False)),
        shown(text_html="<table><tr><td>1</td></tr></table>"),
        shown(text_html=["<p>", "Turn 1</p>"]),
        shown(text_html="<svg></svg>"),
    ],
    ids=["picture", "table", "page", "drawing"],
)
def test_a_figure_is_one(output: dict[str, Any]) -> None:
    assert output_faults(notebook(cell("plot()", printed("x"), output, tags=("figure",)))) == []


def test_an_error_and_a_cell_that_did_not_run_are_faults() -> None:
    failed = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    faults = output_faults(notebook(cell("x", failed), cell("y", count=None), cell("", count=None)))
    assert faults == ["cell 1 failed: ValueError: no", "cell 2 was not executed"]


@pytest.mark.parametrize("path", ["/home/ada/project", "/Users/ada/x", "/tmp/abc1/notebooks"])
def test_a_path_of_the_machine_is_a_fault(path: str) -> None:
    for output in (printed(f"wrote {path}/file"), shown(text_html=f"<p>{path}</p>")):
        [fault] = output_faults(notebook(cell("x", output)))
        assert "shows a path of this machine" in fault


def test_who_executed_it_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert output_faults(notebook(cell("x", printed("hello ada")))) == ["cell 1 shows the name of its user"]
    assert output_faults(notebook(cell("x", printed("a cadaver")))) == []


def test_many_titles_are_a_fault() -> None:
    titles = [f"A long title {number:02}" for number in range(MAX_TITLES + 1)]
    page = notebook(cell("x", printed(" ".join(titles[:-1])), shown(text_html=titles[0])))
    assert output_faults(page, [*titles, "She"]) == []
    page["cells"][0]["outputs"].append(printed(titles[-1]))
    [fault] = output_faults(page, titles)
    assert f"the outputs show {MAX_TITLES + 1} titles of the data (A long title 00," in fault


def test_what_is_committed_has_no_times_paths_or_warnings() -> None:
    png = picture(is_blank=False)
    executed = notebook(
        cell(
            "x",
            printed("careful", "stderr"),
            printed("in /srv/job7/notebooks/x"),
            shown(image_png=png),
            tags=("figure",),
        ),
        {"cell_type": "markdown", "source": "text", "metadata": {"jp": 1}},
    )
    before = json.dumps(executed)
    copy = cleaned(executed, {"/srv": "?", "/srv/job7": ".."})
    assert json.dumps(executed) == before
    code, markdown = copy["cells"]
    assert code["outputs"][0]["text"] == "in ../notebooks/x"
    assert code["outputs"][1] == shown(image_png=png) | {"metadata": {}}
    assert code["metadata"] == {"tags": ["figure"]}
    assert markdown["metadata"] == {}
    assert "3.11.9" not in json.dumps(copy)


def test_a_run_names_what_failed_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real kernel; the recommender and the server stand by. What no notebook names is neither made nor started."""
    from tests.tiny_server import serve_tiny
    from tools import notebooks as runner

    monkeypatch.chdir(tmp_path)
    with serve_tiny() as server:
        monkeypatch.setenv("DEEPREC_BASE_URL", server.base_url)
        made: list[str] = []

        def recommender(home: Path, name: str) -> Path:
            made.append(name)
            return tmp_path

        opened: list[Path] = []
        open_server = runner.open_model_server

        def counted_server(*, home: Path, on_progress: Callable[[str], None]) -> ModelServer:
            opened.append(home)
            return open_server(home=home, on_progress=on_progress)

        monkeypatch.setattr(runner, "open_model_server", counted_server)
        monkeypatch.setattr(runner, "trained_recommender", recommender)
        monkeypatch.setattr(runner, "load_artifact", lambda folder: type("A", (), {"catalogue": []}))
        good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
        source = "import os, pathlib\nprint(os.environ['DEEPREC_BASE_URL'][:7], pathlib.Path.cwd())"
        good.write_text(json.dumps(as_file(f"{source}  # where open_model_server looks")))
        bad.write_text(json.dumps(as_file("1 / 0", "print('not reached')")))
        before = bad.read_text()
        assert runner.check_notebooks([good, bad], home=tmp_path / "home", write=True) == 1
        assert made == ["ml-100k"]
        other = tmp_path / "other.ipynb"
        other.write_text(json.dumps(as_file("'ml-100k-holdout3'")))
        assert runner.check_notebooks([other], home=tmp_path / "home") == 0
        assert made == ["ml-100k", "ml-100k", "ml-100k-holdout3"]
        assert len(opened) == 1
    written = json.loads(good.read_text())
    assert "".join(written["cells"][0]["outputs"][0]["text"]) == "http:// ../notebooks\n"
    assert bad.read_text() == before


def as_file(*sources: str) -> dict[str, Any]:
    cells = [
        {"cell_type": "code", "id": f"c{at}", "source": source, "outputs": [], "execution_count": None, "metadata": {}}
        for at, source in enumerate(sources)
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.mark.slow
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_committed_notebooks_hold_real_outputs(path: Path) -> None:
    import nbformat

    read = nbformat.read(path, as_version=4)
    assert source_faults(read) == []
    assert output_faults(read, {item.title for item in read_atomic_files(embedded_ml100k()).catalogue}) == []
    assert any("figure" in one["metadata"].get("tags", ()) for one in read.cells)
    assert path.stat().st_size < 1_000_000
