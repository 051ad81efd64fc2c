"""Doing nothing is an action: an empty preference retrieves the recommender's own list, as deep as the model asks."""

import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI
from rich.console import Console

from deeprec.agent import (
    AgentConfig,
    Allowance,
    CompletionPolicy,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
    fork_run,
    fuse_rankings,
    render_run,
    replay_run,
)
from deeprec.agent.protocols.tagged_text import tagged_regex
from deeprec.agent.protocols.tool_messages import tools_regex
from deeprec.agent.traces import export_preferences
from deeprec.trm_tool import DataError, Retriever
from tests.model_scripts import LIST, SEARCH, raw_tool_call, tool_call
from tests.tiny_server import TinyServer

END = "<|end_of_preference|>"
HANDED_IN = tool_call("recommend_items", numbers=[2, 1])


async def run(
    model: Any, retriever: Retriever, store: TraceStore, *, message: str | None = None, **settings: Any
) -> RunTrace:
    named = {"k": 3, "retrieve_k": 4, "max_retrievals": 3, "allows_no_preference": True, "max_malformed": 0}
    named["min_retrievals"] = 1
    config = AgentConfig(**{**named, **settings})
    graph = build_graph(model, retriever, config=config, recorder=SqlRecorder(store))
    history = list(retriever.catalogue.ids[:4])
    output = await graph.ainvoke({"history": history, "message": message, "lineage": {"seed": 3}})
    return store.run(UUID(output["run_id"]))


def text_of(ids: Sequence[int]) -> str:
    return bytes(token for token in ids if token < 256).decode()


def own_list(retriever: Retriever, k: int = 4, words: str | None = None) -> list[str]:
    return [item.id for item in retriever.retrieve(retriever.catalogue.ids[:4], words=words, k=k)]


def found(trace: RunTrace) -> list[list[str]]:
    return [[item.id for item in retrieval.items] for retrieval in trace.retrievals]


@pytest.mark.parametrize("message", [None, "a comedy"])
@pytest.mark.parametrize(
    ("prompts", "first"),
    [
        ("trained", SEARCH.format(" ")),
        ("instruct", f"Hm.</think>\n<|begin_of_preference|>{END}"),
        ("words", f"\n{END}"),
    ],
)
async def test_an_empty_tag_retrieves_the_recommenders_own_list(
    prompts: Any,
    first: str,
    message: str | None,
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
) -> None:
    last = LIST.format("2\n1") if prompts == "trained" else "2\n1</recommendation_list>"
    script = [first, last]
    if prompts == "instruct":
        script[1] = f"So.</think>\n<recommendation_list>\n{last}"
    server.script = [*script]
    trace = await run(policy, retriever, store, message=message, prompts=prompts, max_retrievals=1)
    assert (trace.status, [turn.preference for turn in trace.turns]) == ("finished", ["", None])
    assert [retrieval.preference for retrieval in trace.retrievals] == [""]
    assert found(trace) == [own_list(retriever, words=message)]
    server.script = [*script]
    again = await replay_run(store, trace.run.run_id, policy=policy, retriever=retriever)
    assert again.is_same


@pytest.mark.parametrize("prompts", ["trained", "instruct", "words"])
async def test_without_the_setting_an_empty_preference_is_malformed(
    prompts: Any, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("") if prompts != "words" else END]
    trace = await run(policy, retriever, store, prompts=prompts, allows_no_preference=False)
    assert [(turn.action, turn.detail) for turn in trace.turns][:1] == [("malformed", "the preference is empty")]
    assert "An empty preference is a search too" not in text_of(trace.turns[0].prompt_ids)


@pytest.mark.parametrize("prompts", ["trained", "instruct"])
async def test_the_model_is_told_of_it_in_one_line(
    prompts: Any,
    server: TinyServer,
    policy: CompletionPolicy,
    chat: ChatOpenAI,
    retriever: Retriever,
    store: TraceStore,
) -> None:
    server.script = [SEARCH.format(""), LIST.format("1")]
    trace = await run(policy, retriever, store, prompts=prompts)
    assert text_of(trace.turns[0].prompt_ids).count("An empty preference is a search too") == 1
    server.script = [tool_call("retrieve_items"), HANDED_IN]
    server.requests.clear()
    await run(chat, retriever, store, prompts=prompts)
    assert "An empty preference is a search too" in server.requests[0]["messages"][0]["content"]
    parameters = server.requests[0]["tools"][0]["function"]["parameters"]
    assert (parameters["required"], list(parameters["properties"])) == ([], ["preference"])


async def test_a_preference_that_was_cut_is_no_choice(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [""]
    trace = await run(policy, retriever, store, prompts="words")
    assert trace.turns[0].action == "malformed"


@pytest.mark.parametrize(
    "call",
    [
        tool_call("retrieve_items"),
        tool_call("retrieve_items", preference=""),
        tool_call("retrieve_items", preference=None),
        tool_call("retrieve_items", preference=[]),
        tool_call("retrieve_items", preference=" ; "),
        tool_call("retrieve_items", preference="", where={}),
        tool_call("retrieve_items", input={"preference": ""}),
        {
            "tool_calls": [
                raw_tool_call("retrieve_items", "{}"),
                raw_tool_call("retrieve_items", '{"preference": "x"}', 1),
            ]
        },
    ],
)
async def test_a_call_without_a_preference_retrieves_the_recommenders_own_list(
    call: Any, server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    script = [call, tool_call("retrieve_items", preference="comedy"), HANDED_IN]
    server.script = [*script]
    trace = await run(chat, retriever, store)
    assert (trace.status, [retrieval.preference for retrieval in trace.retrievals]) == ("finished", ["", "comedy"])
    assert found(trace)[0] == own_list(retriever)
    answers = [message["content"] for message in server.requests[1]["messages"] if message["role"] == "tool"]
    assert answers[0].startswith("1. ")  # of two calls the first is carried out
    server.script = [*script]
    assert (await replay_run(store, trace.run.run_id, policy=chat, retriever=retriever)).is_same
    server.script = [HANDED_IN]
    fork = await fork_run(store, trace.run.run_id, turn=0, preference="horror", policy=chat, retriever=retriever)
    assert [retrieval.preference for retrieval in fork.retrievals] == ["horror"]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"preference": 7}',
        '{"preference": 0}',
        '{"preference": true}',
        '{"preference": false}',
        "{",
        '{"query": {}, "of": 1}',
        '{"preference": "", "where": "year >= 1990"}',
        '{"preference": "", "where": ["not horror"]}',
        '{"preference": null, "where": {"no": {}}}',
        '{"preference": "", "query": "comedy"}',
        '{"input": {"preference": "", "query": "comedy"}}',
    ],
)
async def test_a_call_that_makes_no_sense_is_malformed_all_the_same(
    arguments: str, server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [{"tool_calls": [raw_tool_call("retrieve_items", arguments)]}]
    trace = await run(chat, retriever, store)
    assert (trace.turns[0].action, found(trace)) == ("malformed", [])
    assert "retrieve_items was called with" in (detail := trace.turns[0].detail or "") or "unreadable" in detail


async def test_how_deep_to_look_is_the_models_choice_within_bounds(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    for limit, k in ((7, 7), (10**30, 9)):  # no checkpoint can hold the larger number
        script = [tool_call("retrieve_items", limit=limit), HANDED_IN]
        server.script = [*script]
        trace = await run(chat, retriever, store, max_retrieve_k=9)
        assert (found(trace), trace.retrievals[0].k) == ([own_list(retriever, k)], k)
        server.script = [*script]
        assert (await replay_run(store, trace.run.run_id, policy=chat, retriever=retriever)).is_same
    described = server.requests[0]["tools"][0]["function"]["parameters"]["properties"]["limit"]
    assert (described["minimum"], described["maximum"]) == (1, 9)
    assert "1 to 9" in described["description"]


async def test_a_limit_goes_with_a_preference_and_is_offered_by_the_settings_alone(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    script = [tool_call("retrieve_items", preference="comedy", limit=6), HANDED_IN]
    for settings, k in (({"max_retrieve_k": 9}, 6), ({}, 4)):
        server.script = [*script]
        trace = await run(chat, retriever, store, **settings)
        assert (trace.retrievals[0].preference, len(found(trace)[0])) == ("comedy", k)


def test_a_guided_model_may_leave_the_preference_empty() -> None:
    for may_refuse in (False, True):
        offered = Allowance(phrases=["comedy", "drama"], may_refuse=may_refuse, max_tokens=9, timeout_s=9)
        empty = replace(offered, may_be_empty=True)
        tagged = "<think>The person likes comedy.</think>\n<|begin_of_preference|>{}<|end_of_preference|>"
        called = '{{"thought": "The person likes comedy.", "preference": "{}"}}'
        for regex, form in ((tagged_regex, tagged), (tools_regex, called)):
            for text, allowances in (("", [empty]), ("comedy; drama", [empty, offered])):
                matching = [each for each in (empty, offered) if re.fullmatch(regex(each), form.format(text))]
                assert matching == allowances


async def test_a_guided_model_has_the_own_list_on_offer_once(
    server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    thought = f"The person likes {retriever.catalogue.phrases_of(retriever.catalogue.ids[0])[0]}."
    tagged = f"<think>{thought}</think>\n<|begin_of_preference|>{END}"
    called = f'{{"thought": "{thought}", "preference": ""}}'
    for model, empty in ((policy, tagged), (chat, called)):
        server.requests.clear()
        server.script = [empty]
        trace = await run(model, retriever, store, guided=True, min_retrievals=2, max_retrievals=2)
        assert trace.retrievals[0].preference == ""
        assert trace.retrievals[1].preference
        regexes = [body["structured_outputs"]["regex"] for body in server.requests if "structured_outputs" in body]
        assert [bool(re.fullmatch(regex, empty)) for regex in regexes[:2]] == [True, False]


async def test_a_list_that_the_model_asked_for_itself_counts_once(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    script = [tool_call("retrieve_items"), tool_call("retrieve_items", preference="comedy"), HANDED_IN]
    server.script = [*script]
    trace = await run(chat, retriever, store, k=6, own_k=30)
    first, second = found(trace)[0][:2]
    fused = fuse_rankings([own_list(retriever, 30), found(trace)[1]])
    others = [item_id for item_id in fused if item_id not in (first, second)]
    assert [each.item_id for each in trace.recommended] == [second, first, *others][:6]


async def test_a_short_look_at_the_own_list_leaves_the_rest_of_it_to_fill_positions(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    for arguments in ({"limit": 1}, {"preference": "comedy", "limit": 1}):
        server.script = [tool_call("retrieve_items", **arguments), tool_call("recommend_items", numbers=[1])]
        trace = await run(chat, retriever, store, k=6, own_k=30, max_retrieve_k=9)
        assert (trace.status, len(trace.recommended)) == ("finished", 6)
    server.script = [tool_call("retrieve_items", limit=1), tool_call("recommend_items", numbers=[1])]
    trace = await run(chat, retriever, store, k=6, own_k=30, max_retrieve_k=9)
    assert [each.item_id for each in trace.recommended] == own_list(retriever, 6)


async def test_a_trace_shows_it_and_an_export_of_preferences_has_none_of_it(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore, tmp_path: Any
) -> None:
    server.script = [tool_call("retrieve_items"), HANDED_IN]
    trace = await run(chat, retriever, store)
    console = Console(width=100, record=True, file=StringIO())
    console.print(render_run(trace, retriever.catalogue))
    assert "preference: none, for the recommender's own list" in console.export_text()
    with pytest.raises(DataError, match="No finished run that matches has written a preference"):
        export_preferences(store, tmp_path / "preferences.parquet")
