"""What an unavailable model or recommender leaves behind, and which errors are none of theirs and reach the caller."""

import logging
from typing import Any
from uuid import UUID

import httpx2
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    PolicyAccessError,
    PolicyUnavailableError,
    RetrieverUnavailableError,
    SqlRecorder,
    TraceStore,
    build_graph,
    outage_counts,
)
from deeprec.trm_tool import Retrieved, Retriever
from tests.model_scripts import SEARCH
from tests.tiny_server import MODEL, TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)


class Failing(BaseChatModel):
    """A caller's own chat model, which raises."""

    error: Any

    @property
    def _llm_type(self) -> str:
        return "failing"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise self.error


class ProviderDownError(Exception):
    """As a provider's library defines its own."""


@pytest.mark.parametrize(
    "error",
    [TypeError("seed"), AttributeError("x"), KeyError("k"), ValueError("v"), RuntimeError("r"), FileNotFoundError("f")],
    ids=repr,
)
async def test_a_mistake_of_the_chat_models_class_reaches_the_caller(
    error: Exception, retriever: Retriever, store: TraceStore
) -> None:
    graph = build_graph(Failing(error=error), retriever, config=FREE, recorder=SqlRecorder(store))
    with pytest.raises(type(error), match=str(error.args[0])):
        await graph.ainvoke({"history": []})
    [run] = store.runs()
    assert (run.status, type(error).__name__ in str(store.run(run.run_id).detail)) == ("aborted", True)


@pytest.mark.parametrize(
    "error", [ConnectionError("gone"), TimeoutError(), httpx2.ReadError("cut"), ProviderDownError("busy")], ids=repr
)
async def test_an_outage_is_logged_counted_and_stands_in_the_result(
    error: Exception, retriever: Retriever, store: TraceStore, caplog: pytest.LogCaptureFixture
) -> None:
    cause = type(error).__name__
    before = outage_counts().get(("model", cause), 0)
    graph = build_graph(Failing(error=error), retriever, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": []})
    assert (output["status"], len(output["recommendations"])) == ("fallback", 3)
    assert output["failure"] == {"part": "model", "node": "reason", "cause": cause, "detail": output["detail"]}
    assert cause in str(output["detail"])
    assert outage_counts()["model", cause] == before + 1
    [warning] = [record for record in caplog.records if record.name.startswith("deeprec.agent.graph")]
    assert warning.levelno == logging.WARNING
    assert output["run_id"] in warning.getMessage()
    assert cause in warning.getMessage()


async def test_an_outage_is_raised_where_that_is_asked_for_and_the_run_can_go_on(retriever: Retriever) -> None:
    model = Failing(error=ConnectionError("gone"))
    config = AgentConfig(k=3, raise_outages=True)
    graph = build_graph(model, retriever, config=config, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    for _ in range(2):
        with pytest.raises(PolicyUnavailableError, match="gone"):
            await graph.ainvoke({"history": []} if _ == 0 else None, thread)
    assert (await graph.aget_state(thread)).next == ("reason",)


def refuse(handler: Any) -> None:
    handler.answer(401, {"error": {"message": "Incorrect API key"}})


async def test_a_wrong_key_reaches_the_caller_of_the_tools_protocol(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever
) -> None:
    import openai

    server.script = [refuse]
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        await build_graph(chat, retriever, config=FREE).ainvoke({"history": []})


async def test_a_wrong_key_reaches_the_caller_of_the_tagged_protocol(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever
) -> None:
    server.script = [refuse]
    with pytest.raises(PolicyAccessError, match="DEEPREC_API_KEY"):
        await build_graph(policy, retriever, config=FREE).ainvoke({"history": []})


async def test_a_page_instead_of_an_answer_is_an_outage_not_a_mistake_of_the_caller(
    server: TinyServer, retriever: Retriever
) -> None:
    def page(handler: Any) -> None:
        data = b"<html>sign in</html>"
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    server.script = [page] * 3
    model = ChatOpenAI(base_url=server.base_url, model=MODEL, api_key="EMPTY", max_retries=0)  # type: ignore[arg-type]
    output = await build_graph(model, retriever, config=FREE).ainvoke({"history": []})
    await model.root_async_client.close()
    model.root_client.close()
    assert output["status"] == "fallback"
    assert output["failure"]["part"] == "model"


class Asking(BaseChatModel):
    """A chat model that asks a person before it answers."""

    @property
    def _llm_type(self) -> str:
        return "asking"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        if messages[-1].type == "tool":
            call = {"name": "recommend_items", "args": {"numbers": [2, 1, 3]}, "id": "b"}
        else:
            call = {"name": "retrieve_items", "args": {"preference": interrupt("Which genre?")}, "id": "a"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_interrupt_inside_the_model_halts_the_run_which_goes_on_with_the_answer(
    is_async: bool, retriever: Retriever, store: TraceStore
) -> None:
    recorder = SqlRecorder(store)
    graph = build_graph(Asking(), retriever, config=FREE, recorder=recorder, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    if is_async:
        halted = await graph.ainvoke({"history": []}, thread)
        output = await graph.ainvoke(Command(resume="comedy"), thread)
    else:
        halted = graph.invoke({"history": []}, thread)
        output = graph.invoke(Command(resume="comedy"), thread)
    assert [asked.value for asked in halted["__interrupt__"]] == ["Which genre?"]
    assert (output["status"], output["failure"]) == ("finished", None)
    trace = store.run(UUID(output["run_id"]))
    assert [turn.action for turn in trace.turns] == ["retrieve", "recommend"]
    assert trace.retrievals[0].preference == "comedy"


@pytest.mark.parametrize("raises", [False, True])
async def test_an_outage_of_the_recommender_stands_in_the_result_or_is_raised(
    raises: bool,
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = retriever.retrieve

    def failing(history: Any, preference: Any = None, **settings: Any) -> Retrieved:
        if preference is not None:
            raise ConnectionError("gone")
        return real(history, preference, **settings)

    monkeypatch.setattr(retriever, "retrieve", failing)
    server.script = [SEARCH.format("comedy")]
    graph = build_graph(policy, retriever, config=AgentConfig(k=3, raise_outages=raises))
    before = outage_counts().get(("recommender", "ConnectionError"), 0)
    if raises:
        with pytest.raises(RetrieverUnavailableError, match="gone"):
            await graph.ainvoke({"history": []})
    else:
        failure = (await graph.ainvoke({"history": []}))["failure"]
        assert (failure["part"], failure["node"], failure["cause"]) == ("recommender", "retrieve", "ConnectionError")
    assert outage_counts()["recommender", "ConnectionError"] == before + 1
