"""Runs whose model is cut, refuses, is filtered, or writes a list of what was never found: each has its own ending."""

from typing import Any
from uuid import UUID

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph
from deeprec.evals import make_rewards, score_run
from deeprec.trm_tool import Retriever
from tests.model_scripts import LIST, SEARCH, tool_call
from tests.tiny_server import TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)


class Wrote(BaseChatModel):
    """Writes the messages of a script, as some provider's class hands them over."""

    script: list[Any]

    @property
    def _llm_type(self) -> str:
        return "wrote"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return ChatResult(generations=[ChatGeneration(message=said)])


def call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": name}])


def ended(text: str = "", **metadata: Any) -> AIMessage:
    return AIMessage(text, response_metadata=metadata)


async def run(policy: Any, retriever: Retriever, store: TraceStore, config: AgentConfig = FREE) -> Any:
    graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:4])})
    return output, store.run(UUID(output["run_id"]))


class ContentFilterError(Exception):
    """As OpenAI's client raises it where Azure refuses a prompt."""

    status_code, code = 400, "content_filter"


SEARCHED = call("retrieve_items", preference="comedy")


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        (AIMessage("", additional_kwargs={"refusal": "I cannot <|do|> that."}), "refused", "I cannot ‹/do/› that."),
        (AIMessage([{"type": "refusal", "refusal": "No."}]), "refused", "refused to answer: No."),
        (ended("I would rather not.", stop_reason="refusal"), "refused", "I would rather not."),
        (ended(finish_reason="content_filter"), "filtered", "content_filter"),
        (ended(finish_reason="SAFETY"), "filtered", "SAFETY"),
        (ended(prompt_feedback={"block_reason": "BLOCKLIST"}), "filtered", "BLOCKLIST"),
        (ContentFilterError("The response was filtered"), "filtered", "content_filter"),
    ],
    ids=str,
)
async def test_a_refusal_and_a_filter_end_the_exploration_and_what_was_found_is_ranked(
    said: Any, status: str, why: str, retriever: Retriever, store: TraceStore
) -> None:
    output, trace = await run(
        Wrote(script=[SEARCHED, said, call("recommend_items", numbers=[3, 1, 2])]), retriever, store
    )
    assert (output["status"], trace.status, trace.detail) == (status, status, output["detail"])
    assert why in str(output["detail"])
    assert [turn.action for turn in trace.turns] == ["retrieve", "malformed", "recommend"]
    assert {position["source"] for position in output["recommendations"]} == {"written"}
    assert [summary.status for summary in store.runs()] == [status]

    output, trace = await run(Wrote(script=[SEARCHED, said, said]), retriever, store)
    assert (output["status"], len(trace.turns)) == (status, 3)
    assert {position["source"] for position in output["recommendations"]} == {"filled"}
    assert score_run(trace, make_rewards())["hit"] != 1  # nothing that the model wrote


@pytest.mark.parametrize(
    "reason",
    [
        {"finish_reason": "length"},
        {"stop_reason": "max_tokens"},
        {"incomplete_details": {"reason": "max_output_tokens"}},
    ],
    ids=str,
)
async def test_a_text_that_the_token_limit_cut_is_corrected_and_then_names_the_ending(
    reason: dict[str, Any], retriever: Retriever, store: TraceStore
) -> None:
    cut = ended("Let me think about", **reason)
    output, trace = await run(
        Wrote(script=[SEARCHED, cut, cut, call("recommend_items", numbers=[2])]), retriever, store
    )
    assert output["status"] == "truncated"
    assert "the token limit cut the text" in str(trace.turns[1].detail)
    assert trace.turns[1].finish_reason in ("length", "max_tokens", "max_output_tokens")
    assert len(trace.written) == 1
    output, _ = await run(Wrote(script=[SEARCHED, cut, call("recommend_items", numbers=[2])]), retriever, store)
    assert output["status"] == "finished"


async def test_a_cut_text_names_the_ending_of_the_tagged_protocol(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    config = AgentConfig(k=3, retrieve_k=4, max_malformed=0, max_turn_tokens=80)
    server.script = [SEARCH.format("comedy"), "<think>" + "and so " * 40, "2\n1\n</recommendation_list>"]
    output, trace = await run(policy, retriever, store, config)
    assert (output["status"], len(trace.written)) == ("truncated", 2)


async def test_a_list_of_what_was_never_found_is_not_finished(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("101\n102")]
    output, trace = await run(policy, retriever, store)
    assert (output["status"], trace.ungrounded, trace.written) == ("ungrounded", 2, ())
    assert "none of the candidates" in str(output["detail"])
    assert {position["source"] for position in output["recommendations"]} == {"filled"}
    assert score_run(trace, make_rewards())["format"] == -1


async def test_a_list_of_what_was_never_found_is_not_finished_with_tools(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[99.0])]
    output, trace = await run(chat, retriever, store)
    assert (output["status"], trace.ungrounded) == ("ungrounded", 1)
