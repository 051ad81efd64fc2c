"""What of the caller's config is kept with a run."""

from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from deeprec.agent import AgentConfig, AgentState, CompletionPolicy, RunFilter, SqlRecorder, TraceStore, build_graph
from deeprec.trm_tool import Retriever
from tests.tiny_server import TinyServer

CONFIG = AgentConfig(k=3, max_malformed=0)


@pytest.mark.parametrize("way", ["async", "sync", "subgraph"])
async def test_thread_run_id_tags_and_metadata_are_kept_and_found(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore, way: str
) -> None:
    server.script = ["nonsense"]
    run_id = uuid4()
    config: Any = {
        "run_id": run_id,
        "tags": ["web", "beta", "web"],
        "metadata": {"page": "checkout", "visits": 3, "cart": ["a"], "langgraph_step": 4},
        "configurable": {"thread_id": "t-1"},
    }
    graph: Any = build_graph(policy, retriever, config=CONFIG, recorder=SqlRecorder(store))
    if way == "subgraph":
        parent = StateGraph(AgentState)
        parent.add_node("shop", graph)
        parent.add_edge(START, "shop")
        graph = parent.compile(checkpointer=InMemorySaver())
    request = {"history": list(retriever.catalogue.ids[:3])}
    await graph.ainvoke(request, config) if way != "sync" else graph.invoke(request, config)
    [summary] = store.runs(where=RunFilter(thread_id="t-1", tag="beta", metadata={"visits": "3"}))
    run = store.run(summary.run_id).run
    assert run.tags == ("web", "beta")
    assert run.caller_metadata == {"page": "checkout", "visits": "3"}
    assert run.caller_run_id == (None if way == "subgraph" else str(run_id))


async def test_what_is_kept_is_bounded_and_secrets_are_masked(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = ["nonsense"]
    secrets = {
        "api_key": "sk-12",
        "Authorization": "Bearer 12",
        "session-token": "12",
        "db": "postgres://ann:12@host/x",
    }
    config: Any = {
        "tags": ["\x1b[31mred\u202e", "x" * 999, *(f"tag {number}" for number in range(99))],
        "metadata": {**secrets, "max_tokens": 12, "long": "y" * 9999, **{f"m{number}": 1 for number in range(99)}},
    }
    graph = build_graph(policy, retriever, config=CONFIG, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:3])}, config)
    run = store.run(output["run_id"]).run
    assert run.tags[:2] == ("[31mred", "x" * 128)
    assert len(run.tags) == len(run.caller_metadata) == 32
    assert [run.caller_metadata[name] for name in secrets] == ["***", "***", "***", "postgres://ann:***@host/x"]
    assert run.caller_metadata["max_tokens"] == "12"
    assert len(run.caller_metadata["long"]) == 512
    assert run.thread_id is None
