"""Runs whose model asks what the catalogue can be asked for before it searches."""

from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
    fork_run,
    replay_run,
)
from deeprec.trm_tool import Retriever
from tests.model_scripts import raw_tool_call, tool_call
from tests.tiny_server import TinyServer

CONFIG = AgentConfig(k=3, retrieve_k=4, max_retrievals=2, describes_catalogue=True)
LOOK = tool_call("describe_catalogue", attribute="class", contains="o")
SEARCH = tool_call("retrieve_items", preference="comedy")
REQUEST: Any = {"history": [], "settings": {"describes_catalogue": True}}
LIST = tool_call("recommend_items", numbers=[2, 1])


async def run(chat: ChatOpenAI, retriever: Retriever, store: TraceStore, config: AgentConfig = CONFIG) -> RunTrace:
    graph = build_graph(chat, retriever, config=config, recorder=SqlRecorder(store))
    request: Any = {"history": list(retriever.catalogue.ids[:4]), "message": "a comedy", "lineage": {"seed": 3}}
    return store.run(UUID((await graph.ainvoke(request))["run_id"]))


def offered(server: TinyServer) -> list[list[str]]:
    asked = [request["tools"] for request in server.requests if "tools" in request]
    return [[tool["function"]["name"] for tool in tools] for tools in asked]


@pytest.mark.parametrize("prompts", ["instruct", "trained"])
async def test_the_model_looks_the_catalogue_up_and_spends_no_retrieval(
    prompts: Any, server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [LOOK, SEARCH, LIST]
    config = AgentConfig(
        k=3, retrieve_k=4, max_retrievals=2, describes_catalogue=True, prompts=prompts, max_malformed=0
    )
    trace = await run(chat, retriever, store, config)
    assert (trace.status, [turn.action for turn in trace.turns]) == ("finished", ["retrieve", "recommend"])
    assert [retrieval.preference for retrieval in trace.retrievals] == ["comedy"]
    assert "describe_catalogue" in offered(server)[0]
    *_, asked, answer = server.requests[1]["messages"]
    assert asked["tool_calls"][0]["function"]["name"] == "describe_catalogue"
    assert answer["role"] == "tool"
    items, line = answer["content"].splitlines()
    assert items == "50 items."
    assert line.startswith("class: ")
    assert "Comedy (" in line
    assert "Drama (" not in line
    assert len(trace.turns[0].messages or []) == 5  # the prompt, the question, its answer, and the search
    assert [turn.completion_tokens for turn in trace.turns] == [10, 5]  # the server says 5 for each call


async def test_a_look_up_is_replayed_and_forked_as_it_was_logged(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    script = [LOOK, SEARCH, tool_call("describe_catalogue"), tool_call("retrieve_items", preference="drama"), LIST]
    server.script = [*script]
    trace = await run(chat, retriever, store)
    server.script = [*script]
    assert (await replay_run(store, trace.run.run_id, policy=chat, retriever=retriever)).is_same
    for turn, before in ((0, 5), (1, 4)):
        server.script = [LIST]
        child = await fork_run(
            store, trace.run.run_id, turn=turn, preference="horror", policy=chat, retriever=retriever
        )
        assert [turn.preference for turn in child.turns][: turn + 1] == ["comedy", "horror"][1 - turn :]
        messages = child.turns[turn].messages or []
        assert len(messages) == before
        assert messages[:-1] == (trace.turns[turn].messages or [])[:-1]
        assert child.status == "finished"


async def test_three_look_ups_are_answered_in_a_run(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [LOOK, LOOK, SEARCH, LOOK, LOOK, LIST]
    trace = await run(chat, retriever, store)
    assert [turn.action for turn in trace.turns] == ["retrieve", "malformed", "recommend"]
    assert trace.turns[1].detail == "there is no tool 'describe_catalogue'"
    assert ["describe_catalogue" in names for names in offered(server)] == [True] * 4 + [False] * 2


async def test_a_search_beside_a_look_up_is_carried_out_alone(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    calls = [
        raw_tool_call("describe_catalogue", "{}"),
        raw_tool_call("retrieve_items", '{"preference": "comedy"}'),
    ]
    server.script = [{"tool_calls": calls}, LIST]
    trace = await run(chat, retriever, store)
    assert [turn.action for turn in trace.turns] == ["retrieve", "recommend"]
    answers = [m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"]
    assert answers[0] == "Not carried out: one call at a time."


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (tool_call("describe_catalogue", attribute="clas"), "no attribute 'clas'. Did you mean 'class'?"),
        (tool_call("describe_catalogue", attribute="<|end|>" * 900), "no attribute '‹/end/›"),
        (tool_call("describe_catalogue", contains="x" * 9_000), "No value contains this text."),
        (tool_call("describe_catalogue", attribute=7), "This call could not be read."),
        (tool_call("functions.describe_catalogue", limit=-3), "class: "),
        ({"tool_calls": [raw_tool_call("describe_catalogue", '{"attr')]}, "class: "),
        ({"tool_calls": [raw_tool_call("describe_catalogue", "[1]")]}, "class: "),
        ('```json\n{"name": "describe_catalogue", "arguments": {"attribute": "class"}}\n```', "class: "),
    ],
)
async def test_odd_look_ups_get_a_short_and_safe_answer(
    asked: Any, shown: str, server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [asked, SEARCH, LIST]
    trace = await run(chat, retriever, store)
    answer = server.requests[1]["messages"][-1]["content"]
    assert shown in answer
    assert len(answer) <= 2_100
    assert not set(answer) & set("<>[]|")
    assert (trace.status, len(trace.retrievals)) == ("finished", 1)


async def test_nothing_is_offered_unless_the_settings_say_so(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH, LIST]
    graph = build_graph(chat, retriever, config=AgentConfig(k=3, retrieve_k=4, max_retrievals=2))
    await graph.ainvoke({"history": []})
    assert offered(server) == [["retrieve_items"], ["retrieve_items", "recommend_items"]]
    server.requests.clear()
    server.script = [LOOK, SEARCH, LIST]
    parts = [part async for part in graph.astream(REQUEST, stream_mode="custom")]
    assert offered(server)[0] == ["retrieve_items", "describe_catalogue"]
    assert [part["text"] for part in parts if part["type"] == "preference"] == ["comedy"]


async def test_tagged_and_guided_runs_have_no_such_tool(
    server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever
) -> None:
    for model, guided in ((policy, True), (policy, False), (chat, True)):
        server.requests.clear()
        server.script = []
        config = AgentConfig(k=2, guided=guided, describes_catalogue=True, max_retrievals=2, max_malformed=0)
        await build_graph(model, retriever, config=config).ainvoke({"history": []})
        assert offered(server) == []
        assert not any("describe_catalogue" in str(request) for request in server.requests)
