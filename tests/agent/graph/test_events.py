"""What a program around the agent sees of a run: LangChain's events, message streams and partial results."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from deeprec.agent import (
    AgentConfig,
    AgentInput,
    AgentState,
    CompletionPolicy,
    PolicyError,
    RetrieverUnavailableError,
    SqlRecorder,
    TraceStore,
    build_graph,
)
from deeprec.trm_tool import Retriever
from tests.model_scripts import LIST, SEARCH, tool_call
from tests.tiny_server import MODEL, TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
GUIDED = AgentConfig(guided=True, k=3, retrieve_k=4, min_retrievals=1, max_retrievals=1)


class Seen(BaseCallbackHandler):
    """A synchronous handler that keeps what it was sent, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.prompts: list[list[BaseMessage]] = []
        self.open: set[UUID] = set()

    def named(self, name: str) -> list[Any]:
        return [content for event, content in self.events if event == name]

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], **run: Any) -> None:
        assert run["metadata"]["langgraph_node"] in ("reason", "rank")
        self.prompts += messages
        self._began("model_start", run, run["metadata"]["ls_model_name"])

    def on_llm_new_token(self, token: str, **run: Any) -> None:
        self.events.append(("token", token))

    def on_llm_end(self, response: Any, **run: Any) -> None:
        self._ended("model_end", run, response.generations[0][0].message)

    def on_llm_error(self, error: BaseException, **run: Any) -> None:
        self._ended("model_error", run, error)

    def on_retriever_start(self, serialized: Any, query: str, **run: Any) -> None:
        self._began("retriever_start", run, query)

    def on_retriever_end(self, documents: Any, **run: Any) -> None:
        self._ended("retriever_end", run, documents)

    def on_retriever_error(self, error: BaseException, **run: Any) -> None:
        self._ended("retriever_error", run, error)

    def _began(self, name: str, run: dict[str, Any], content: Any) -> None:
        assert run["parent_run_id"] is not None
        self.open.add(run["run_id"])
        self.events.append((name, content))

    def _ended(self, name: str, run: dict[str, Any], content: Any) -> None:
        self.open.remove(run["run_id"])
        self.events.append((name, content))


class SeenAsync(AsyncCallbackHandler):
    """An asynchronous handler."""

    def __init__(self) -> None:
        self.ended = 0

    async def on_llm_end(self, response: Any, **run: Any) -> None:
        self.ended += 1


@pytest.fixture
def request_of(retriever: Retriever) -> AgentInput:
    return {"history": list(retriever.catalogue.ids[:4]), "message": "something lighter"}


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("is_recorded", [True, False])
async def test_callbacks_see_every_turn_of_the_tagged_protocol_and_every_retrieval(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    request_of: AgentInput,
    is_async: bool,
    is_recorded: bool,
) -> None:
    turns = [SEARCH.format("comedy"), "nonsense", LIST.format("2\n1\n3")]
    server.script = list(turns)
    recorder = SqlRecorder(store) if is_recorded else None
    graph = build_graph(policy, retriever, config=FREE, recorder=recorder)
    seen, usage = Seen(), UsageMetadataCallbackHandler()
    output = await _run(graph, request_of, {"callbacks": [seen, usage]}, is_async=is_async)
    assert output["status"] == "finished"
    assert seen.named("model_start") == [MODEL] * 3
    assert "".join(seen.named("token")) == "".join(turns)
    answers = seen.named("model_end")
    assert [answer.content for answer in answers] == turns
    prompts = [request["prompt"] for request in server.requests if request["path"] == "/v1/completions"]
    assert [answer.usage_metadata["input_tokens"] for answer in answers] == [len(prompt) for prompt in prompts]
    assert all(answer.usage_metadata["output_tokens"] > 0 for answer in answers)
    assert usage.usage_metadata[MODEL]["input_tokens"] == sum(map(len, prompts))
    assert [message.type for message in seen.prompts[-1]] == ["system", "human", "ai", "human", "ai", "human"]
    assert "something lighter" in seen.prompts[0][1].text
    assert seen.named("retriever_start") == ["", "comedy"]
    documents = seen.named("retriever_end")[1]
    assert [document.id for document in documents] == [
        item.id for item in retriever.retrieve(request_of["history"], "comedy", words=request_of["message"], k=4)
    ]
    assert retriever.catalogue.item(documents[0].id).title in documents[0].page_content
    assert not seen.open


async def test_a_guided_list_is_one_call_of_the_model_whose_lines_come_one_by_one(
    policy: CompletionPolicy, retriever: Retriever, request_of: AgentInput
) -> None:
    seen = Seen()
    await build_graph(policy, retriever, config=GUIDED).ainvoke(request_of, {"callbacks": [seen]})
    lines = [token for token in seen.named("token")[-4:] if token]
    assert len(lines) == 3
    assert seen.named("model_end")[-1].content == "".join(lines)
    assert not seen.open


async def test_an_outage_reaches_the_error_events(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, request_of: AgentInput
) -> None:
    def fail(handler: Any) -> None:
        handler.answer(500, {"error": {"message": "out of memory"}})

    server.script = [fail, fail]
    seen = Seen()
    output = await build_graph(policy, retriever, config=FREE).ainvoke(request_of, {"callbacks": [seen]})
    assert output["status"] == "fallback"
    [error] = seen.named("model_error")
    assert isinstance(error, PolicyError)
    assert "out of memory" in str(error)
    assert not seen.open


async def test_an_unavailable_recommender_reaches_the_error_events(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    request_of: AgentInput,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = retriever.retrieve

    def unavailable(history: Any, preference: Any = None, **settings: Any) -> Any:
        if preference == "something lighter; comedy":
            raise ConnectionError("the index is rebuilt")
        return real(history, preference, **settings)

    monkeypatch.setattr(retriever, "retrieve", unavailable)
    server.script = [SEARCH.format("comedy")]
    seen = Seen()
    await build_graph(policy, retriever, config=FREE).ainvoke(request_of, {"callbacks": [seen]})
    [error] = seen.named("retriever_error")
    assert isinstance(error, RetrieverUnavailableError)
    assert not seen.open


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_message_stream_brings_each_turn_with_its_usage(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, request_of: AgentInput, is_async: bool
) -> None:
    turns = [SEARCH.format("comedy"), LIST.format("2\n1\n3")]
    server.script = list(turns)
    graph = build_graph(policy, retriever, config=FREE)
    streamed = await _stream(graph, request_of, "messages", is_async=is_async)
    texts: dict[str, str] = {}
    used: dict[str, int] = {}
    for chunk, metadata in streamed:
        assert metadata["langgraph_node"] == "reason"
        texts[chunk.id] = texts.get(chunk.id, "") + chunk.content
        if chunk.usage_metadata:
            used[chunk.id] = chunk.usage_metadata["output_tokens"]
    assert list(texts.values()) == turns
    assert list(used) == list(texts)


async def test_the_events_of_a_stream_have_the_models_turns_and_the_retrievers_documents(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, request_of: AgentInput
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1\n3")]
    events = [event async for event in build_graph(policy, retriever, config=FREE).astream_events(request_of)]
    kinds = [event["event"] for event in events]
    for kind in ("on_chat_model_start", "on_chat_model_stream", "on_chat_model_end"):
        assert kinds.count(kind) >= 2
    [_, found] = [event for event in events if event["event"] == "on_retriever_end"]
    assert len(found["data"]["output"]) == 4
    assert found["name"] == "Retriever"


def _ran(parts: list[Any]) -> list[str]:
    return [part["type"] for part in parts]


@pytest.mark.parametrize("is_async", [True, False])
async def test_partial_results_are_streamed_as_the_run_goes_on(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, request_of: AgentInput, is_async: bool
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1\n3")]
    graph = build_graph(policy, retriever, config=FREE)
    parts = await _stream(graph, {**request_of, "lineage": {"run_id": str(uuid4())}}, "custom", is_async=is_async)
    assert _ran(parts) == ["thought", "preference", "found", "list", "thought", "list"]
    thought, preference, found, growing, _, final = parts
    assert (thought["turn"], thought["text"]) == (0, "Hm.")
    assert (preference["retrieval"], preference["text"]) == (0, "comedy")
    ids = [item.id for item in retriever.retrieve(request_of["history"], "comedy", words=request_of["message"], k=4)]
    assert [item["item_id"] for item in found["items"]] == ids
    assert found["items"][0]["title"] == retriever.catalogue.item(ids[0]).title
    assert (growing["status"], final["status"]) == ("running", "finished")
    assert [item["source"] for item in growing["items"]] == ["filled"] * 3
    assert [item["item_id"] for item in final["items"]] == [ids[1], ids[0], ids[2]]
    assert len({part["run_id"] for part in parts}) == 1


@pytest.mark.parametrize("protocol", ["tagged", "tools"])
async def test_a_guided_list_grows_while_it_is_written(
    policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, request_of: AgentInput, protocol: str
) -> None:
    graph = build_graph(policy if protocol == "tagged" else chat, retriever, config=GUIDED)
    parts = [part async for part in graph.astream(request_of, stream_mode="custom")]
    lists = [part["items"] for part in parts if part["type"] == "list"]
    written = [sum(item["source"] == "written" for item in items) for items in lists]
    assert written == [0, 1, 2, 3, 3]
    assert {len(items) for items in lists} == {3}


async def test_a_subgraph_streams_its_messages_and_partial_results_through_its_parent(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, request_of: AgentInput
) -> None:
    turns = [SEARCH.format("comedy"), LIST.format("2\n1\n3")]
    parent = StateGraph(AgentState)
    parent.add_node("shop", build_graph(policy, retriever, config=FREE))
    parent.add_edge(START, "shop")
    compiled = parent.compile(checkpointer=InMemorySaver())
    server.script = list(turns)
    texts, types = "", []
    async for namespace, mode, part in compiled.astream(
        request_of,
        {"configurable": {"thread_id": "a"}},
        stream_mode=["messages", "custom"],
        subgraphs=True,
    ):
        assert namespace[0].startswith("shop:")
        if mode == "custom":
            types.append(part["type"])
        else:
            texts += part[0].content
    assert texts == "".join(turns)
    assert types.count("list") == 2


async def test_the_tools_protocol_makes_the_same_parts_and_events(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, request_of: AgentInput
) -> None:
    server.script = [
        tool_call("retrieve_items", preference="comedy"),
        tool_call("recommend_items", numbers=[2, 1, 3]),
    ]
    seen = Seen()
    graph = build_graph(chat, retriever, config=FREE)
    parts = [part async for part in graph.astream(request_of, {"callbacks": [seen]}, stream_mode="custom")]
    assert _ran(parts) == ["preference", "found", "list", "list"]
    assert len(seen.named("model_end")) == 2
    assert seen.named("retriever_start") == ["", "comedy"]


async def test_asynchronous_callbacks_are_awaited_in_synchronous_calls_too(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, request_of: AgentInput
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1\n3")] * 2
    graph, seen = build_graph(policy, retriever, config=FREE), SeenAsync()
    await graph.ainvoke(request_of, {"callbacks": [seen]})
    assert seen.ended == 2


async def _run(graph: Any, request: AgentInput, config: Any, *, is_async: bool) -> Any:
    return await graph.ainvoke(request, config) if is_async else graph.invoke(request, config)


async def _stream(graph: Any, request: Any, mode: str, *, is_async: bool) -> list[Any]:
    if is_async:
        return [part async for part in graph.astream(request, stream_mode=mode)]
    return list(graph.stream(request, stream_mode=mode))
