"""Calls of a chat model whose server answers with what nobody can read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import AgentConfig, build_graph
from deeprec.agent.policy import chat_model_calls
from deeprec.trm_tool import Retriever
from tests.model_scripts import tool_call
from tests.tiny_server import TinyServer

SCRIPT = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[2, 1, 3])]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_model_calls, "RETRY_WAIT_S", 0.0)


def body(text: str, kind: str = "application/json", missing: int = 0) -> Callable[[Any], None]:
    """An answer of status 200; `missing` bytes of those that it announces never come."""

    def write(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(text) + missing))
        handler.end_headers()
        handler.wfile.write(text.encode())
        handler.close_connection = bool(missing)

    return write


GARBAGE = {
    "half a body": body('{"id": "1", "choi', missing=400),
    "broken JSON": body('{"id": "1", "choi'),
    "a page": body("<html>", kind="text/html"),
    "no choice": body('{"choices": []}'),
    "choices that are null": body('{"choices": null}'),
    "no message": body('{"choices": [{"message": null}]}'),
    "an error under 200": body('{"error": {"message": "overloaded"}}'),
    "another shape": body("[]"),
    "3,000 brackets": body("[" * 3000),
}


@pytest.mark.parametrize("case", GARBAGE)
async def test_an_answer_that_nobody_can_read_is_asked_for_again(
    case: str, server: TinyServer, chat: ChatOpenAI, retriever: Retriever
) -> None:
    server.script = [SCRIPT[0], GARBAGE[case], SCRIPT[1]]
    output = await build_graph(chat, retriever, config=AgentConfig(k=3)).ainvoke({"history": []})
    assert output["status"] == "finished"
    assert len(server.requests) == 3


@pytest.mark.parametrize("case", ["broken JSON", "no choice", "3,000 brackets"])
async def test_a_server_that_goes_on_so_is_an_outage_with_what_was_found(
    case: str, server: TinyServer, chat: ChatOpenAI, retriever: Retriever
) -> None:
    server.script = [SCRIPT[0], *[GARBAGE[case]] * 3]
    output = await build_graph(chat, retriever, config=AgentConfig(k=3)).ainvoke({"history": []})
    assert (output["status"], output["failure"]["part"]) == ("fallback", "model")
    assert len(server.requests) == 4
    assert {position["source"] for position in output["recommendations"]} == {"filled"}


@pytest.mark.parametrize("arguments", ["[" * 3000, "[" * 3000 + "]" * 3000, json.dumps({"preference": "x"})[:-1]])
async def test_arguments_that_nobody_can_read_are_the_models_to_correct(
    arguments: str, server: TinyServer, chat: ChatOpenAI, retriever: Retriever
) -> None:
    unreadable = {"id": "1", "type": "function", "function": {"name": "retrieve_items", "arguments": arguments}}
    server.script = [{"tool_calls": [unreadable]}, *SCRIPT]
    output = await build_graph(chat, retriever, config=AgentConfig(k=3)).ainvoke({"history": []})
    assert output["status"] == "finished"
    assert "That could not be used" in str(server.requests[1]["messages"][-1]["content"])
