"""A model server with the part of vLLM's API that the tagged protocol and the training use, run by transformers.

It serves machines where vLLM is not installed: `deeprec llm serve --engine transformers`. Only vLLM has tools and chat.
`python -m deeprec.agent.serving.transformers_server --model FOLDER --port PORT` is the server itself.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from jinja2 import TemplateError
from pydantic import BaseModel, Field, ValidationError

from deeprec.agent.policy.weight_fingerprints import fingerprint_base
from deeprec.agent.serving.generation import GenerationError, Generator, Request
from deeprec.agent.serving.server_process import Dtype, check_key_for
from deeprec.trm_tool.errors import ConfigError, unlabelled

_LONGEST_BODY = 32 * 2**20
_POLL_S = 0.5
"""Seconds between two checks of whether a client still waits."""
_IDLE_S = 600
"""Seconds that a connection may be silent."""
_TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=2**20)]


class _StructuredOutputs(BaseModel):
    regex: str | None = Field(default=None, max_length=100_000)
    choice: list[str] | None = Field(default=None, min_length=1)

    def pattern(self) -> str | None:
        if self.choice is not None:
            return "|".join(re.escape(choice) for choice in self.choice)
        return self.regex


class _Completion(BaseModel):
    model: str
    prompt: _TokenIds
    max_tokens: int = Field(default=16, ge=1)
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0)
    stop: list[str] = Field(default=[], max_length=64)
    structured_outputs: _StructuredOutputs = _StructuredOutputs()


class _Message(BaseModel):
    role: str
    content: str


class _Tokenize(BaseModel):
    prompt: str | None = None
    messages: list[_Message] | None = None
    add_special_tokens: bool = False
    add_generation_prompt: bool = True


class _Detokenize(BaseModel):
    tokens: _TokenIds


class _LoadAdapter(BaseModel):
    lora_name: str = Field(min_length=1, max_length=200)
    lora_path: str = Field(min_length=1)


class _Routes:
    """What each address answers: a body, and whether the client still waits, in; what JSON can hold out."""

    def __init__(self, generator: Generator, name: str) -> None:
        self._generator = generator
        self._name = name
        self.posts: Mapping[str, Callable[[bytes, Callable[[], bool]], Any]] = {
            "/v1/completions": self.complete,
            "/v1/load_lora_adapter": self.load_adapter,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
        }

    def health(self) -> tuple[int, dict[str, Any]]:
        """Answer whether requests can be answered."""
        failure = self._generator.failure
        return (200, {}) if failure is None else (503, _problem(503, str(failure)))

    def models(self) -> dict[str, Any]:
        """The model, and the adapters as its children."""
        card = {"id": self._name, "object": "model", "parent": None, "max_model_len": self._generator.context}
        card |= {"fingerprint": self._generator.fingerprint}
        adapters = [
            {"id": name, "object": "model", "parent": self._name, "root": str(folder), "fingerprint": fingerprint}
            for name, (folder, fingerprint) in self._generator.adapters.items()
        ]
        return {"object": "list", "data": [card, *adapters]}

    def complete(self, body: bytes, is_waiting: Callable[[], bool]) -> dict[str, Any]:
        asked = _Completion.model_validate_json(body)
        request = Request(
            prompt=asked.prompt,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=asked.seed,
            stop=[stop for stop in asked.stop if stop],
            regex=asked.structured_outputs.pattern(),
            adapter=None if asked.model == self._name else asked.model,
        )
        answer = self._generator.submit(request)
        while not answer.done():
            wait([answer], timeout=_POLL_S)
            if not is_waiting():
                answer.cancel()
                raise ConnectionAbortedError("the client went away")
        done = answer.result()
        choice = {
            "index": 0,
            "text": done.text,
            "finish_reason": done.finish_reason,
            "token_ids": done.token_ids,
            "prompt_token_ids": asked.prompt,
            "logprobs": {"token_logprobs": done.logprobs},
        }
        return {"object": "text_completion", "model": asked.model, "choices": [choice]}

    def tokenize(self, body: bytes, _: Callable[[], bool]) -> dict[str, Any]:
        asked = _Tokenize.model_validate_json(body)
        if (asked.prompt is None) == (asked.messages is None):
            raise GenerationError("Give a prompt or messages.")
        tokenizer = self._generator.tokenizer
        if asked.messages is None:
            ids = tokenizer(asked.prompt, add_special_tokens=asked.add_special_tokens)["input_ids"]
        else:
            messages = [message.model_dump() for message in asked.messages]
            try:
                ids = tokenizer.apply_chat_template(
                    messages, add_generation_prompt=asked.add_generation_prompt, return_dict=True
                )["input_ids"]
            except (ValueError, TemplateError) as error:  # there is no template, or it refuses a role
                raise GenerationError(f"The model's chat template cannot be used: {str(error)[:300]}") from error
        return {"tokens": ids, "count": len(ids), "max_model_len": self._generator.context}

    def detokenize(self, body: bytes, _: Callable[[], bool]) -> dict[str, Any]:
        tokens = _Detokenize.model_validate_json(body).tokens
        self._generator.check_tokens(tokens)
        return {"prompt": self._generator.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)}

    def load_adapter(self, body: bytes, _: Callable[[], bool]) -> str:
        asked = _LoadAdapter.model_validate_json(body)
        self._generator.add_adapter(asked.lora_name, Path(asked.lora_path))
        return f"Success: LoRA adapter '{asked.lora_name}' added successfully."


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    """Agents that start together connect together."""


def _handler(routes: _Routes, key: str | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout: ClassVar[int] = _IDLE_S
        wbufsize: ClassVar[int] = -1  # an answer goes out in one piece

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            if self.path == "/health":
                self._answer(*routes.health())
            elif self.path != "/v1/models":
                self._refuse(404, f"There is nothing at {self.path}.")
            elif self._has_key():
                self._answer(200, routes.models())

        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if not size.isdecimal() or int(size) > _LONGEST_BODY:
                self.close_connection = True
                self._refuse(413, f"A body of at most {_LONGEST_BODY} bytes with its Content-Length is needed.")
                return
            body = self.rfile.read(int(size))
            route = routes.posts.get(self.path)
            if self.headers.get_content_type() != "application/json":  # which a page in a browser cannot send here
                self._refuse(415, "The body has to be application/json.")
            elif route is None:
                self._refuse(404, f"There is nothing at {self.path}; a transformers server has no chat and no tools.")
            elif self._has_key():
                self._answer(*self._answer_of(route, body))

        def _answer_of(self, route: Callable[[bytes, Callable[[], bool]], Any], body: bytes) -> tuple[int, Any]:
            try:
                return 200, route(body, self._is_waiting)
            except ValidationError as error:
                first = error.errors()[0]
                return 400, _problem(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {unlabelled(first['msg'])}")
            except (GenerationError, ConfigError) as error:
                return 400, _problem(400, str(error))
            except ConnectionError:
                self.close_connection = True
                return 499, _problem(499, "Nobody waits for this.")
            except Exception as error:
                print(f"{self.path}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                return 500, _problem(500, f"{type(error).__name__}: {str(error)[:300]}")

        def _is_waiting(self) -> bool:
            events = select.poll()
            events.register(self.connection, select.POLLIN)
            return not events.poll(0) or bool(self.connection.recv(1, socket.MSG_PEEK))

        def _has_key(self) -> bool:
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if key is None or hmac.compare_digest(given.encode(), key.encode()):
                return True
            self._refuse(401, "The key is missing or wrong.")
            return False

        def _refuse(self, status: int, message: str) -> None:
            self._answer(status, _problem(status, message))

        def _answer(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if self.close_connection:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()
            except ConnectionError:
                self.close_connection = True

    return Handler


def _problem(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "code": status}}


def make_http_server(generator: Generator, name: str, *, host: str, port: int, key: str | None) -> ThreadingHTTPServer:
    """The routes of one model, bound to a port (0 takes a free one). `key` is asked of all but `/health`."""
    _HttpServer.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _HttpServer((host, port), _handler(_Routes(generator, name), key))


def serve(
    model: str,
    name: str,
    *,
    host: str,
    port: int,
    max_num_seqs: int,
    max_model_len: int | None,
    dtype: Dtype,
    key: str | None,
) -> None:
    """Serve a model until SIGTERM or Ctrl-C. `auto` is float32 on a CPU, and as the weights are stored on a GPU."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print("loading the weights", flush=True)
    on_gpu = torch.cuda.is_available()
    computed = torch.float32 if dtype == "auto" and not on_gpu else dtype
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=computed, use_safetensors=True)
    loaded = loaded.to("cuda" if on_gpu else "cpu")
    generator = Generator(loaded, AutoTokenizer.from_pretrained(model), max_batch=max_num_seqs)
    if max_model_len is not None:
        generator.context = min(generator.context, max_model_len)
    generator.fingerprint = fingerprint_base(model, loaded.config)
    with make_http_server(generator, name, host=host, port=port, key=key) as http:
        # At once: an interpreter that is taken down under a thread that computes may crash on its way.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        print(f"serving {name} on {'a GPU' if on_gpu else 'the CPU'}", flush=True)
        http.serve_forever()


def main() -> None:
    """Read the command line and serve; the key is in the environment's DEEPREC_API_KEY, so that no listing shows it."""
    parser = argparse.ArgumentParser(prog="deeprec.agent.serving.transformers_server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-num-seqs", type=int, default=32)
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--dtype", default="auto", choices=get_args(Dtype))
    asked = parser.parse_args()
    key = os.environ.get("DEEPREC_API_KEY") or None
    check_key_for(asked.host, key)
    serve(
        asked.model,
        asked.name,
        host=asked.host,
        port=asked.port,
        max_num_seqs=asked.max_num_seqs,
        max_model_len=asked.max_model_len,
        dtype=asked.dtype,
        key=key,
    )


if __name__ == "__main__":
    main()
