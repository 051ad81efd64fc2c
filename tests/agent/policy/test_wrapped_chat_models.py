"""Chat models in LangChain's wrappers."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda
from pydantic import Field

from deeprec.agent import AgentConfig, SqlRecorder, TraceStore, build_graph
from deeprec.agent.policy.http_clients import make_async_client
from deeprec.agent.policy.wrapped_chat_models import chat_models_in
from deeprec.trm_tool import ConfigError, Retriever
from tests.model_scripts import tool_call
from tests.tiny_server import TinyServer

FREE = AgentConfig(k=3, retrieve_k=4)


class Calling(BaseChatModel):
    """Calls the tools that it is offered, one after another, and keeps with which settings it was asked."""

    model_name: str = "calling"
    failures: int = 0
    asked: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "calling"

    def bind_tools(self, tools: Any, **settings: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[tool["function"]["name"] for tool in tools], **settings)

    def _generate(self, messages: list[BaseMessage], *_: Any, **settings: Any) -> ChatResult:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("gone")
        self.asked.append({"model": self.model_name, **settings})
        assert "retrieve_items" in settings["tools"] or "recommend_items" in settings["tools"]
        if any(message.type == "tool" for message in messages):
            call = {"name": "recommend_items", "args": {"numbers": [2, 1, 3]}, "id": "b"}
        else:
            call = {"name": "retrieve_items", "args": {"preference": "comedy"}, "id": "a"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


def configurable() -> Any:
    return Calling(asked=[]).configurable_fields(model_name=ConfigurableField(id="chosen"))


WRAPPED: dict[str, Callable[[], Any]] = {
    "fallbacks": lambda: Calling(model_name="first", failures=9).with_fallbacks([Calling()]),
    "retry": lambda: Calling(failures=1).with_retry(wait_exponential_jitter=False),
    "bind": lambda: Calling().bind(stop=["x"]),
    "config": lambda: Calling().with_config(tags=["shop"]),
    "all of them": lambda: (
        Calling(failures=9).bind(stop=["x"]).with_fallbacks([configurable().with_config(tags=["a"])]).with_retry()
    ),
    "configurable": configurable,
}


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("kind", WRAPPED)
async def test_tools_are_bound_to_the_chat_models_inside(
    kind: str, is_async: bool, retriever: Retriever, store: TraceStore
) -> None:
    model = WRAPPED[kind]()
    graph = build_graph(model, retriever, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": []}) if is_async else graph.invoke({"history": []})
    assert (output["status"], output["detail"]) == ("finished", None)
    assert {position["source"] for position in output["recommendations"]} == {"written"}
    names = {"fallbacks": "first | calling", "all of them": "calling | calling"}
    assert store.run(UUID(output["run_id"])).run.policy_model == names.get(kind, "calling")


async def test_what_is_bound_and_what_is_configured_reaches_the_model(retriever: Retriever) -> None:
    bound = Calling(asked=[])
    await build_graph(bound.bind(temperature=0.5), retriever, config=FREE).ainvoke({"history": []})
    assert [asked["temperature"] for asked in bound.asked] == [0.5, 0.5]
    chosen: list[str] = []

    class Chosen(Calling):
        def _generate(self, *args: Any, **settings: Any) -> ChatResult:
            chosen.append(self.model_name)
            return super()._generate(*args, **settings)

    model = Chosen().configurable_fields(model_name=ConfigurableField(id="chosen"))
    graph = build_graph(model, retriever, config=FREE)
    output = await graph.ainvoke({"history": []}, {"configurable": {"chosen": "other"}})
    assert (output["status"], chosen) == ("finished", ["other", "other"])


def test_a_runnable_without_a_chat_model_inside_is_refused(retriever: Retriever) -> None:
    for model in (RunnableLambda(len), Calling().with_fallbacks([RunnableLambda(len)])):
        assert chat_models_in(model) == []
        with pytest.raises(ConfigError, match="in its wrappers too"):
            build_graph(model, retriever)


async def test_a_model_that_init_chat_model_leaves_configurable_is_called_as_it_is_configured(
    server: TinyServer, retriever: Retriever
) -> None:
    chat_models = pytest.importorskip("langchain.chat_models", reason="init_chat_model is in the package langchain")
    client = make_async_client(server.base_url)
    model = chat_models.init_chat_model(
        model="first",
        model_provider="openai",
        configurable_fields=("model",),
        base_url=server.base_url,
        api_key="EMPTY",
        http_async_client=client,
    )
    server.script = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[2, 1, 3])]
    graph = build_graph(model, retriever, config=FREE)
    output = await graph.ainvoke({"history": []}, {"configurable": {"model": "second"}})
    await client.aclose()
    assert output["status"] == "finished"
    assert [request["model"] for request in server.requests] == ["second", "second"]
    assert {tool["function"]["name"] for tool in server.requests[0]["tools"]} >= {"retrieve_items"}


async def test_a_request_sets_the_sampling_of_each_model_inside_and_no_single_name_for_several(
    retriever: Retriever,
) -> None:
    class Sampled(Calling):
        temperature: float | None = None

        def _generate(self, *args: Any, **settings: Any) -> ChatResult:
            return super()._generate(*args, temperature=self.temperature, **settings)

    model = Sampled(asked=[], failures=0)
    graph = build_graph(Sampled(failures=9).with_fallbacks([model]), retriever, config=FREE)
    output = await graph.ainvoke({"history": [], "settings": {"temperature": 0.25}})
    assert output["status"] == "finished"
    assert {asked["temperature"] for asked in model.asked} == {0.25}
    with pytest.raises(ConfigError, match="has 2 with fallbacks"):
        await graph.ainvoke({"history": [], "settings": {"model": "other"}})
