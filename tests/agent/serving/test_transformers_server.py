"""What the server without vLLM refuses, and that it goes on serving. What it answers is in `test_policy_served`."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from deeprec.agent import CompletionPolicy, PolicyRejectedError, SamplingConfig, make_server
from deeprec.agent.serving.generation import Generator
from deeprec.agent.serving.servers import TransformersServer
from deeprec.agent.serving.transformers_server import make_http_server
from deeprec.trm_tool import ConfigError
from tests.agent.serving.test_generation import ByteTokenizer
from tests.tiny_server import MODEL, tiny_llama

KEY = "secret"
COMPLETION: dict[str, Any] = {"model": MODEL, "prompt": [1, 2], "max_tokens": 2}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with make_http_server(Generator(tiny_llama(), ByteTokenizer()), MODEL, host="127.0.0.1", port=0, key=KEY) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def send(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **headers}
    connection.request("GET" if body is None else "POST", path, data, sent)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


async def test_agents_are_answered_with_the_key_and_refused_without(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    async with CompletionPolicy(url, api_key=KEY) as policy:
        assert (await policy.connect()).name == MODEL
        done = await policy.complete([1, 2], sampling=SamplingConfig(max_tokens=3))
        assert 1 <= len(done.token_ids) <= 3
        nucleus_of_one = await policy.complete([1, 2], sampling=SamplingConfig(top_p=1e-6, max_tokens=1))
        assert nucleus_of_one.logprobs == (0.0,)  # processed, by which `find_logprobs_mode` knows them
    async with CompletionPolicy(url, api_key="wrong") as policy:
        with pytest.raises(PolicyRejectedError, match="key is missing or wrong"):
            await policy.connect()
    assert send(port, "/health", Authorization="")[0] == 200
    for path in ("/v1/completions", "/tokenize", "/detokenize", "/v1/load_lora_adapter"):
        assert send(port, path, COMPLETION, Authorization="")[0] == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/completions", b"{", 400, "Invalid JSON"),
        ("/v1/completions", {"model": MODEL}, 400, "prompt"),
        ("/v1/completions", {**COMPLETION, "prompt": "text"}, 400, "prompt"),
        ("/v1/completions", {**COMPLETION, "prompt": [-1]}, 400, "prompt"),
        ("/v1/completions", {**COMPLETION, "prompt": [999]}, 400, "vocabulary"),
        ("/v1/completions", {**COMPLETION, "max_tokens": 10**9}, 400, "reads"),
        ("/v1/completions", {**COMPLETION, "temperature": -1}, 400, "temperature"),
        ("/v1/completions", {**COMPLETION, "model": "rec-v7"}, 400, "rec-v7"),
        ("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/nowhere"}, 400, "/nowhere"),
        ("/tokenize", {}, 400, "prompt or messages"),
        ("/v1/chat/completions", {"model": MODEL, "messages": []}, 404, "no chat"),
    ],
)
def test_a_bad_request_is_refused_with_a_reason(port: int, path: str, body: Any, status: int, said: str) -> None:
    got, answer = send(port, path, body)
    assert (got, said in answer["error"]["message"]) == (status, True), answer
    assert send(port, "/v1/completions", COMPLETION)[0] == 200


def test_a_page_in_a_browser_cannot_post_and_a_huge_body_is_not_read(port: int) -> None:
    form = {"Content-Type": "text/plain", "Authorization": f"Bearer {KEY}"}
    assert send(port, "/v1/load_lora_adapter", b"{}", **form)[0] == 415
    assert send(port, "/v1/completions", b"{}", **{"Content-Length": str(2**40)})[0] == 413
    assert send(port, "/v1/completions", b"{}", **{"Content-Length": "x"})[0] == 413


def test_transformers_serves_where_vllm_is_not_installed_and_no_interpreter_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("DEEPREC_SERVER_PYTHON", raising=False)
    monkeypatch.setattr("deeprec.agent.serving.model_server.has_vllm", lambda: False)
    assert isinstance(make_server("org/model", log=tmp_path / "log"), TransformersServer)
    monkeypatch.setenv("DEEPREC_SERVER_PYTHON", str(tmp_path / "python"))  # whoever names one means vLLM
    with pytest.raises(ConfigError, match="is not an interpreter"):
        make_server("org/model", log=tmp_path / "log").start()
