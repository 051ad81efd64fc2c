"""Conversations in and out: the last human message is the request, the answer is one more message."""

from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph, replay_run
from deeprec.trm_tool import ConfigError, Retriever
from tests.model_scripts import LIST, SEARCH
from tests.tiny_server import TinyServer

CONFIG = AgentConfig(k=3, retrieve_k=4)
SCRIPT = [SEARCH.format("comedy"), LIST.format("2\n1")]


@pytest.fixture
def graph(policy: CompletionPolicy, retriever: Retriever, store: TraceStore, server: TinyServer) -> Any:
    server.script = SCRIPT * 3
    return build_graph(
        policy, retriever, config=CONFIG, recorder=SqlRecorder(store), checkpointer=InMemorySaver(), name="recommender"
    )


def thread(name: str = "1") -> Any:
    return {"configurable": {"thread_id": name}}


def prompts(server: TinyServer) -> list[str]:
    """What the opening prompts say of the person."""
    return [request["messages"][-1]["content"] for request in server.requests if "messages" in request]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize(
    "asked",
    [
        HumanMessage("something lighter"),
        {"role": "user", "content": "something lighter"},
        ("user", "something lighter"),
        HumanMessage([{"type": "text", "text": "something lighter"}]),
    ],
    ids=["message", "dict", "pair", "blocks"],
)
async def test_the_last_human_message_is_the_request_and_the_answer_a_message(
    graph: Any, server: TinyServer, store: TraceStore, asked: Any, is_async: bool
) -> None:
    request = {"messages": [asked]}
    output = await graph.ainvoke(request, thread()) if is_async else graph.invoke(request, thread())
    assert store.run(UUID(output["run_id"])).run.message == "something lighter"
    human, answer = output["messages"]
    assert (human.type, human.text, answer.type) == ("human", "something lighter", "ai")
    first = output["recommendations"][0]
    assert answer.text.splitlines()[0] == f"1. {first['title']} (id: {first['item_id']})"
    data = answer.additional_kwargs["deeprec"]
    assert (data["run_id"], data["status"]) == (output["run_id"], "finished")
    assert data["recommendations"] == output["recommendations"]
    assert "messages" not in data
    assert "The person says: something lighter" in prompts(server)[0]
    assert "Earlier" not in prompts(server)[0]


async def test_a_thread_goes_on_and_the_model_sees_what_was_said(
    graph: Any, policy: CompletionPolicy, retriever: Retriever, server: TinyServer, store: TraceStore
) -> None:
    await graph.ainvoke({"messages": [HumanMessage("a comedy")], "history": ["900"]}, thread())
    output = await graph.ainvoke({"messages": [HumanMessage("older <|x|> ones")]}, thread())
    assert [message.type for message in output["messages"]] == ["human", "ai", "human", "ai"]
    assert len({message.id for message in output["messages"]}) == 4
    prompt = prompts(server)[-1]
    assert "Earlier in the conversation:\nPerson: a comedy\nAssistant: 1. " in prompt
    assert "Nothing is known" not in prompt
    assert prompt.index("Assistant") < prompt.index("The person says: older")
    server.script = list(SCRIPT)
    assert (await replay_run(store, output["run_id"], policy=policy, retriever=retriever)).is_same
    assert prompts(server)[-1] == prompt


async def test_without_messages_nothing_changes(graph: Any) -> None:
    output = await graph.ainvoke({"history": [], "message": "a comedy"}, thread())
    assert "messages" not in output
    assert "messages" not in (await graph.aget_state(thread())).values


async def test_an_explicit_message_is_the_request(graph: Any, store: TraceStore) -> None:
    output = await graph.ainvoke({"messages": [HumanMessage("hello")], "message": "a comedy"}, thread())
    assert store.run(UUID(output["run_id"])).run.message == "a comedy"
    assert output["messages"][-1].type == "ai"


async def test_a_handoff_of_a_supervisor_does_not_hide_the_request(graph: Any, store: TraceStore) -> None:
    call = {"name": "transfer_to_recommender", "args": {}, "id": "1"}
    handed = [
        SystemMessage("You run a shop."),
        HumanMessage("a comedy"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("Transferred.", tool_call_id="1"),
    ]
    output = await graph.ainvoke({"messages": handed}, thread())
    run = store.run(UUID(output["run_id"])).run
    assert (run.message, run.config.get("earlier")) == ("a comedy", None)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        (5, "`messages` cannot be read"),
        ([{"text": "a comedy"}], "`messages` cannot be read.*Pass LangChain messages"),
        ([HumanMessage([{"type": "image", "url": "https://example.org/a.png"}])], "holds no text"),
    ],
)
async def test_messages_that_cannot_be_read_are_refused(graph: Any, messages: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        await graph.ainvoke({"messages": messages}, thread())


async def test_a_graph_of_messages_around_the_agent_gets_the_answer(graph: Any) -> None:
    class Chat(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]

    outer = StateGraph(Chat)
    outer.add_node("recommender", graph)
    outer.add_edge(START, "recommender")
    output = await outer.compile().ainvoke({"messages": [HumanMessage("a comedy")]}, thread("outer"))
    assert [message.type for message in output["messages"]] == ["human", "ai"]
    streamed = [part async for part, _ in graph.astream({"messages": "hi"}, thread("s"), stream_mode="messages")]
    assert streamed[-1].additional_kwargs["deeprec"]["status"] == "finished"
