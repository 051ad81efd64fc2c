"""Runs of the tools protocol whose model writes its calls in odd ways."""

import json
from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import AgentConfig, SqlRecorder, TraceStore, build_graph, fork_run, replay_run
from deeprec.trm_tool import Retriever
from tests.model_scripts import raw_tool_call, tool_call
from tests.tiny_server import TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
IN_TEXT = 'First a look.\n```json\n{"name": "retrieve_items", "arguments": {"preference": "comedy"}}\n```'


async def run(chat: Any, retriever: Retriever, store: TraceStore, config: AgentConfig = FREE) -> Any:
    graph = build_graph(chat, retriever, config=config, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:4])})
    return output, store.run(UUID(output["run_id"]))


@pytest.mark.parametrize(
    "arguments",
    [
        '{"numbers": [3.0, 1.0, 2.0]}',
        '{"numbers": "[3, 1, 2]"}',
        '{"numbers": ["#3", "1.", "2"]}',
        "[3, 1, 2]",
        '"3, 1, 2"',
    ],
)
async def test_the_list_is_the_models_however_it_wrote_the_numbers(
    arguments: str, server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    ranks = {"tool_calls": [raw_tool_call("recommend_items", arguments)]}
    server.script = [tool_call("retrieve_items", preference="comedy"), ranks]
    output, trace = await run(chat, retriever, store)
    found = [item.id for item in trace.retrievals[0].items]
    assert [position["item_id"] for position in output["recommendations"]] == [found[2], found[0], found[1]]
    assert {position["source"] for position in output["recommendations"]} == {"written"}
    assert (output["status"], trace.ungrounded) == ("finished", 0)


@pytest.mark.parametrize("arguments", ['{"numbers": ["Toy Story"]}', '{"numbers": {}}', '{"numb', '{"numbers": []}'])
async def test_where_nothing_can_be_read_the_model_is_asked_once_more_with_what_is_wrong(
    arguments: str, server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    unread = {"tool_calls": [raw_tool_call("recommend_items", arguments)]}
    server.script = [
        tool_call("retrieve_items", preference="comedy"),
        unread,
        tool_call("recommend_items", numbers=[2]),
    ]
    output, trace = await run(chat, retriever, store)
    assert [turn.action for turn in trace.turns] == ["retrieve", "malformed", "recommend"]
    assert (output["status"], len(trace.written)) == ("finished", 1)
    *_, asked, answer = server.requests[-1]["messages"]
    for call in asked["tool_calls"]:  # a server refuses a conversation whose arguments are no object
        assert isinstance(json.loads(call["function"]["arguments"]), dict)
    assert str(trace.turns[1].detail) in answer["content"]


async def test_constraints_that_cannot_be_read_are_refused_and_the_model_reads_how_to_write_them(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [
        tool_call("retrieve_items", preference="comedy", where=["no horror"]),
        tool_call("retrieve_items", preference="comedy", where=[{"class": {"not_in": ["Horror"]}}]),
        tool_call("recommend_items", numbers=[2]),
    ]
    _, trace = await run(chat, retriever, store)
    assert [turn.action for turn in trace.turns] == ["malformed", "retrieve", "recommend"]
    [corrected] = [each["content"] for each in server.requests[1]["messages"] if each["role"] == "tool"]
    assert '\'no horror\' in `where` is no object; write {"NAME": {"in": [VALUE]}}' in corrected
    assert trace.turns[1].preference == "not class: Horror; comedy"


async def test_a_call_in_the_text_is_carried_out_and_traced_as_it_was_written(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [IN_TEXT, '{"name": "recommend_items", "arguments": {"numbers": [2, 1, 3]}}']
    output, trace = await run(chat, retriever, store)
    first = trace.turns[0]
    assert (first.text, first.thought, first.preference) == (IN_TEXT, "First a look.", "comedy")
    assert (output["status"], len(trace.written)) == ("finished", 3)
    *_, wrote, shown = server.requests[1]["messages"]
    assert (wrote["content"], shown["role"]) == (IN_TEXT, "user")
    assert retriever.catalogue.item(trace.retrievals[0].items[0].id).title[:8] in shown["content"]

    server.script = [IN_TEXT, '{"name": "recommend_items", "arguments": {"numbers": [2, 1, 3]}}']
    replay = await replay_run(store, UUID(output["run_id"]), policy=chat, retriever=retriever)
    assert replay.is_same
    server.script = ['{"name": "recommend_items", "arguments": {"numbers": [1]}}']
    child = await fork_run(store, UUID(output["run_id"]), turn=0, preference="horror", policy=chat, retriever=retriever)
    assert (child.turns[0].preference, child.turns[0].thought) == ("horror", "First a look.")
    assert child.retrievals[0].preference == "horror"


async def test_each_of_several_calls_gets_its_own_answer(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    calls = [
        raw_tool_call("retrieve_items", "{}"),
        raw_tool_call("retrieve_items", '{"preference": "comedy"}', 1),
        raw_tool_call("retrieve_items", '{"preference": "drama"}', 2),
    ]
    server.script = [{"tool_calls": calls}, tool_call("recommend_items", numbers=[1])]
    output, trace = await run(chat, retriever, store)
    assert (output["status"], trace.retrievals[0].preference) == ("finished", "comedy")
    answers = {m["tool_call_id"]: m["content"] for m in server.requests[-1]["messages"] if m["role"] == "tool"}
    refused = [answers["call_retrieve_items_0"], answers["call_retrieve_items_2"]]
    assert refused == ["Not carried out: one call at a time."] * 2
    assert answers["call_retrieve_items_1"].startswith("1. ")
