"""README and docs: programs run, commands parse, links lead somewhere, and the generated pages are complete.

A Python block is run, or has `<!-- not run: REASON -->` before it. The blocks of a page run in order, in one folder
that holds what `make demo` leaves, with the tests' own artifact, data and model server in place of the embedded ones.
"""

import asyncio
import contextlib
import gc
import io
import json
import re
import runpy
import shlex
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deeprec.agent import CompletionPolicy, RunFilter, SqlRecorder, TraceStore, build_graph
from deeprec.evals import load_results, load_suite, run_suite
from deeprec.trm_tool import HashingEncoder, Retriever, read_atomic_files
from deeprec.trm_tool.data import import_data, load_importer
from tests.tiny_server import MODEL, TinyServer
from tools.site_pages import api_reference, command_reference, commands

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n)?"
    r"```python(?: title=\"(?P<title>[^\"]*)\")?\n(?P<code>.*?)```",
    flags=re.DOTALL,
)


@dataclass(frozen=True)
class Example:
    """A Python block of a page."""

    title: str
    code: str
    reason: str | None
    """Why it is not run; None for a block that is."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def examples(page: Path) -> list[Example]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Example(title=m["title"] or "", code=m["code"], reason=m["reason"]) for m in found]


RUN = [page for page in PAGES if any(example.reason is None for example in examples(page))]


@pytest.fixture
def workplace(
    tmp_path: Path,
    artifact_folder: Path,
    atomic_folder: Path,
    retriever: Retriever,
    server: TinyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """The current folder of a user after `make demo`: two artifacts, and a store with one run."""
    for name, holdout in (("ml-100k", 2), ("ml-100k-holdout3", 3)):
        artifact = tmp_path / ".deeprec/trm" / name
        shutil.copytree(artifact_folder, artifact)
        config = json.loads((artifact / "config.json").read_text(encoding="utf-8"))
        (artifact / "config.json").write_text(json.dumps(config | {"holdout": holdout}), encoding="utf-8")
    opened: list[CompletionPolicy] = []
    open_policy = CompletionPolicy.__init__

    def noted(policy: CompletionPolicy, *arguments: Any, **named: Any) -> None:
        open_policy(policy, *arguments, **named)
        opened.append(policy)

    monkeypatch.setattr(CompletionPolicy, "__init__", noted)
    with TraceStore(tmp_path / ".deeprec/traces.db") as store:
        agent = build_graph(CompletionPolicy(server.base_url, MODEL), retriever, recorder=SqlRecorder(store))
        agent.invoke({"history": list(retriever.catalogue.ids[:3])})
    monkeypatch.setitem(server.adapters, "smollm2-135m-words-v2", server.model)  # which the embedded server has
    monkeypatch.setitem(server.roots, "smollm2-135m-words-v2", str(tmp_path))
    monkeypatch.setattr("deeprec.trm_tool.embedded_ml100k", lambda: atomic_folder)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for policy in opened:  # those of a loop that still runs, as of synchronous calls, would stay open
        asyncio.run(policy.aclose())
    opened.clear()
    with warnings.catch_warnings():  # the others, of a page's programs, end with them
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def write_script(script: Path, example: Example, base_url: str, ids: tuple[str, ...]) -> None:
    """Write a block to a file, with the tests' server and items in the place of the embedded ones."""
    code = example.code.replace("http://127.0.0.1:8000/v1", base_url)
    code = code.replace('["50", "181", "172"]', str(list(ids[:3]))).replace('["1"]', str(list(ids[3:4])))
    script.write_text(code, encoding="utf-8")


def run_page(page: Path, folder: Path, base_url: str, ids: tuple[str, ...]) -> dict[str, str]:
    """Run the blocks of a page. Returns what each printed, by title."""
    printed = {}
    for number, example in enumerate(examples(page)):
        if example.reason is not None:
            continue
        script = folder / (example.title or f"example_{number}.py")
        write_script(script, example, base_url, ids)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            runpy.run_path(str(script), run_name="__main__")
        printed[script.name] = out.getvalue()
    return printed


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")  # by langgraph-supervisor
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # a program's own connections end with it
@pytest.mark.parametrize("page", RUN, ids=named)
def test_the_programs_of_a_page_run(page: Path, workplace: Path, server: TinyServer, retriever: Retriever) -> None:
    assert run_page(page, workplace, server.base_url, retriever.catalogue.ids)


def test_every_block_that_is_not_run_says_why() -> None:
    fenced = sum(page.read_text(encoding="utf-8").count("```python") for page in PAGES)
    found = [example for page in PAGES for example in examples(page)]
    assert len(found) == fenced >= 8
    assert sum(example.reason is not None for example in found) <= 4
    assert all(len(example.reason.split()) >= 4 for example in found if example.reason is not None)


def test_the_first_program_of_the_readme_prints_a_list_and_logs_its_run(
    workplace: Path, server: TinyServer, retriever: Retriever
) -> None:
    agent, own = run_page(ROOT / "README.md", workplace, server.base_url, retriever.catalogue.ids).values()
    assert len(agent.splitlines()) == 5
    assert own.count("'item_id'") == 3
    with TraceStore(workplace / ".deeprec/traces.db") as store:
        [run] = [run for run in store.runs() if run.message == "a comedy for a rainy day"]
    assert (run.policy_model, run.adapter_version) == (MODEL, "smollm2-135m-words-v2")


def test_the_program_of_the_traces_page_prints_statuses(
    workplace: Path, server: TinyServer, retriever: Retriever
) -> None:
    page = ROOT / "docs/guides/inspecting-traces.md"
    with TraceStore(workplace / ".deeprec/traces.db") as store:
        [run] = store.runs()
    assert run.status in run_page(page, workplace, server.base_url, retriever.catalogue.ids)["frames.py"]


def test_the_program_of_the_training_page_collects_guided_runs(
    workplace: Path, server: TinyServer, retriever: Retriever
) -> None:
    run_page(ROOT / "docs/training.md", workplace, server.base_url, retriever.catalogue.ids)
    with TraceStore(workplace / "STORE") as store:
        collected = store.runs(where=RunFilter(suite="guided", guided=True))
        assert collected
        assert len(collected) == len(store.runs())


def test_the_program_of_the_recommender_page_enforces_every_constraint(
    workplace: Path, server: TinyServer, retriever: Retriever
) -> None:
    page = ROOT / "docs/recommender.md"
    printed = run_page(page, workplace, server.base_url, retriever.catalogue.ids)["recommender.py"]
    assert printed.endswith("()\n")
    assert "new-1" in Retriever.load(workplace / ".deeprec/trm/changed").catalogue


def test_the_importer_of_the_extending_page_imports(workplace: Path) -> None:
    [orders] = [example for example in examples(ROOT / "docs/extending.md") if example.title == "orders.py"]
    (workplace / "orders.py").write_text(orders.code, encoding="utf-8")
    (workplace / "in").mkdir()
    rows = [f"p{person}|tea-{person + item}|2026-11-{item + 1:02}" for person in range(5) for item in range(4)]
    (workplace / "in/orders.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    import_data(workplace / "in", workplace / "out", importer=load_importer("orders.py:orders"))
    assert len(read_atomic_files(workplace / "out").users) == 5


def test_the_service_of_the_integrate_page_answers_and_streams(
    workplace: Path, server: TinyServer, retriever: Retriever
) -> None:
    [service] = [example for example in examples(ROOT / "docs/integrate.md") if example.title == "shop_service.py"]
    write_script(workplace / "shop_service.py", service, server.base_url, retriever.catalogue.ids)
    app = runpy.run_path(str(workplace / "shop_service.py"))["app"]
    request = {"history": retriever.catalogue.ids[:3], "user_id": "ann", "session_id": "s-1"}
    with TestClient(app) as client:
        assert len(client.post("/recommend", json=request).json()["recommendations"]) == 5
        streamed = client.post("/recommend/stream", json=request).text
    assert streamed.startswith("event: thought\ndata: {")
    assert json.loads(streamed.split("data: ")[-1])["status"] in ("finished", "budget")
    with TraceStore(workplace / ".deeprec/traces.db") as store:
        assert len(store.runs(where=RunFilter(user_id="ann", thread_id="s-1", tag="web"))) == 2


def test_the_suite_of_the_extending_page_runs(
    workplace: Path, atomic_folder: Path, server: TinyServer, retriever: Retriever
) -> None:
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    [suite] = re.findall(r"```yaml\n(name: mine\n.*?)```", text, flags=re.DOTALL)
    [systems] = [example for example in examples(ROOT / "docs/extending.md") if example.title == "systems.py"]
    (workplace / "systems.py").write_text(systems.code, encoding="utf-8")
    (workplace / "mine.yaml").write_text(suite.replace("data: shop", f"data: {atomic_folder}"), encoding="utf-8")
    names = {"trm", "deeprec-guided", "last_of_catalogue", "most_retrieved"}
    with TraceStore(workplace / "suite.db") as store:
        label = run_suite(
            load_suite(workplace / "mine.yaml"),
            store,
            dataset=read_atomic_files(atomic_folder),
            artifact=retriever.artifact,
            encoder=HashingEncoder(),
            base_url=server.base_url,
        )
        assert {system.name for system in load_results(store, label).systems} == names


def test_the_picture_of_the_graph_is_drawn_from_the_graph(retriever: Retriever) -> None:
    graph = build_graph(CompletionPolicy("http://127.0.0.1:9/v1", MODEL), retriever)
    text = (ROOT / "docs/agent.md").read_text(encoding="utf-8")
    [picture] = re.findall(r"```mermaid\n(.*?)```", text, flags=re.DOTALL)
    assert picture.split() == graph.get_graph().draw_mermaid().split()


KNOWN = {path: (command, context) for path, command, context in commands()}


def documented(page: Path) -> list[str]:
    """The commands of a page's code blocks, without their comments, with lines that go on joined."""
    text = re.sub(r"\\\n\s+", "", page.read_text(encoding="utf-8"))
    lines = re.findall(r"^ {4}(deeprec .+)$", text, flags=re.MULTILINE)
    return [re.split(r" {3,}", line)[0] for line in lines]


@pytest.mark.parametrize("page", [page for page in PAGES if documented(page)], ids=named)
def test_the_commands_of_a_page_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names a command that there is, with options that it has and every argument that it needs."""
    for asked in ("exists", "is_dir", "is_file"):  # commands refuse paths that are not there
        monkeypatch.setattr(Path, asked, lambda _: True)
    for line in documented(page):
        words = shlex.split(line)
        depth = max(n for n in range(1, len(words) + 1) if " ".join(words[:n]) in KNOWN)
        command, context = KNOWN[" ".join(words[:depth])]
        assert not hasattr(command, "list_commands"), f"{line}: names a group, or a command that there is not"
        for parameter in command.params:
            monkeypatch.setattr(parameter, "callback", None)  # which looks for the reader's files
        command.make_context(words[depth - 1], words[depth:], parent=context.parent)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    """On GitHub; those inside docs/ are checked again when the site is built."""
    made = {"commands.md", "agent.md", "trm_tool.md", "evals.md", "training.md"}  # under reference/
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", prose)
    missing = [
        link
        for link in links
        if "://" not in link
        and not (page.parent / link).exists()
        and not (Path(link).parent.name == "reference" and Path(link).name in made)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_files_and_modules_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"`((?:agent|benchmarks|docs|evals|tests|tools|training|trm_tool)/[\w./-]+)`", text)
    modules = re.findall(
        r"python -m (?:deeprec\.)?((?:agent|benchmarks|evals|tools|training|trm_tool)\.[\w.]*\w)", text
    )
    files += [f"{module.replace('.', '/')}.py" for module in modules]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_command_reference_has_every_command() -> None:
    text = command_reference()
    headings = {line.lstrip("# ") for line in text.splitlines() if line.startswith("##")}
    assert headings == {*KNOWN} - {"deeprec"}
    assert "deeprec traces fork" in text
    assert "--max-retrievals" in text


def test_the_api_reference_has_every_public_name() -> None:
    import deeprec.agent

    text = api_reference(ROOT / "agent")
    directives = {line.rpartition(".")[2] for line in text.splitlines() if line.startswith("::: ")}
    assert set(deeprec.agent.__all__) - directives == set()
