"""Checkpointers: a run that halts before or after any node goes on in another graph object, to the same end."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph
from deeprec.trm_tool import Retriever
from tests.model_scripts import LIST, SEARCH, tool_call
from tests.tiny_server import TinyServer

VISITS = {"prepare": 1, "reason": 3, "retrieve": 1, "rank": 1, "finish": 1}
CONFIG = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
SCRIPTS = {
    "tagged": [SEARCH.format("comedy"), "nonsense", LIST.format("2\n1")],
    "tools": [
        tool_call("retrieve_items", preference="comedy"),
        {"content": "nonsense"},
        tool_call("recommend_items", numbers=[2, 1]),
    ],
}

Open = Callable[[], AbstractAsyncContextManager[BaseCheckpointSaver[Any]]]


@pytest.fixture(params=["memory", "sqlite"])
def open_saver(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same checkpoints as often as it is called, as another process would."""
    in_memory = InMemorySaver()

    @asynccontextmanager
    async def opened() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        if request.param == "memory":
            yield in_memory
        else:
            async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as saver:
                yield saver

    return opened


@pytest.mark.slow
@pytest.mark.parametrize("protocol", SCRIPTS)
@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
async def test_a_run_that_halts_at_a_node_ends_as_one_that_does_not(
    server: TinyServer,
    policy: CompletionPolicy,
    chat: ChatOpenAI,
    retriever: Retriever,
    store: TraceStore,
    open_saver: Open,
    protocol: str,
    when: str,
) -> None:
    model = policy if protocol == "tagged" else chat

    def build(**settings: Any) -> Any:
        return build_graph(model, retriever, config=CONFIG, recorder=SqlRecorder(store), **settings)

    async def step(request: Any, thread: Any, node: str) -> tuple[Any, tuple[str, ...]]:
        async with open_saver() as saver:
            graph = build(checkpointer=saver, **{when: [node]})
            output = await graph.ainvoke(request, thread, durability="sync")
            return output, (await graph.aget_state(thread)).next

    request = {"history": list(retriever.catalogue.ids[:4]), "message": "something lighter"}
    server.script = list(SCRIPTS[protocol])
    whole = await build().ainvoke(request)
    assert (whole["status"], len(whole["recommendations"])) == ("finished", 3)
    expected = store.run(whole["run_id"])
    for node in VISITS:
        server.script = list(SCRIPTS[protocol])
        thread = {"configurable": {"thread_id": node}}
        output, following = await step(request, thread, node)
        halts = 0
        while following:
            halts += 1
            output, following = await step(None, thread, node)
        assert halts == VISITS[node] - (when == "interrupt_after" and node == "finish"), node
        assert {**output, "run_id": ""} == {**whole, "run_id": ""}
        trace = store.run(output["run_id"])
        assert [turn.text for turn in trace.turns] == [turn.text for turn in expected.turns]
        assert (trace.status, trace.incomplete, trace.run.fork) == ("finished", False, None)
        assert server.script == []
