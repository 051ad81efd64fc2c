"""Runs that are cancelled, or that meet LangGraph's recursion limit: each gets an ending, and each can go on."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError

from deeprec.agent import AgentConfig, AgentInput, CompletionPolicy, SqlRecorder, TraceStore, build_graph, run_many
from deeprec.agent.traces import RunFilter, redact_person
from deeprec.training import read_rollouts
from deeprec.trm_tool import Retrieved, Retriever
from tests.model_scripts import LIST, SEARCH
from tests.tiny_server import TinyServer

CONFIG = AgentConfig(k=3, retrieve_k=4)
SCRIPT = [SEARCH.format("comedy"), SEARCH.format("drama"), LIST.format("2\n1\n3")]


class Waits(Retriever):
    """Calls `reached` and waits at the call of a number."""

    @classmethod
    def of(cls, retriever: Retriever, call: int, reached: Callable[[], None]) -> "Waits":
        own = cls.__new__(cls)
        own.__dict__ |= retriever.__dict__
        own.left, own.reached, own.go_on = call, reached, threading.Event()
        return own

    left: int
    reached: Callable[[], None]
    go_on: threading.Event

    def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
        self.left -= 1
        if self.left == 0:
            self.reached()
            self.go_on.wait(30)
        return super().retrieve(*arguments, **options)


def request(retriever: Retriever) -> AgentInput:
    return AgentInput(history=list(retriever.catalogue.ids[:4]), lineage={"user_id": "ann"})


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_a_cancelled_run_is_aborted_and_goes_on_from_its_checkpoint(
    call: int, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = list(SCRIPT)
    loop, reached = asyncio.get_running_loop(), asyncio.Event()
    waits = Waits.of(retriever, call, lambda: loop.call_soon_threadsafe(reached.set))
    saver, thread = InMemorySaver(), {"configurable": {"thread_id": "t"}}
    graph = build_graph(policy, waits, config=CONFIG, recorder=SqlRecorder(store), checkpointer=saver)
    asked = request(retriever)
    running = asyncio.create_task(graph.ainvoke(asked, thread, durability="sync"))  # type: ignore[arg-type]
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    waits.go_on.set()
    [run] = store.runs()
    trace = store.run(run.run_id)
    assert (trace.status, trace.detail, trace.incomplete) == ("aborted", "The run was cancelled.", False)
    assert len(trace.retrievals) == max(0, call - 2)
    assert store.runs(where=RunFilter(ended=True)) == []
    assert list(read_rollouts(store, on_refused=lambda error: None)) == []
    assert redact_person(store, "ann").runs == 1  # nobody has to wait
    output = await graph.ainvoke(None, thread, durability="sync")  # type: ignore[arg-type]
    trace = store.run(run.run_id)
    assert output["status"] == trace.status == "finished"
    assert (trace.incomplete, trace.detail, len(trace.recommended), len(trace.retrievals)) == (False, None, 3, 2)


@pytest.mark.parametrize("limit", [1, 3, 6, 7])
async def test_a_run_that_meets_the_recursion_limit_says_so(
    limit: int, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = list(SCRIPT)
    saver, thread = InMemorySaver(), {"configurable": {"thread_id": "t"}}
    graph = build_graph(policy, retriever, config=CONFIG, recorder=SqlRecorder(store), checkpointer=saver)
    config: Any = {**thread, "recursion_limit": limit}
    try:
        output = await graph.ainvoke(request(retriever), config, durability="sync")
    except GraphRecursionError:
        [run] = store.runs()
        trace = store.run(run.run_id)
        if trace.status != "finished":  # the limit was met after the last node
            assert (trace.status, f"({limit} steps)" in str(trace.detail)) == ("aborted", True)
            output = await graph.ainvoke(None, thread, durability="sync")  # type: ignore[arg-type]
            assert output["status"] == "finished"
            assert (store.run(run.run_id).status, store.run(run.run_id).detail) == ("finished", None)
    else:
        assert (limit >= 7, output["status"]) == (True, "finished")


async def test_one_run_of_many_fails_alone(
    policy: CompletionPolicy, retriever: Retriever, store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = retriever.catalogue.ids[7]
    retrieve = Retriever.retrieve

    def breaks(self: Retriever, history: Any, *arguments: Any, **options: Any) -> Retrieved:
        if history == [bad]:
            raise RuntimeError("out of memory")
        return retrieve(self, history, *arguments, **options)

    monkeypatch.setattr(Retriever, "retrieve", breaks)
    graph = build_graph(policy, retriever, config=AgentConfig(guided=True, k=3), recorder=SqlRecorder(store))
    requests = [AgentInput(history=[item]) for item in (retriever.catalogue.ids[3], bad, retriever.catalogue.ids[4])]
    requests.append({"history": [], "wher": {}})  # type: ignore[typeddict-unknown-key]
    outputs = await run_many(graph, requests)
    assert [output["status"] in ("finished", "budget") for output in outputs] == [True, False, True, False]
    broken, misspelt = outputs[1], outputs[3]
    assert (broken["status"], broken["detail"]) == ("aborted", "RuntimeError: out of memory")
    assert broken["recommendations"] == []
    assert store.run(UUID(broken["run_id"])).status == "aborted"
    assert "Did you mean 'where'" in str(misspelt["detail"])
    with pytest.raises(RuntimeError, match="out of memory"):
        await run_many(graph, requests[:2], raise_errors=True)
