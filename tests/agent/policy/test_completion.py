"""The policy client against a real HTTP server with scripted answers. Every request is counted."""

import asyncio
import base64
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from deeprec.agent import (
    Completion,
    CompletionPolicy,
    PolicyError,
    PolicyRejectedError,
    PolicyUnavailableError,
    SamplingConfig,
    fingerprint_base,
    make_chat_model,
)
from deeprec.trm_tool import ConfigError, DeepRecError

PROMPT = [5, 6, 7]
SAMPLING = SamplingConfig(max_tokens=4, seed=3)
CARDS = {
    "data": [
        {"id": "base", "parent": None, "max_model_len": 64},
        {"id": "base-v2", "parent": "base"},
    ]
}


def good(**changes: Any) -> dict[str, Any]:
    choice = {
        "text": "ab",
        "finish_reason": "stop",
        "token_ids": [1, 2],
        "prompt_token_ids": PROMPT,
        "logprobs": {"token_logprobs": [-0.5, 0]},
    }
    return {"choices": [choice | changes], "usage": {"prompt_tokens": 3}}


Answer = tuple[int, str | dict[str, Any], dict[str, str]]


@dataclass
class Scripted:
    """`answers` are given in turn, the last one again and again; a callable may take its time."""

    answers: list[Answer | Callable[[], Answer]] = field(default_factory=lambda: [(200, good(), {})])
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    url: str = ""
    encoding: str = "utf-8"

    def answer(self, status: int, body: str | dict[str, Any], **headers: str) -> None:
        self.answers = [(status, body, {name.replace("_", "-"): value for name, value in headers.items()})]


def lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None: ...

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.requests.append((self.path, json.loads(sent or b"{}"), lowered(self.headers)))
            answer = scripted.answers.pop(0) if len(scripted.answers) > 1 else scripted.answers[0]
            status, body, headers = answer() if callable(answer) else answer
            data = (body if isinstance(body, str) else json.dumps(body)).encode(scripted.encoding, "surrogatepass")
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data))} | headers
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the client gave up

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    scripted.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield scripted
    http.shutdown()
    http.server_close()
    thread.join()


def client(url: str, **settings: Any) -> CompletionPolicy:
    return CompletionPolicy(url, "base", **{"retry_wait_s": 0.01, "timeout_s": 10.0, **settings})


async def complete(server: Scripted, **settings: Any) -> Completion:
    async with client(server.url, **settings) as policy:
        return await policy.complete(PROMPT, sampling=SAMPLING)


async def test_a_completion_is_what_the_server_wrote(server: Scripted) -> None:
    async with client(server.url, adapter="base-v2", api_key="key-1", cache_salt="mine") as policy:
        done = await policy.complete(PROMPT, sampling=SAMPLING, stop=["</a>"], regex="<a>.*</a>")
    assert done.token_ids == (1, 2)
    assert done.logprobs == (-0.5, 0.0)
    assert (done.text, done.finish_reason, done.prompt_tokens) == ("ab", "stop", 3)
    [(path, body, headers)] = server.requests
    assert path == "/v1/completions"
    assert headers["authorization"] == "Bearer key-1"
    assert body == {
        "model": "base-v2",
        "prompt": PROMPT,
        "max_tokens": 4,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "seed": 3,
        "cache_salt": "mine",
        "stop": ["</a>"],
        "logprobs": 0,
        "return_token_ids": True,
        "include_stop_str_in_output": True,
        "structured_outputs": {"regex": "<a>.*</a>"},
    }


async def test_output_cut_by_the_token_limit_is_marked(server: Scripted) -> None:
    server.answer(200, good(finish_reason="length"))
    assert (await complete(server)).finish_reason == "length"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
async def test_a_failing_server_is_asked_a_bounded_number_of_times(server: Scripted, status: int) -> None:
    server.answer(status, {"error": {"message": "engine is busy"}})
    with pytest.raises(PolicyUnavailableError, match=rf"answered {status}: engine is busy \(3 requests\)"):
        await complete(server, max_retries=2)
    assert len(server.requests) == 3


async def test_a_server_that_recovers_is_used(server: Scripted) -> None:
    server.answers = [(500, "<html>", {}), (429, {}, {"Retry-After": "0.1"}), (200, good(), {})]
    started = time.perf_counter()
    assert (await complete(server)).token_ids == (1, 2)
    assert time.perf_counter() - started > 0.1
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_a_refused_request_is_not_sent_again(server: Scripted, status: int) -> None:
    server.answer(status, {"error": {"message": "This model's maximum context length is 64 tokens"}})
    with pytest.raises(PolicyRejectedError, match="maximum context length is 64") as caught:
        await complete(server)
    assert f"answered {status}" in str(caught.value)
    assert ("DEEPREC_API_KEY" in str(caught.value)) == (status in (401, 403))
    assert len(server.requests) == 1


@pytest.mark.parametrize("retries", [0, 1])
async def test_an_unavailable_server_is_reported_in_one_line(retries: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with client(url, max_retries=retries) as policy:
        with pytest.raises(PolicyUnavailableError, match="deeprec llm serve") as caught:
            await policy.connect()
    assert url in str(caught.value)
    assert f"{retries + 1} request" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_slow_server_is_given_up_at_the_limit_retries_included(server: Scripted) -> None:
    def slowly() -> Answer:
        time.sleep(0.6)
        return 500, {}, {}

    server.answers = [slowly]
    async with client(server.url, timeout_s=60, max_retries=5) as policy:
        started = time.perf_counter()
        with pytest.raises(PolicyUnavailableError, match=r"within 1 s \(2 requests\)"):
            await policy.complete(PROMPT, sampling=SAMPLING, timeout_s=1)
        assert time.perf_counter() - started < 10  # six requests and the waits between them take longer


async def test_one_request_that_hangs_costs_its_own_limit_and_not_the_time_of_the_run(server: Scripted) -> None:
    given_up = threading.Event()

    def never() -> Answer:
        given_up.wait(5)
        return 200, good(), {}

    server.answers = [never, (200, good(), {})]
    async with client(server.url, timeout_s=0.2, max_retries=1) as policy:
        completion = await policy.complete(PROMPT, sampling=SAMPLING, timeout_s=60)
        assert (completion.text, len(server.requests)) == ("ab", 2)
        server.answers = [never]
        with pytest.raises(PolicyUnavailableError, match=r"within 0.2 s \(2 requests\)"):
            await policy.complete(PROMPT, sampling=SAMPLING, timeout_s=60)
    given_up.set()


INVALID_ANSWERS: dict[str, tuple[str | dict[str, Any], str]] = {
    "html": ("<html>Welcome to nginx</html>", "Welcome to nginx"),
    "empty": ("", "invalid answer"),
    "cut JSON": ('{"choices": [', "invalid answer"),
    "a list": ("[]", "invalid answer"),
    "no choice": ({"choices": []}, "0 choices"),
    "no token ids": (good(token_ids=None), "token_ids"),
    "a negative id": (good(token_ids=[1, -2]), "choices.0.token_ids.1"),
    "an id beyond 32 bits": (good(token_ids=[1, 2**32]), "choices.0.token_ids.1"),
    "text for ids": (good(token_ids=["1", "2"]), "token_ids"),
    "no logprobs": (good(logprobs=None), "logprobs"),
    "a missing logprob": (good(logprobs={"token_logprobs": [None, -1.0]}), "logprobs"),
    "too few logprobs": (good(logprobs={"token_logprobs": [-0.5]}), "1 logprobs for 2 tokens"),
    "NaN": (json.dumps(good(logprobs={"token_logprobs": [float("nan"), 0.0]})), "finite"),
    "another prompt": (good(prompt_token_ids=[5, 6, 8]), "prompt of 3 token ids"),
    "no prompt": (good(prompt_token_ids=None), "prompt_token_ids"),
    "an aborted request": (good(finish_reason="abort"), "abort"),
    "no reason": (good(finish_reason=None), "finish_reason"),
    "more than asked for": (good(token_ids=[1] * 5, logprobs={"token_logprobs": [0.0] * 5}), "at most 4"),
}


@pytest.mark.parametrize("case", INVALID_ANSWERS)
async def test_an_invalid_answer_is_asked_for_again_and_then_named(server: Scripted, case: str) -> None:
    body, reason = INVALID_ANSWERS[case]
    server.answer(200, body)
    with pytest.raises(PolicyUnavailableError, match="gave an invalid answer") as caught:
        await complete(server, max_retries=1)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(server.requests) == 2


async def test_html_under_its_own_type_is_an_invalid_answer_too(server: Scripted) -> None:
    server.answer(200, "<html>\n\nsign in</html>", Content_Type="text/html; charset=utf-8")
    with pytest.raises(PolicyUnavailableError, match="<html> sign in</html>"):
        await complete(server, max_retries=0)


async def test_connect_tells_the_model_its_length_and_the_adapters(server: Scripted) -> None:
    server.answer(200, CARDS)
    async with client(server.url, adapter="base-v2") as policy:
        served = await policy.connect()
        await policy.connect()
        assert len(server.requests) == 1  # kept
        await policy.connect(refresh=True)
    assert served.name == "base-v2"
    assert (served.max_model_len, served.models, served.adapters) == (64, ("base",), ("base-v2",))
    assert [path for path, _, _ in server.requests] == ["/v1/models", "/v1/models"]


@pytest.mark.parametrize(
    ("metrics", "is_known"),
    [
        ((200, "process_start_time_seconds {later}\n", {"Content-Type": "text/plain"}), True),
        ((200, "# a comment\nprocess_start_time_seconds 1.5e+09\n", {"Content-Type": "text/plain"}), False),
        ((200, "process_start_time_seconds soon\n", {"Content-Type": "text/plain"}), True),
        ((404, {}, {}), True),  # it does not report when it was started
    ],
)
async def test_weights_that_changed_after_the_server_was_started_are_not_known(
    server: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture, metrics: Answer, is_known: bool
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    status, body, headers = metrics
    text = body.format(later=time.time() + 60) if isinstance(body, str) else body
    server.answers = [(200, {"data": [{"id": "base", "root": str(tmp_path)}]}, {}), (status, text, headers)]
    async with client(server.url) as policy:
        served = await policy.connect()
    assert served.base_fingerprint == (fingerprint_base(tmp_path) if is_known else None)
    assert (f"{tmp_path} has changed since its server was started" in caplog.text) is not is_known
    assert [path for path, _, _ in server.requests] == ["/v1/models", "/metrics"]


async def test_a_model_that_the_server_lacks_is_answered_with_those_it_has(server: Scripted) -> None:
    server.answer(200, CARDS)
    async with CompletionPolicy(server.url, "gpt-9") as policy:
        with pytest.raises(ConfigError, match="no model 'gpt-9'; it has 'base', 'base-v2'"):
            await policy.connect()
    async with client(server.url, adapter="v3") as policy:
        with pytest.raises(ConfigError, match="no adapter 'v3'; it has 'base-v2'"):
            await policy.connect()


async def test_without_a_name_the_only_model_is_taken(server: Scripted) -> None:
    server.answer(200, CARDS)
    async with CompletionPolicy(server.url) as policy:
        assert policy.model is None
        await policy.connect()
        assert policy.model == "base"
    server.answer(200, {"data": [{"id": "a"}, {"id": "b"}]})
    async with CompletionPolicy(server.url) as policy:
        with pytest.raises(ConfigError, match="has 'a', 'b'"):
            await policy.connect()


async def test_tokens_come_from_the_server_beside_the_openai_routes(server: Scripted) -> None:
    server.answers = [(200, {"tokens": [1, 2]}, {}), (200, {"tokens": [3]}, {}), (200, {"prompt": "x"}, {})]
    async with client(server.url + "/prefix/v1/") as policy:
        assert await policy.tokenize("a b") == [1, 2]
        assert await policy.tokenize_chat([{"role": "user", "content": "hi"}]) == [3]
        assert await policy.detokenize((3,)) == "x"
    assert [path for path, _, _ in server.requests] == ["/prefix/tokenize", "/prefix/tokenize", "/prefix/detokenize"]
    assert server.requests[0][1] == {"model": "base", "prompt": "a b", "add_special_tokens": False}
    assert server.requests[1][1]["add_generation_prompt"] is True


async def test_text_that_cannot_be_sent_is_refused_before(server: Scripted) -> None:
    async with client(server.url) as policy:
        with pytest.raises(PolicyRejectedError, match="lone surrogate"):
            await policy.tokenize("a\ud800b")
    assert server.requests == []


async def test_a_server_without_tokenize_gets_an_error_that_names_the_protocol_for_it(server: Scripted) -> None:
    server.answer(404, {"detail": "Not Found"})
    async with client(server.url) as policy:
        with pytest.raises(PolicyRejectedError, match="tools protocol"):
            await policy.tokenize("a")


@pytest.mark.slow
def test_one_client_serves_one_event_loop_after_another(server: Scripted) -> None:
    policy = client(server.url)

    async def ask() -> Completion:
        done = await asyncio.gather(*(policy.complete(PROMPT, sampling=SAMPLING) for _ in range(8)))
        await policy.aclose()
        return done[0]

    assert asyncio.run(ask()).token_ids == asyncio.run(ask()).token_ids
    assert len(server.requests) == 16


async def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert (await complete(server)).token_ids == (1, 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_tokens": 0},
    ],
)
def test_sampling_that_cannot_work_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"SamplingConfig.{next(iter(settings))}"):
        SamplingConfig(**settings)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://host", "http://", "http://[", "http://host:port/v1", "http://host:99999/v1"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="http://HOST:PORT/v1"):
        CompletionPolicy(url, "base")
    with pytest.raises(ConfigError, match="http://HOST:PORT/v1"):
        make_chat_model(url, "base")


@pytest.mark.parametrize("key", ["schlüssel", "two words", "line\n"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="The API key in api_key") as caught:
        client("http://host", api_key=key)
    assert key not in str(caught.value)
    monkeypatch.setenv("DEEPREC_API_KEY", key)
    with pytest.raises(ConfigError, match="The API key in DEEPREC_API_KEY"):
        make_chat_model("http://host", "base")


@pytest.mark.parametrize("settings", [{"timeout_s": 0}, {"max_retries": -1}, {"retry_wait_s": -1}])
def test_limits_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        client("http://host", **settings)


async def test_a_prompt_must_have_tokens_and_one_kind_of_guidance(server: Scripted) -> None:
    async with client(server.url) as policy:
        with pytest.raises(ConfigError, match="at least one token"):
            await policy.complete([], sampling=SAMPLING)
        with pytest.raises(ConfigError, match="not to both"):
            await policy.complete(PROMPT, sampling=SAMPLING, regex="a", choices=["a"])
        await policy.complete(PROMPT, sampling=SAMPLING, choices=["a", "b"])
    [(_, body, _)] = server.requests
    assert body["structured_outputs"] == {"choice": ["a", "b"]}


def test_every_failure_is_a_mistake_that_the_command_line_can_tell() -> None:
    assert issubclass(PolicyRejectedError, PolicyError)
    assert issubclass(PolicyUnavailableError, PolicyError)
    assert issubclass(PolicyError, DeepRecError)


CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "base",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
}


async def test_the_chat_model_retries_within_its_bound(server: Scripted) -> None:
    model = make_chat_model(server.url, "base", api_key="key-2", temperature=0.5, top_p=0.9, max_retries=1)
    server.answers = [(503, {}, {"retry-after-ms": "10"}), (200, CHAT, {})]
    assert (await model.ainvoke("Hi")).content == "Hello"
    [_, (path, body, headers)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer key-2"
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)
    assert not {"max_completion_tokens", "logprobs", "seed"} & set(body)  # not every server takes them
    server.answer(400, {"error": {"message": "no"}})
    with pytest.raises(Exception, match="400"):
        await model.ainvoke("Hi")
    assert len(server.requests) == 3
    await model.root_async_client.close()
    model.root_client.close()


async def test_the_chat_model_asks_for_logprobs_on_demand(server: Scripted) -> None:
    server.answer(200, CHAT)
    model = make_chat_model(server.url, "base", logprobs=True)
    await model.ainvoke("Hi")
    assert server.requests[0][1]["logprobs"] is True
    await model.root_async_client.close()
    model.root_client.close()


@pytest.mark.parametrize("parent", ["base", "org/base-as-it-was-loaded"])
async def test_an_adapter_that_is_named_as_the_model_is_asked_as_an_adapter(server: Scripted, parent: str) -> None:
    """Traces name the base model and the adapter, however it was asked for."""
    server.answer(200, {"data": [CARDS["data"][0], {"id": "base-v2", "parent": parent}]})
    async with CompletionPolicy(server.url, "base-v2") as policy:
        served = await policy.connect()
        assert (policy.model, policy.adapter, served.name, served.max_model_len) == ("base", "base-v2", "base-v2", 64)


@asynccontextmanager
async def chat_model(url: str) -> AsyncIterator[Any]:
    chat = make_chat_model(url, "base", max_retries=0)
    try:
        yield chat
    finally:
        await chat.root_async_client.close()
        chat.root_client.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_another_origin_is_refused_and_nothing_is_sent_there(server: Scripted, status: int) -> None:
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.answer(status, "", Location=f"{elsewhere}/v1/completions")
    with pytest.raises(PolicyRejectedError, match=r"another origin, http://localhost"):
        await complete(server, max_retries=2)
    assert len(server.requests) == 1
    async with chat_model(server.url) as chat:
        with pytest.raises(openai.OpenAIError, match="another origin"):
            await chat.ainvoke("hi")
        with pytest.raises(openai.OpenAIError, match="another origin"):
            chat.invoke("hi")
    assert len(server.requests) == 3


async def test_a_redirect_within_the_server_is_followed(server: Scripted) -> None:
    server.answers = [(307, "", {"Location": "/moved"}), (200, good(), {})]
    assert (await complete(server)).text == "ab"
    assert [path for path, *_ in server.requests] == ["/v1/completions", "/moved"]


@pytest.mark.parametrize("packed", [False, True])
async def test_an_endless_answer_is_not_read_to_its_end(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr("deeprec.agent.policy.http_clients.MAX_ANSWER_BYTES", 100_000)
    long = json.dumps(good(text="a" * 2_000_000))
    data = gzip.compress(long.encode()).decode("latin-1") if packed else long
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(data))} if packed else {}
    server.answers = [(200, data, headers)]
    server.encoding = "latin-1"
    with pytest.raises(PolicyUnavailableError, match="over 100,000 bytes, the most that is read"):
        await complete(server, max_retries=0)
    async with chat_model(server.url) as chat:
        with pytest.raises(openai.OpenAIError, match="over 100,000 bytes"):
            await chat.ainvoke("hi")
        with pytest.raises(openai.OpenAIError, match="over 100,000 bytes"):
            chat.invoke("hi")


async def test_a_compressed_answer_is_read(server: Scripted) -> None:
    data = gzip.compress(json.dumps(good()).encode())
    server.encoding = "latin-1"
    server.answers = [(200, data.decode("latin-1"), {"Content-Encoding": "gzip", "Content-Length": str(len(data))})]
    assert (await complete(server)).text == "ab"


async def test_a_password_in_the_address_is_sent_and_never_shown(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = server.url.replace("://", "://me:p%40ss@")
    with pytest.raises(ConfigError) as refused:
        CompletionPolicy(url.replace("http", "ftp"))
    async with client(url, max_retries=1) as policy:
        assert (await policy.complete(PROMPT, sampling=SAMPLING)).text == "ab"
        assert server.requests[-1][2]["authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
        server.answer(500, {"error": {"message": "engine is busy"}})
        with pytest.raises(PolicyUnavailableError) as failed:
            await policy.complete(PROMPT, sampling=SAMPLING)
    async with chat_model(url) as chat:
        with pytest.raises(openai.InternalServerError, match="busy"):
            await chat.ainvoke("hi")
    assert server.requests[-1][2]["authorization"].startswith("Basic ")
    assert "/v1/completions" in caplog.text
    for shown in (caplog.text, str(refused.value), str(failed.value), policy.base_url, repr(chat)):
        assert "p%40ss" not in shown
        assert "p@ss" not in shown


async def test_a_server_that_takes_no_connection_is_not_waited_for_as_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deeprec.agent.policy.openai_endpoint.CONNECT_S", 0.2)
    with ExitStack() as opened:
        full = opened.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # what is waiting already leaves no room for one more
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        async with CompletionPolicy(f"http://127.0.0.1:{full.getsockname()[1]}", max_retries=0) as policy:
            started = time.monotonic()
            with pytest.raises(PolicyUnavailableError, match="cannot be reached"):
                await policy.connect()
            assert time.monotonic() - started < 30
