"""The agent as a tool of another agent: what its model reads, what the program gets, and what the model cannot set."""

import json
from dataclasses import replace
from typing import Annotated, Any, TypedDict
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode

from deeprec.agent import (
    AgentConfig,
    AgentOutput,
    CompletionPolicy,
    RunFilter,
    SqlRecorder,
    TraceStore,
    build_graph,
    make_recommend_tool,
    redact_person,
)
from deeprec.trm_tool import ConfigError, RecommenderUnavailableError, Retrieved, Retriever
from tests.model_scripts import LIST, SEARCH
from tests.tiny_server import TinyServer

CONFIG = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
SCRIPT = [SEARCH.format("comedy"), LIST.format("2\n1")]


class Outer(TypedDict, total=False):
    """The state of an application that has the agent as a tool."""

    messages: Annotated[list[AnyMessage], add_messages]
    purchases: list[str]


class Session(TypedDict):
    """What the application knows of a request, as LangGraph's runtime context."""

    user_id: str


def requests(tool: BaseTool, **args: Any) -> AIMessage:
    """A message of an outer model that calls the tool."""
    return AIMessage("", tool_calls=[{"name": tool.name, "args": args, "id": "1", "type": "tool_call"}])


def outer_graph(tool: BaseTool, checkpointer: InMemorySaver | None = None) -> Any:
    graph = StateGraph(Outer, context_schema=Session)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    return graph.compile(checkpointer=checkpointer)


def call(tool: BaseTool, **args: Any) -> dict[str, Any]:
    return {"type": "tool_call", "name": tool.name, "id": "1", "args": args}


@pytest.fixture
def history(retriever: Retriever) -> list[str]:
    return list(retriever.catalogue.ids[:4])


def test_the_outer_model_sees_what_each_argument_means(policy: CompletionPolicy, retriever: Retriever) -> None:
    tool = make_recommend_tool(build_graph(policy, retriever, config=CONFIG))
    parameters = convert_to_openai_tool(tool)["function"]["parameters"]
    assert list(parameters["properties"]) == ["history", "message"]
    assert all(len(argument["description"]) > 20 for argument in parameters["properties"].values())
    assert "ids" in parameters["properties"]["history"]["description"]


async def test_the_model_reads_titles_and_ids_and_the_program_gets_the_whole_result(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    server.script = list(SCRIPT)
    tool = make_recommend_tool(build_graph(policy, retriever, config=CONFIG))
    answer = await tool.ainvoke(call(tool, history=history, message="a comedy"))
    result: AgentOutput = answer.artifact
    assert answer.status == "success"
    assert result["status"] == "finished"
    assert len(result["recommendations"]) == 3
    for line, place in zip(answer.content.splitlines(), result["recommendations"], strict=True):
        assert line.startswith(f"{place['rank']}. ")
        assert line.endswith(f"(id: {place['item_id']})")
    assert json.loads(json.dumps(result)) == result
    assert {"run_id", "status", "detail", "unenforced", "recommendations"} <= set(result)


async def test_the_model_reads_why_a_list_is_not_what_was_asked_for(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    server.script = ["no tags at all <b>", "none again"]
    tool = make_recommend_tool(
        build_graph(policy, retriever, config=CONFIG), history=history, where={"colour": {"in": ["red"]}}
    )
    answer = await tool.ainvoke(call(tool, message="a red one"))
    assert answer.artifact["status"] == "malformed"
    assert answer.artifact["unenforced"] == ["colour"]
    assert "malformed" in answer.content
    assert "Not enforced: colour" in answer.content
    assert not set(answer.content) & set("<>[]|")


@pytest.mark.parametrize("unknown", ["nope", "Toy Story"])
async def test_an_unknown_id_or_title_is_an_answer_and_the_outer_run_goes_on(
    policy: CompletionPolicy, retriever: Retriever, unknown: str
) -> None:
    tool = make_recommend_tool(build_graph(policy, retriever, config=CONFIG))
    for output in (
        outer_graph(tool).invoke({"messages": [requests(tool, history=[unknown])]}),
        await outer_graph(tool).ainvoke({"messages": [requests(tool, history=[unknown])]}),
    ):
        answer = output["messages"][-1]
        assert isinstance(answer, ToolMessage)
        assert answer.status == "error"
        assert unknown in str(answer.content)
        assert "empty list" in str(answer.content)  # what the model can do about it


async def test_an_unknown_id_that_the_program_gave_is_an_answer_as_well(
    policy: CompletionPolicy, retriever: Retriever
) -> None:
    strict = replace(CONFIG, strict_history=True)
    tool = make_recommend_tool(build_graph(policy, retriever, config=strict), history=["nope"])
    output = await outer_graph(tool).ainvoke({"messages": [requests(tool)]})
    assert output["messages"][-1].status == "error"
    assert "does not come from you" in output["messages"][-1].content


async def test_an_item_of_the_program_that_the_catalogue_lacks_is_skipped_and_reported(
    policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    tool = make_recommend_tool(build_graph(policy, retriever, config=CONFIG), history=[*history, "brand-new"])
    answer = (await outer_graph(tool).ainvoke({"messages": [requests(tool)]}))["messages"][-1]
    assert answer.status == "success"
    assert "Skipped, since the catalogue does not have them: brand-new." in answer.content
    assert answer.artifact["unknown_items"] == ["brand-new"]


async def test_constraints_that_no_item_passes_are_explained_with_the_nearest_list(
    policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    where = {"class": {"in": ["comdy"]}}
    tool = make_recommend_tool(build_graph(policy, retriever, config=CONFIG), history=history, where=where)
    content = (await outer_graph(tool).ainvoke({"messages": [requests(tool)]}))["messages"][-1].content
    assert "did you mean 'Comedy'" in content
    assert "Nearest, without class:\n1. " in content


async def test_two_calls_of_one_message_are_two_runs(
    policy: CompletionPolicy, retriever: Retriever, store: TraceStore, history: list[str]
) -> None:
    config = AgentConfig(guided=True, k=3, retrieve_k=4, max_retrievals=2)
    tool = make_recommend_tool(build_graph(policy, retriever, config=config, recorder=SqlRecorder(store)))
    calls = [{"name": tool.name, "args": {"history": history, "message": text}, "id": text} for text in ("a", "b")]
    outer = outer_graph(tool, InMemorySaver())
    for turn in (1, 2):
        output = await outer.ainvoke(
            {"messages": [AIMessage("", tool_calls=calls)]}, {"configurable": {"thread_id": "1"}}
        )
        answers = output["messages"][-2:]
        assert [answer.tool_call_id for answer in answers] == ["a", "b"]
        assert {answer.artifact["status"] for answer in answers} <= {"finished", "budget"}
        assert len(list(store.traces(RunFilter()))) == 2 * turn


async def test_an_unavailable_recommender_is_an_answer_as_well(
    policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    class Unavailable:
        catalogue, identity = retriever.catalogue, retriever.identity

        def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
            raise RecommenderUnavailableError("the <b>service</b> does not answer")

    tool = make_recommend_tool(build_graph(policy, Unavailable(), config=CONFIG))
    output = await outer_graph(tool).ainvoke({"messages": [requests(tool, history=history)]})
    assert output["messages"][-1].status == "error"
    assert "‹b›service" in output["messages"][-1].content


@pytest.mark.parametrize("malformed", [{"history": {"a": 1}}, {"history": [None]}, {}, {"history": [], "message": {}}])
async def test_a_malformed_call_is_answered_with_the_right_form(
    policy: CompletionPolicy, retriever: Retriever, malformed: dict[str, Any]
) -> None:
    tool = make_recommend_tool(build_graph(policy, retriever, config=CONFIG))
    output = await outer_graph(tool).ainvoke({"messages": [requests(tool, **malformed)]})
    assert output["messages"][-1].status == "error"
    assert '"history": ["' in output["messages"][-1].content


async def test_what_the_program_binds_the_outer_model_neither_sees_nor_sets(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    history: list[str],
) -> None:
    server.script = list(SCRIPT)
    where = {"studio": {"in": ["Fox"]}}
    graph = build_graph(policy, retriever, config=CONFIG, recorder=SqlRecorder(store))
    tool = make_recommend_tool(graph, history=history, where=where, lineage={"user_id": "ann"})
    assert list(convert_to_openai_tool(tool)["function"]["parameters"]["properties"]) == ["message"]
    dictated = requests(
        tool, message="a comedy", history=["nope"], where={}, lineage={"user_id": "bob"}, runtime={"state": {}}
    )
    output = await outer_graph(tool).ainvoke({"messages": [dictated]})
    run = store.run(UUID(output["messages"][-1].artifact["run_id"])).run
    assert (run.user_id, list(run.history), run.message) == ("ann", history, "a comedy")
    assert run.config["where"] == where


async def test_a_run_of_the_outer_graph_gives_history_person_and_constraints(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    history: list[str],
) -> None:
    graph = build_graph(policy, retriever, config=CONFIG, recorder=SqlRecorder(store))
    tool = make_recommend_tool(
        graph,
        history=lambda runtime: runtime.state["purchases"],
        where=lambda runtime: None if runtime.context["user_id"] == "ann" else {"studio": {"in": ["Fox"]}},
        lineage=lambda runtime: {"user_id": runtime.context["user_id"]},
    )
    outer = outer_graph(tool)
    runs = {}
    for user, own in (("ann", history), ("bob", history[:1])):
        server.script = list(SCRIPT)
        output = await outer.ainvoke(
            {"messages": [requests(tool, message="a comedy", runtime="forged")], "purchases": own},
            context={"user_id": user},
        )
        runs[user] = store.run(UUID(output["messages"][-1].artifact["run_id"])).run
        assert (runs[user].user_id, list(runs[user].history)) == (user, own)
    assert runs["ann"].config["where"] is None
    assert runs["bob"].config["where"] == {"studio": {"in": ["Fox"]}}
    assert redact_person(store, "ann", dry_run=False).runs == 1
    assert [trace.run.user_id for trace in store.traces(RunFilter())].count("ann") == 0


async def test_a_tool_that_reads_the_outer_run_says_so_where_there_is_none(
    policy: CompletionPolicy, retriever: Retriever
) -> None:
    tool = make_recommend_tool(
        build_graph(policy, retriever, config=CONFIG), history=lambda runtime: runtime.state["purchases"]
    )
    for runtime in ({}, {"runtime": {"state": {"purchases": []}}}):  # a model cannot stand in for it either
        with pytest.raises(ConfigError, match=r"history is a function of the ToolRuntime.*ToolNode"):
            await tool.ainvoke(call(tool, **runtime))


async def test_a_function_that_reads_no_history_is_an_error_of_the_program(
    policy: CompletionPolicy, retriever: Retriever
) -> None:
    agent = build_graph(policy, retriever, config=CONFIG)
    for nothing, why in ((None, "has no history"), ("900", "must be a list"), ({"900"}, "must be a list")):
        tool = make_recommend_tool(agent, history=lambda runtime, nothing=nothing: nothing)  # type: ignore[misc]
        with pytest.raises(ConfigError, match=why):
            await outer_graph(tool).ainvoke({"messages": [requests(tool)]})


@pytest.mark.parametrize(
    ("bound", "why"),
    [
        ({"history": "900"}, "`history` must be a list"),
        ({"where": {"studio": "Fox"}}, "where.studio is 'Fox'"),
        ({"lineage": {"user": "ann"}}, "user_id"),
        ({"lineage": {"run_id": str(uuid4())}}, "every call would be the same run"),
    ],
)
def test_what_is_bound_is_checked_when_the_tool_is_made(
    policy: CompletionPolicy, retriever: Retriever, bound: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        make_recommend_tool(build_graph(policy, retriever, config=CONFIG), **bound)


async def test_the_tool_keeps_langchains_contract_of_tools(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    tool = make_recommend_tool(build_graph(policy, retriever, config=CONFIG))
    assert isinstance(tool, StructuredTool)
    assert tool.name
    assert tool.description
    arguments = {"history": history, "message": "a comedy"}
    assert set(tool.get_input_schema().model_validate(arguments).model_dump()) == set(arguments)
    assert tool.get_input_jsonschema()["required"] == ["history"]
    server.script = SCRIPT * 2
    for answer in (tool.invoke(call(tool, **arguments)), await tool.ainvoke(call(tool, **arguments))):
        assert isinstance(answer, ToolMessage)
        assert isinstance(answer.content, str)
        assert answer.tool_call_id == "1"
    server.script = SCRIPT * 2
    for text in (tool.invoke(arguments), await tool.ainvoke(arguments)):
        assert isinstance(text, str)  # without a call's id the content alone comes back
