"""`langgraph dev` on the repository's `langgraph.json`, asked through LangGraph's own client."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from deeprec.agent import TraceStore
from deeprec.agent.serving.langgraph_app import make_graph, make_shopping_graph
from deeprec.trm_tool import ArtifactError, ConfigError
from tests.tiny_server import MODEL, TinyServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def dev_url(server: TinyServer, artifact_folder: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a running `langgraph dev`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "langgraph.json").write_text((ROOT / "langgraph.json").read_text().replace('"."', f'"{ROOT}"'))
    environment = {
        **os.environ,
        "DEEPREC_BASE_URL": server.base_url,
        "DEEPREC_MODEL": MODEL,
        "DEEPREC_ARTIFACT": str(artifact_folder),
        "DEEPREC_STORE": str(tmp_path / "traces.db"),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    }
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    log = tmp_path / "dev.log"
    with log.open("w") as out, subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=out) as dev:
        try:
            _wait(port, dev, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            dev.terminate()
            dev.wait(timeout=60)


def _wait(port: int, dev: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(2400):
        if dev.poll() is not None:
            break
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"langgraph dev did not start:\n{log.read_text()[-3000:]}")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_langgraph_dev_serves_the_agents_to_chat_clients_and_other_agents(dev_url: str, tmp_path: Path) -> None:
    async with get_client(url=dev_url) as client:
        [assistant] = await client.assistants.search(graph_id="recommender")
        schemas: Any = await client.assistants.get_schemas(assistant["assistant_id"])
        assert {"history", "messages", "settings"} <= set(schemas["input_schema"]["properties"])
        assert {"k", "temperature", "model"} <= set(schemas["context_schema"]["properties"])
        thread = await client.threads.create()
        asked: Any = {"messages": [{"role": "user", "content": "a comedy"}]}
        output: Any = await client.runs.wait(thread["thread_id"], "recommender", input=asked, context={"k": 3})
        human, answer = output["messages"]
        assert (human["content"], answer["type"]) == ("a comedy", "ai")
        assert len(answer["additional_kwargs"]["deeprec"]["recommendations"]) == 3
        parts = [
            part.data
            async for part in client.runs.stream(
                thread["thread_id"], "recommender", input=asked, context={"k": 2}, stream_mode="values"
            )
        ]
        assert [message["type"] for message in parts[-1]["messages"]] == ["human", "ai", "human", "ai"]
        assert len(parts[-1]["recommendations"]) == 2
        await _chat_pages_and_studio(client)
        await _agents_by_a2a(client, dev_url)
    with TraceStore(tmp_path / "traces.db") as store:
        run = store.run(output["run_id"]).run
    assert (run.message, run.k, run.guided) == ("a comedy", 3, True)


async def _chat_pages_and_studio(client: LangGraphClient) -> None:
    """A conversation by the calls of agent-chat-ui and of Studio's chat mode: blocks of content, several streams."""
    thread = (await client.threads.create())["thread_id"]
    for said in ("a comedy", "cheaper"):
        asked: Any = {"messages": [{"type": "human", "content": [{"type": "text", "text": said}], "id": str(uuid4())}]}
        parts = [
            part
            async for part in client.runs.stream(
                thread,
                "shopping",
                input=asked,
                stream_mode=["values", "messages-tuple", "updates", "custom"],
                stream_subgraphs=True,
                stream_resumable=True,
            )
        ]
    kinds = {part.event.partition("|")[0] for part in parts}
    assert {"values", "messages", "updates", "custom"} <= kinds
    assert "error" not in kinds
    whole = [part.data for part in parts if part.event == "values"][-1]
    assert [message["type"] for message in whole["messages"]] == ["human", "ai", "human", "ai"]
    assert whole["messages"][-1]["additional_kwargs"]["deeprec"]["kind"] == "list"
    streamed = [part.data[0] for part in parts if part.event == "messages"]  # the model's own turns are not among them
    assert {message["content"] for message in streamed} == {whole["messages"][-1]["content"]}
    assert (await client.threads.get_state(thread))["values"]["messages"] == whole["messages"]
    begun = [each for each in await client.threads.get_history(thread) if each["metadata"]["source"] == "input"]  # type: ignore[index]
    edited: Any = {"messages": [{"type": "human", "content": "a western", "id": str(uuid4())}]}
    forked: Any = await client.runs.wait(thread, "shopping", input=edited, checkpoint=begun[0]["parent_checkpoint"])
    texts = [message["content"] for message in forked["messages"] if message["type"] == "human"]
    assert texts == [[{"type": "text", "text": "a comedy"}], "a western"]


async def _agents_by_a2a(client: LangGraphClient, url: str) -> None:
    """A conversation of two messages by A2A's text parts, and one as a stream."""
    [assistant] = await client.assistants.search(graph_id="shopping")
    address, context = f"{url}/a2a/{assistant['assistant_id']}", None

    def call(method: str, text: str) -> dict[str, Any]:
        message = {"role": "user", "parts": [{"kind": "text", "text": text}], "messageId": str(uuid4())}
        message |= {"contextId": context} if context else {}
        return {"jsonrpc": "2.0", "id": "1", "method": method, "params": {"message": message}}

    async with httpx.AsyncClient(timeout=120, headers={"Accept": "application/json"}) as agent:
        for said, begins in (("a comedy", "These fit best:\n1. "), ("tell me about the first", "1. ")):
            result = (await agent.post(address, json=call("message/send", said))).json()["result"]
            context = result["contextId"]
            assert result["status"]["state"] == "completed"
            assert result["artifacts"][0]["parts"][0]["text"].startswith(begins)
        accepts = {"Accept": "text/event-stream"}
        streamed = (await agent.post(address, json=call("message/stream", "something else"), headers=accepts)).text
        parts = [json.loads(line[6:])["result"] for line in streamed.splitlines() if line.startswith("data: ")]
        assert parts[-1]["status"]["state"] == "completed"
        assert "artifact-update" in {part["kind"] for part in parts}


async def test_an_environment_that_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPREC_PROTOCOL", "tags")
    with pytest.raises(ConfigError, match=r"DEEPREC_PROTOCOL is 'tags'\. Set it to tagged or tools"):
        await make_graph()
    monkeypatch.setenv("DEEPREC_PROTOCOL", "tools")
    monkeypatch.delenv("DEEPREC_MODEL", raising=False)
    with pytest.raises(ConfigError, match="DEEPREC_MODEL names no model"):
        await make_graph()


async def test_the_shipped_adapter_is_used_where_the_server_has_it_and_no_model_is_named(
    server: TinyServer, artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server.adapters, "smollm2-135m-words-v2", server.model)
    monkeypatch.setitem(server.roots, "smollm2-135m-words-v2", str(tmp_path))
    monkeypatch.setenv("DEEPREC_BASE_URL", server.base_url)
    monkeypatch.setenv("DEEPREC_ARTIFACT", str(artifact_folder))
    monkeypatch.setenv("DEEPREC_STORE", str(tmp_path / "traces.db"))
    output = await (await make_graph()).ainvoke({"history": [], "message": "a comedy"})
    with TraceStore(tmp_path / "traces.db") as store:
        run = store.run(output["run_id"]).run
    assert (run.adapter_version, run.config["prompts"], run.guided) == ("smollm2-135m-words-v2", "words", True)


async def test_the_shopping_graph_needs_no_model(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPREC_PROTOCOL", "none")
    monkeypatch.setenv("DEEPREC_ARTIFACT", str(artifact_folder))
    monkeypatch.setenv("DEEPREC_STORE", str(tmp_path / "traces.db"))
    output = await (await make_shopping_graph()).ainvoke({"messages": [("user", "a comedy")]})
    assert output["reply"]["kind"] == "list"
    monkeypatch.setenv("DEEPREC_SIGNALS", str(tmp_path / "nowhere"))
    with pytest.raises(ArtifactError, match="nowhere cannot be read as signals"):
        await make_shopping_graph()
    with pytest.raises(ConfigError, match="needs a model"):
        await make_graph()
