"""Requests at the door: what is read although its type differs, and what is refused before anything runs."""

from collections.abc import Callable
from typing import Annotated, Any, TypedDict
from uuid import UUID, uuid4

import numpy as np
import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from deeprec.agent import (
    AgentConfig,
    AgentInput,
    CompletionPolicy,
    Lineage,
    RunFilter,
    SqlRecorder,
    TraceStore,
    build_graph,
)
from deeprec.agent.graph.request import read_lineage
from deeprec.trm_tool import ConfigError, Retriever
from tests.model_scripts import LIST, SEARCH
from tests.tiny_server import TinyServer

CONFIG = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
SCRIPT = [SEARCH.format("comedy"), LIST.format("2\n1")]
AgentGraph = Any


@pytest.fixture
def graph(policy: CompletionPolicy, retriever: Retriever, store: TraceStore) -> AgentGraph:
    return build_graph(policy, retriever, config=CONFIG, recorder=SqlRecorder(store))


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()], ids=["alone", "checkpointed"])
async def test_integers_and_uuids_are_read_where_ids_are_meant(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    checkpointer: InMemorySaver | None,
) -> None:
    graph = build_graph(policy, retriever, config=CONFIG, recorder=SqlRecorder(store), checkpointer=checkpointer)
    thread: Any = {"configurable": {"thread_id": "1"}}
    server.script = list(SCRIPT)
    ids = retriever.catalogue.ids[:3]
    run_id, group_id = uuid4(), uuid4()
    number = np.int64 if checkpointer is None else int  # no checkpointer keeps integers of NumPy
    lineage = {
        "run_id": run_id,
        "tenant": "books",
        "user_id": 17,
        "group_id": group_id,
        "target_id": number(900),
        "seed": number(5),
    }
    output = await graph.ainvoke({"history": [int(ids[0]), number(ids[1]), ids[2]], "lineage": lineage}, thread)
    assert output["run_id"] == str(run_id)
    if checkpointer is not None:
        states = [state.values async for state in graph.aget_state_history(thread)]
        assert states[0]["history"] == list(ids)
        assert len(states) > 5
    run = store.run(run_id).run
    assert run.history == tuple(ids)
    assert (run.tenant, run.user_id, run.group_id) == ("books", "17", str(group_id))
    assert (run.target_id, run.seed) == ("900", 5)


async def test_constraints_of_numpy_floats_and_sets_are_kept_as_plain_data(
    server: TinyServer, graph: AgentGraph, store: TraceStore
) -> None:
    server.script = list(SCRIPT)
    where = {"price": {"max": np.float64(25.5)}, "studio": {"in": {"Pixar", "Fox"}}}
    output = await graph.ainvoke({"history": [], "where": where})
    kept = store.run(UUID(output["run_id"])).run.config["where"]
    assert kept == {"price": {"max": 25.5}, "studio": {"in": ["Fox", "Pixar"]}}


@pytest.mark.parametrize(
    ("request_parts", "why"),
    [
        ({"history": None}, "has no history.*\\[\\] for a person"),
        ({"message": "a comedy"}, "has no history"),
        ({"history": "900"}, "`history` must be a list of item ids.*the str '900'"),
        ({"history": {"900": 1}}, "`history` must be a list of item ids.*the dict"),
        ({"history": {"900"}}, "`history` must be a list of item ids.*the set"),
        ({"history": np.array(["900"])}, "`history` must be a list of item ids.*the ndarray"),
        ({"history": [9.5]}, r"history\[0\] is the float 9\.5"),
        ({"history": ["900", None]}, r"history\[1\] is the NoneType"),
        ({"history": [True]}, r"history\[0\] is the bool"),
        ({"history": [], "message": 7}, "`message` must be a text.*the int 7"),
        (
            {"history": [], "message": [{"type": "text", "text": "a comedy"}]},
            "must be a text.*content blocks",
        ),
        ({"history": [], "message": HumanMessage("a comedy")}, "`message` must be a text.*HumanMessage"),
        ({"history": [], "where": [("studio", "Fox")]}, "where is .*must map"),
        ({"history": [], "where": {"price": {"max": np.int64(20)}}}, "where.price.max holds a numpy.int64.*tolist"),
        ({"history": [], "where": {"price": {"in": [np.float32(20)]}}}, "where.price.in holds a numpy.float32"),
        ({"history": [], "where": {"price": {"max": True}}}, "where.price.max is True"),
        ({"history": [], "lineage": "ann"}, "`lineage` must map names to values"),
        ({"history": [], "lineage": {"user": "ann"}}, "lineage has no 'user'. Did you mean 'user_id'"),
        ({"history": [], "lineage": {"user_id": 1.5}}, r"lineage\['user_id'\] is the float"),
        ({"history": [], "lineage": {"run_id": "seven"}}, "is 'seven', which is not a UUID"),
        ({"history": [], "lineage": {"run_id": 7}}, "is '7', which is not a UUID"),
        ({"history": [], "lineage": {"split": 1}}, r"lineage\['split'\] is the int 1"),
        ({"history": [], "lineage": {"seed": "5"}}, r"lineage\['seed'\] is the str '5'"),
        ({"history": [], "lineage": {"seed": 5.0}}, r"lineage\['seed'\] is the float"),
        ({"history": [], "lineage": {"seed": True}}, r"lineage\['seed'\] is the bool"),
        ({"history": [], "lineage": {"seed": 2**70}}, "does not fit into 64 bits"),
        ({"history": [], "lineage": {"turn_seeds": "random"}}, r"lineage\['turn_seeds'\] is 'random'"),
        ({"history": [], "lineage": {"fork": "x"}}, r"lineage\['fork'\] is the str"),
        ({"histroy": ["900"]}, "has no 'histroy'. Did you mean 'history'"),
        ({"history": [], "mesage": "a comedy"}, "has no 'mesage'. Did you mean 'message'"),
        ({"history": [], "Where": {}}, "has no 'Where'. Did you mean 'where'"),
    ],
)
async def test_a_wrong_request_is_refused_before_anything_runs(
    server: TinyServer, graph: AgentGraph, store: TraceStore, request_parts: dict[str, Any], why: str
) -> None:
    for call in (graph.ainvoke, _in_blocking(graph)):
        with pytest.raises(ConfigError, match=why):
            await call(request_parts)
    assert server.requests == []
    assert list(store.traces(RunFilter())) == []


def _in_blocking(graph: AgentGraph) -> Callable[[Any], Any]:
    async def call(request_parts: Any) -> Any:
        return graph.invoke(request_parts)

    return call


async def test_a_thread_that_goes_on_keeps_its_history(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever
) -> None:
    graph = build_graph(policy, retriever, config=CONFIG, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    server.script = SCRIPT * 2
    await graph.ainvoke({"history": ["900"]}, thread)
    assert (await graph.ainvoke({"message": "a comedy"}, thread))["status"] == "finished"
    with pytest.raises(ConfigError, match="Did you mean 'message'"):
        await graph.ainvoke({"mesage": "a comedy"}, thread)


async def test_a_graph_around_the_agent_may_have_keys_of_its_own(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever
) -> None:
    class Outer(TypedDict, total=False):
        messages: Annotated[list[AnyMessage], add_messages]
        history: list[str]
        user: str
        status: str

    server.script = list(SCRIPT)
    outer = StateGraph(Outer)
    outer.add_node("agent", build_graph(policy, retriever, config=CONFIG))
    outer.add_edge(START, "agent")
    output = await outer.compile().ainvoke({"messages": [HumanMessage("Hello")], "history": ["900"], "user": "ann"})
    assert output["status"] == "finished"


def test_a_lineage_has_every_key_that_the_type_names() -> None:
    known = {"seed": 1, "fork": {"turn": 0}, "turn_seeds": "hashed", "run_id": str(uuid4()), "parent_id": str(uuid4())}
    assert set(read_lineage({name: known.get(name, "x") for name in Lineage.__annotations__})) == set(
        Lineage.__annotations__
    )


def test_a_request_with_every_part_is_read(graph: AgentGraph, server: TinyServer) -> None:
    server.script = list(SCRIPT)
    request = AgentInput(history=["900"], message="a comedy", where={}, lineage=None)
    assert graph.invoke(request)["status"] == "finished"
