"""One graph called from synchronous code, several event loops, threads and forked processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from deeprec.agent import AgentConfig, TraceStore, build_graph
from deeprec.trm_tool import Retriever
from tests.tiny_server import TinyServer

BUILD = """
import asyncio, json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from langchain_openai import ChatOpenAI
from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph, make_chat_model
from deeprec.trm_tool import Retriever

base_url, artifact, folder = sys.argv[1:]
policies = {
    "tagged": lambda: CompletionPolicy(base_url, "tiny", timeout_s=20),
    "ours": lambda: make_chat_model(base_url, "tiny", timeout_s=20),
    # As an integrator builds it: its asynchronous client is bound to the first event loop that uses it.
    "plain": lambda: ChatOpenAI(base_url=base_url, model="tiny", api_key="EMPTY", timeout=20),
}
retriever = Retriever.load(artifact)
store = TraceStore(Path(folder) / "traces.db")
config = AgentConfig(guided=True, k=3, retrieve_k=4, min_retrievals=1, max_retrievals=2, max_seconds=60)
recorder = SqlRecorder(store)
graphs = {kind: build_graph(make(), retriever, config=config, recorder=recorder) for kind, make in policies.items()}
request = {"history": list(retriever.catalogue.ids[:4])}


def report(kind, where, output):
    print(json.dumps([kind, where, f"{output['status']}: {output['detail']}", output["run_id"]]), flush=True)
"""

MIXING = """
def mix(kind, graph):
    async def several():
        return await asyncio.gather(*(graph.ainvoke(request) for _ in range(3)))

    async def beside():
        loop = asyncio.get_running_loop()
        report(kind, "synchronous beside a loop", await loop.run_in_executor(None, graph.invoke, request))
        report(kind, "loop", await graph.ainvoke(request))

    for _ in range(2):
        report(kind, "synchronous", graph.invoke(request))
        for output in asyncio.run(several()):
            report(kind, "asyncio.run", output)
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(asyncio.run, several()) for _ in range(2)]
        report(kind, "thread", threads.submit(graph.invoke, request).result(60))
        for each in running:
            for output in each.result(60):
                report(kind, "loop of a thread", output)
    asyncio.run(beside())


for kind, graph in graphs.items():
    mix(kind, graph)
"""

FORKING = """
def answer(process):
    for kind, graph in graphs.items():
        try:
            report(kind, process, graph.invoke(request))
        except Exception as error:
            report(kind, process, {"status": type(error).__name__, "detail": str(error), "run_id": None})


answer("warm-up")
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        answer(f"child {number}")
        os._exit(0)
    children.append(child)
answer("parent")
for child in children:
    os.waitpid(child, 0)
"""

Run = Callable[[str], list[list[str]]]


@pytest.fixture
def run(server: TinyServer, artifact_folder: Path, tmp_path: Path) -> Run:
    """Run a script in a process of its own, and read what it reports of each run of the agent: the kind of the policy,
    where the agent was called, how the run ended, and its id."""

    def run_script(script: str) -> list[list[str]]:
        command = [sys.executable, "-c", BUILD + script, server.base_url, str(artifact_folder), str(tmp_path)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return run_script


@pytest.mark.slow
def test_synchronous_code_event_loops_and_threads_share_a_graph(run: Run) -> None:
    reports = run(MIXING)
    assert len(reports) == 3 * 17
    assert [report for report in reports if report[2].startswith("fallback")] == []


@pytest.mark.slow
def test_a_process_that_was_forked_after_a_warm_up_works_or_refuses(run: Run, tmp_path: Path) -> None:
    """As gunicorn's preload and Celery's prefork do it. Threads do not outlive a fork; the graph makes new ones."""
    reports = run(FORKING)
    assert len(reports) == 3 * 4
    refused = [report for report in reports if report[2].startswith("ConfigError")]
    # Pooled connections of a plain model are shared with the parent, so that answers would get mixed up.
    assert sorted((kind, process) for kind, process, _, _ in refused) == [("plain", "child 0"), ("plain", "child 1")]
    assert all("make_chat_model" in ending for _, _, ending, _ in refused)
    worked = [report for report in reports if report not in refused]
    assert {ending.partition(":")[0] for _, _, ending, _ in worked} <= {"finished", "budget"}
    with TraceStore(tmp_path / "traces.db") as store:
        assert {run_id for *_, run_id in worked} <= {str(summary.run_id) for summary in store.runs()}
        assert not any(summary.incomplete for summary in store.runs())


class OnlyAsync(BaseChatModel):
    """A chat model that can only be called asynchronously."""

    @property
    def _llm_type(self) -> str:
        return "only-async"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        searched = any(message.type == "tool" for message in messages)
        name, args = (
            ("recommend_items", {"numbers": [1, 2, 3]}) if searched else ("retrieve_items", {"preference": "a"})
        )
        call = {"name": name, "args": args, "id": name}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


def test_a_model_that_can_only_be_called_asynchronously_serves_synchronous_calls(retriever: Retriever) -> None:
    graph = build_graph(OnlyAsync(), retriever, config=AgentConfig(k=3))
    assert graph.invoke({"history": []})["status"] == "finished"
    assert asyncio.run(graph.ainvoke({"history": []}))["status"] == "finished"
