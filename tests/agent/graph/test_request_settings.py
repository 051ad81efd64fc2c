"""Settings of one request: by its input, by LangGraph's context or by `configurable`; and the trace."""

from collections.abc import Sequence
from typing import Any, TypedDict
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    SqlRecorder,
    TraceStore,
    build_graph,
    build_state_graph,
    replay_run,
)
from deeprec.trm_tool import Catalogue, ConfigError, Retriever
from tests.model_scripts import LIST, SEARCH, tool_call
from tests.small_recommender import CoOccurrence
from tests.tiny_server import MODEL, TinyServer

ADAPTER = "rec-v1"
FREE = AgentConfig(k=3, retrieve_k=6, max_malformed=1)
SCRIPT = [SEARCH.format("comedy"), LIST.format("2\n1")]


def ids(output: Any) -> list[str]:
    return [listed["item_id"] for listed in output["recommendations"]]


@pytest.fixture
def graph(policy: CompletionPolicy, retriever: Retriever, store: TraceStore, server: TinyServer) -> Any:
    server.script = list(SCRIPT)
    server.adapters[ADAPTER] = server.model
    return build_graph(policy, retriever, config=FREE, recorder=SqlRecorder(store))


@pytest.mark.parametrize(
    ("call", "k"),
    [
        ({"input": {"history": [], "settings": {"k": 5}}}, 5),
        ({"input": {"history": [], "k": 5}}, 5),
        ({"input": {"history": []}, "context": {"k": 5}}, 5),
        ({"input": {"history": []}, "context": {"deeprec": {"k": 5}, "tenant": "north"}}, 5),
        ({"input": {"history": []}, "config": {"configurable": {"k": 5, "tenant": "north"}}}, 5),
        ({"input": {"history": []}, "config": {"configurable": {"k": 2}}, "context": {"k": 5}}, 5),
        ({"input": {"history": [], "settings": {"k": 4}}, "context": {"k": 5}}, 4),
        ({"input": {"history": []}}, 3),
    ],
)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_setting_is_taken_from_the_input_then_the_context_then_configurable(
    graph: Any, store: TraceStore, call: dict[str, Any], k: int, is_async: bool
) -> None:
    output = await graph.ainvoke(**call) if is_async else graph.invoke(**call)
    run = store.run(UUID(output["run_id"])).run
    assert (len(ids(output)), run.config["k"], run.k) == (k, k, k)
    assert run.config.get("settings") == (None if k == 3 else {"k": k})


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"input": {"history": [], "colour": "red"}}, "A request has no 'colour'"),
        ({"input": {"history": [], "temprature": 0.2}}, "has no 'temprature'. Did you mean 'temperature'"),
        ({"input": {"history": [], "settings": {"truts": 0.2}}}, "no setting 'truts'. Did you mean 'trust'"),
        (
            {"input": {"history": [], "settings": {"guided": True}}},
            "The setting 'guided' is fixed when the graph is built",
        ),
        ({"input": {"history": [], "settings": {"prompts": "instruct"}}}, "'prompts' is fixed when the graph"),
        ({"input": {"history": [], "settings": {"k": 0}}}, "AgentConfig.k is 0"),
        ({"input": {"history": [], "settings": {"k": [1]}}}, r"AgentConfig.k is \[1\]"),
        ({"input": {"history": [], "settings": 5}}, "`settings` must map names"),
        ({"input": {"history": [], "settings": {"model": 5}}}, "Pass the name of a model"),
        ({"input": {"history": [], "settings": {"model": "gpt-9"}}}, "has no model 'gpt-9'"),
        ({"input": {"history": [], "exclude": "900"}}, "`exclude` must be a list of item ids.*the str '900'"),
        ({"input": {"history": []}, "context": {"colour": "red"}}, "no setting 'colour'"),
        ({"input": {"history": []}, "context": {"deeprec": {"kk": 1}}}, "no setting 'kk'. Did you mean 'k'"),
        ({"input": {"history": []}, "context": {"deeprec": 5}}, "Map names to values"),
        ({"input": {"history": []}, "context": {"item_filter": 5}}, "item_filter is the int"),
        (
            {"input": {"history": []}, "config": {"configurable": {"max_turn": 1}}},
            "configurable has 'max_turn'.*Did you mean 'max_turns'",
        ),
    ],
)
async def test_what_cannot_be_set_is_refused_before_anything_runs(
    graph: Any, server: TinyServer, store: TraceStore, call: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        await graph.ainvoke(**call)
    assert [request for request in server.requests if "completions" in request["path"]] == []


async def test_a_graph_that_is_compiled_or_nested_by_others_refuses_misspelt_keys_too(
    policy: CompletionPolicy, retriever: Retriever, server: TinyServer
) -> None:
    class Outer(TypedDict, total=False):
        histroy: list[str]
        colour: str

    compiled = build_state_graph(policy, retriever, config=FREE).compile()
    with pytest.raises(ConfigError, match="Did you mean 'history'"):
        await compiled.ainvoke({"histroy": []})
    outer = StateGraph(Outer)
    outer.add_node("agent", compiled)
    outer.add_edge(START, "agent")
    with pytest.raises(ConfigError, match="Did you mean 'history'"):
        await outer.compile().ainvoke({"histroy": [], "colour": "red"})


async def test_within_another_graph_only_the_agents_own_key_of_a_context_counts(graph: Any, server: TinyServer) -> None:
    class Outer(TypedDict, total=False):
        history: list[str]
        recommendations: list[Any]
        model: str

    outer = StateGraph(Outer, dict)
    outer.add_node("agent", graph)
    outer.add_edge(START, "agent")
    context: Any = {"model": "another program's", "k": 1, "deeprec": {"k": 4}}
    output = await outer.compile().ainvoke({"history": [], "model": "another program's"}, context=context)
    assert len(ids(output)) == 4
    server.script = list(SCRIPT)
    config: Any = {"configurable": {"temperature": "warm", "deeprec": {"k": 2}}}
    assert len(ids(await outer.compile().ainvoke({"history": []}, config))) == 2


async def test_excluded_and_filtered_items_come_back_in_no_list(
    policy: CompletionPolicy, retriever: Retriever, server: TinyServer, store: TraceStore
) -> None:
    server.script = SCRIPT * 3
    graph = build_graph(policy, retriever, config=FREE, recorder=SqlRecorder(store))
    cart = ids(await graph.ainvoke({"history": []}))
    output = await graph.ainvoke({"history": [], "exclude": (*cart, "not-in-the-catalogue")})
    assert len(ids(output)) == 3
    assert not set(ids(output)) & set(cart)
    asked: list[int] = []

    async def in_stock(item_ids: Sequence[str]) -> list[str]:
        asked.append(len(item_ids))
        return [item_id for item_id in item_ids if int(item_id) % 2]

    filtered = build_graph(policy, retriever, config=FREE, recorder=SqlRecorder(store), item_filter=in_stock)
    context: Any = {"item_filter": lambda item_ids: set(item_ids) - {ids(output)[0]}, "exclude": cart}
    listed = ids(await filtered.ainvoke({"history": [], "exclude": [cart[0]]}, context=context))
    assert len(listed) == 3
    assert all(int(item_id) % 2 for item_id in listed)
    assert not set(listed) & {*cart, ids(output)[0]}
    assert max(asked) > FREE.retrieve_k  # more were retrieved in place of those that the filters dropped


async def test_where_nothing_is_left_the_run_says_so(graph: Any, retriever: Retriever) -> None:
    output = await graph.ainvoke({"history": []}, context={"item_filter": lambda item_ids: []})
    assert (output["status"], ids(output)) == ("empty", [])
    assert "item_filter" in output["detail"]
    output = await graph.ainvoke({"history": [], "exclude": list(retriever.catalogue.ids)})
    assert (output["status"], ids(output)) == ("empty", [])


async def test_an_item_that_is_sold_out_meanwhile_is_not_shown(graph: Any, server: TinyServer) -> None:
    sold: set[str] = set()
    seen: list[str] = []

    def in_stock(item_ids: Sequence[str]) -> list[str]:
        left = [item_id for item_id in item_ids if item_id not in sold]
        seen.extend(left)
        return left

    async for update in graph.astream({"history": []}, context={"item_filter": in_stock}, stream_mode="updates"):
        if "rank" in update:
            sold.add(update["rank"]["written"][0]["item_id"])
        output = update.get("finish")
    assert output is not None
    assert len(ids(output)) == 3
    assert sold & set(seen)
    assert not sold & set(ids(output))


async def test_temperature_and_model_of_a_request_reach_the_server_and_the_trace(
    graph: Any, server: TinyServer, store: TraceStore
) -> None:
    output = await graph.ainvoke({"history": [], "settings": {"temperature": 0.0, "model": ADAPTER}})
    bodies = [request for request in server.requests if request["path"].endswith("/completions")]
    assert {(body["model"], body["temperature"]) for body in bodies} == {(ADAPTER, 0.0)}
    run = store.run(UUID(output["run_id"])).run
    assert (run.policy_model, run.adapter, run.sampling) == (MODEL, ADAPTER, {"temperature": 0.0, "top_p": 1.0})
    server.script = list(SCRIPT)
    output = await graph.ainvoke({"history": []})
    assert store.run(UUID(output["run_id"])).run.adapter is None


async def test_a_chat_model_takes_temperature_and_model_of_a_request(
    chat: ChatOpenAI, retriever: Retriever, server: TinyServer, store: TraceStore
) -> None:
    server.script = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[1, 2])]
    graph = build_graph(chat, retriever, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": [], "settings": {"temperature": 0.25, "model": ADAPTER}})
    bodies = [request for request in server.requests if request["path"].endswith("/chat/completions")]
    assert {(body["model"], body["temperature"]) for body in bodies} == {(ADAPTER, 0.25)}
    run = store.run(UUID(output["run_id"])).run
    assert (run.policy_model, run.sampling["temperature"]) == (ADAPTER, 0.25)


async def test_a_run_that_is_resumed_keeps_its_settings_and_the_next_one_has_none(
    policy: CompletionPolicy, retriever: Retriever, server: TinyServer
) -> None:
    server.script = SCRIPT * 2
    graph = build_graph(policy, retriever, config=FREE, checkpointer=InMemorySaver(), interrupt_before=["rank"])
    thread: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"history": [], "settings": {"k": 5}, "exclude": ["900"]}, thread)
    assert len(ids(await graph.ainvoke(None, thread))) == 5
    await graph.ainvoke({"message": "more"}, thread)
    state = (await graph.aget_state(thread)).values["request"]
    assert (state["settings"], state["exclude"]) == ({}, [])


async def test_a_run_is_replayed_with_what_its_request_set(
    graph: Any, policy: CompletionPolicy, retriever: Retriever, server: TinyServer, store: TraceStore
) -> None:
    request = {"history": [], "exclude": ["900"], "settings": {"k": 5, "temperature": 0.5, "diversity": 0.3}}
    output = await graph.ainvoke(request)
    server.script = list(SCRIPT)
    replay = await replay_run(store, output["run_id"], policy=policy, retriever=retriever)
    assert replay.is_same
    assert replay.child.run.config == store.run(output["run_id"]).run.config
    assert replay.child.run.config["exclude"] == ["900"]


@pytest.mark.parametrize("kind", ["vectors", "attributes"])
async def test_a_diverse_list_has_less_similar_items_and_the_trace_keeps_what_was_written(
    policy: CompletionPolicy,
    retriever: Retriever,
    catalogue: Catalogue,
    server: TinyServer,
    store: TraceStore,
    kind: str,
) -> None:
    recommender = retriever if kind == "vectors" else CoOccurrence(catalogue, [catalogue.ids[::6], catalogue.ids])
    config = AgentConfig(k=4, retrieve_k=20)
    graph = build_graph(policy, recommender, config=config, recorder=SqlRecorder(store))
    lists = {}
    for diversity in (0.0, 0.4):
        server.script = [SEARCH.format("comedy"), LIST.format("1\n2\n3\n4")]
        output = await graph.ainvoke({"history": [catalogue.ids[0]], "settings": {"diversity": diversity}})
        trace = store.run(UUID(output["run_id"]))
        lists[diversity] = ids(output)
        assert [listed.item_id for listed in trace.written] == lists[0.0]
        assert [listed.item_id for listed in trace.recommended] == ids(output)
    genres = {
        diversity: [set(catalogue.item(item_id).attributes["class"]) for item_id in listed]  # type: ignore[arg-type]
        for diversity, listed in lists.items()
    }
    assert lists[0.4][0] == lists[0.0][0]
    assert lists[0.4] != lists[0.0]
    if kind == "attributes":
        assert _shared(genres[0.4]) < _shared(genres[0.0])
    else:
        assert _cosines(retriever, lists[0.4]) < _cosines(retriever, lists[0.0])


def _shared(genres: list[set[str]]) -> int:
    return sum(len(one & other) for at, one in enumerate(genres) for other in genres[:at])


def _cosines(retriever: Retriever, item_ids: list[str]) -> float:
    vectors = retriever.item_vectors(item_ids)
    return float((vectors @ vectors.T).sum())
