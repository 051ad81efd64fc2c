"""The part of vLLM's API that the tagged protocol and the training use, answered by transformers.

For machines where vLLM is not installed: `deeprec llm serve --engine transformers`. Tools and chat are vLLM's alone.
`python -m deeprec.agent.transformers_server --model FOLDER --port PORT` is the server itself.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, ValidationError

from deeprec.agent.generation import GenerationError, Generator, Request
from deeprec.agent.server_process import ServerProcess
from deeprec.trm_tool.errors import ConfigError

_LONGEST_BODY = 32 * 2**20
_REQUEST_S = 3600
"""A request that nobody could still wait for."""
_TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=2**20)]


class TransformersServer(ServerProcess):
    """A model served by transformers in a process of its own, on a CUDA GPU where there is one.

    Arguments as for `ServerProcess`.
    """

    engine = "transformers"
    stages = (
        (re.compile(r"^loading the weights"), "loading the weights"),
        (re.compile(r"^serving"), "opening the routes"),
    )

    def _interpreter(self) -> Path:
        return Path(sys.executable)

    def _flags(self) -> list[str]:
        flags = ["-m", "deeprec.agent.transformers_server", "--model", str(self.model), "--name", self.model_name]
        flags += ["--host", self.host, "--port", str(self.port), "--max-num-seqs", str(self._max_num_seqs)]
        if self._max_model_len is not None:
            flags += ["--max-model-len", str(self._max_model_len)]
        return flags

    def _environment(self) -> dict[str, str]:
        env = dict(os.environ)
        env.pop("DEEPREC_API_KEY", None)
        env.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin slow a trainer beside it ten times
        if self._api_key:
            env["DEEPREC_API_KEY"] = self._api_key
        if self._folder is not None:
            env.setdefault("HF_HUB_OFFLINE", "1")
        return env


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
    """What each address answers: a body in, a JSON object or a text out."""

    def __init__(self, generator: Generator, name: str) -> None:
        self._generator = generator
        self._name = name
        self.posts: Mapping[str, Callable[[bytes], Any]] = {
            "/v1/completions": self.complete,
            "/v1/load_lora_adapter": self.load_adapter,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
        }

    def models(self) -> dict[str, Any]:
        """The model, and the adapters as its children."""
        card = {"id": self._name, "object": "model", "parent": None, "max_model_len": self._generator.context}
        adapters = [{"id": name, "object": "model", "parent": self._name} for name in self._generator.adapters]
        return {"object": "list", "data": [card, *adapters]}

    def complete(self, body: bytes) -> dict[str, Any]:
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
        done = self._generator.submit(request).result(timeout=_REQUEST_S)
        choice = {
            "index": 0,
            "text": done.text,
            "finish_reason": done.finish_reason,
            "token_ids": done.token_ids,
            "prompt_token_ids": asked.prompt,
            "logprobs": {"token_logprobs": done.logprobs},
        }
        return {"object": "text_completion", "model": asked.model, "choices": [choice]}

    def tokenize(self, body: bytes) -> dict[str, Any]:
        asked = _Tokenize.model_validate_json(body)
        if (asked.prompt is None) == (asked.messages is None):
            raise GenerationError("Give a prompt or messages.")
        tokenizer = self._generator.tokenizer
        if asked.messages is None:
            ids = tokenizer(asked.prompt, add_special_tokens=asked.add_special_tokens)["input_ids"]
        else:
            messages = [message.model_dump() for message in asked.messages]
            ids = tokenizer.apply_chat_template(
                messages, add_generation_prompt=asked.add_generation_prompt, return_dict=True
            )["input_ids"]
        return {"tokens": ids, "count": len(ids), "max_model_len": self._generator.context}

    def detokenize(self, body: bytes) -> dict[str, Any]:
        tokens = _Detokenize.model_validate_json(body).tokens
        return {"prompt": self._generator.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)}

    def load_adapter(self, body: bytes) -> str:
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
        timeout: ClassVar[int] = _REQUEST_S

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            if self.path == "/health":
                self._answer(200, {})
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
                try:
                    self._answer(200, route(body))
                except ValidationError as error:
                    first = error.errors()[0]
                    self._refuse(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}")
                except (GenerationError, ConfigError) as error:
                    self._refuse(400, str(error))
                except Exception as error:
                    print(f"{self.path}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    self._refuse(500, f"{type(error).__name__}: {str(error)[:300]}")

        def _has_key(self) -> bool:
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if key is None or hmac.compare_digest(given.encode(), key.encode()):
                return True
            self._refuse(401, "The key is missing or wrong.")
            return False

        def _refuse(self, status: int, message: str) -> None:
            self._answer(status, {"error": {"message": message, "type": "BadRequestError", "code": status}})

        def _answer(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def make_http_server(generator: Generator, name: str, *, host: str, port: int, key: str | None) -> ThreadingHTTPServer:
    """The routes of one model, bound to a port (0 takes a free one). `key` is asked of all but `/health`."""
    _HttpServer.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _HttpServer((host, port), _handler(_Routes(generator, name), key))


def serve(
    model: str, name: str, *, host: str, port: int, max_num_seqs: int, max_model_len: int | None, key: str | None
) -> None:
    """Serve a model until SIGTERM or Ctrl-C. On a CPU the weights are float32, on a GPU as they are stored."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print("loading the weights", flush=True)
    on_gpu = torch.cuda.is_available()
    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype="auto" if on_gpu else torch.float32, use_safetensors=True
    ).to("cuda" if on_gpu else "cpu")
    generator = Generator(loaded, AutoTokenizer.from_pretrained(model), max_batch=max_num_seqs)
    if max_model_len is not None:
        generator.context = min(generator.context, max_model_len)
    with make_http_server(generator, name, host=host, port=port, key=key) as http:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print(f"serving {name} on {'a GPU' if on_gpu else 'the CPU'}", flush=True)
        http.serve_forever()


def main() -> None:
    """Read the command line and serve; the key is in the environment's DEEPREC_API_KEY, so that no listing shows it."""
    parser = argparse.ArgumentParser(prog="deeprec.agent.transformers_server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-num-seqs", type=int, default=32)
    parser.add_argument("--max-model-len", type=int)
    asked = parser.parse_args()
    serve(
        asked.model,
        asked.name,
        host=asked.host,
        port=asked.port,
        max_num_seqs=asked.max_num_seqs,
        max_model_len=asked.max_model_len,
        key=os.environ.get("DEEPREC_API_KEY"),
    )


if __name__ == "__main__":
    main()
