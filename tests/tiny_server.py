"""A real HTTP server that speaks vLLM's API over a random two-layer Llama with byte tokens.

It samples from the model, from a regular expression (guided requests), or answers with the next line of a script.
Sampling follows a request's seed.
Logprobs are always the Llama's own, so that a trainer's can be compared with them.
"""

from __future__ import annotations

import copy
import json
import random
import re._constants as sre
import re._parser as sre_parser
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

BOS, EOS = 256, 257
MODEL = "tiny"


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16_384,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    return LlamaForCausalLM(config).eval()


def encode(text: str) -> list[int]:
    return list(text.encode())


def decode(ids: list[int]) -> str:
    return bytes(token for token in ids if token < 256).decode(errors="replace")


def sample_regex(pattern: str, rng: random.Random) -> str:
    """A random text that a regular expression matches."""
    return _sample(sre_parser.parse(pattern), rng)


def _sample(parsed: Any, rng: random.Random) -> str:
    parts = []
    for op, value in parsed:
        if op is sre.LITERAL:
            parts.append(chr(value))
        elif op is sre.IN:
            choices = []
            for kind, chars in value:
                low, high = (chars, chars) if kind is sre.LITERAL else chars
                choices += [chr(char) for char in range(low, high + 1)]
            parts.append(rng.choice(choices))
        elif op is sre.BRANCH:
            parts.append(_sample(rng.choice(value[1]), rng))
        elif op is sre.SUBPATTERN:
            parts.append(_sample(value[-1], rng))
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, inner = value
            parts += [_sample(inner, rng) for _ in range(rng.randint(low, min(high, low + 8)))]
        else:
            raise NotImplementedError(op)
    return "".join(parts)


class TinyServer:
    """`script` holds what the next completions answer: a text, or a callable that writes the whole HTTP answer."""

    def __init__(self) -> None:
        self.model = tiny_llama()
        self.max_model_len = 8192
        self.script: list[Any] = []
        self.requests: list[dict[str, Any]] = []
        self.rng = random.Random(0)
        self.lock = threading.Lock()
        self.adapters: dict[str, Any] = {}
        self.roots: dict[str, str] = {}
        self.root = MODEL
        self.logprobs_mode = "processed"
        self.writer: Callable[[str, random.Random], str] | None = None  # prompt -> what a free completion says
        self.base_url = ""
        self.is_gone = False
        self.close: Callable[[], None] = lambda: None

    def load_adapter(self, body: dict[str, Any]) -> tuple[int, Any]:
        """As vLLM does: a name is loaded once."""
        from peft import PeftModel

        name = body["lora_name"]
        if name in self.adapters:
            return 400, {"message": f"The lora adapter '{name}' has already been loaded."}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            self.adapters[name] = PeftModel.from_pretrained(copy.deepcopy(self.model), body["lora_path"]).eval()
        self.roots[name] = body["lora_path"]
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    @torch.no_grad()
    def logprobs(self, prompt: list[int], completion: list[int], name: str = MODEL) -> list[float]:
        ids = torch.tensor([[*prompt, *completion]])
        logits = self.adapters.get(name, self.model)(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return [float(logits[at, token]) for at, token in enumerate(completion)]

    @torch.no_grad()
    def sample(self, prompt: list[int], max_tokens: int, rng: random.Random, name: str) -> list[int]:
        model = self.adapters.get(name, self.model)
        ids, past = torch.tensor([prompt]), None
        chosen: list[int] = []
        generator = torch.Generator().manual_seed(rng.randrange(2**31))
        while len(chosen) < max_tokens and EOS not in chosen:
            out = model(ids, past_key_values=past, use_cache=True)
            past = out.past_key_values
            token = int(torch.multinomial(out.logits[0, -1].softmax(-1), 1, generator=generator))
            chosen.append(token)
            ids = torch.tensor([[token]])
        return chosen

    @torch.no_grad()
    def likeliest(self, body: dict[str, Any]) -> dict[str, Any]:
        """One token of a nucleus of one, with its log-probability before or after the filter."""
        logits = self.model(torch.tensor([body["prompt"]])).logits[0, -1].log_softmax(-1)
        token = int(logits.argmax())
        logprob = 0.0 if self.logprobs_mode == "processed" else float(logits[token])
        choice = {
            "index": 0,
            "text": decode([token]),
            "finish_reason": "length",
            "token_ids": [token],
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": [logprob]},
        }
        return {**_envelope("text_completion"), "choices": [choice]}

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt, reason = body["prompt"], "stop"
        regex = (body.get("structured_outputs") or {}).get("regex")
        if self.script:
            ids = encode(self.script.pop(0))
        elif self.writer is not None and regex is None:
            ids = encode(self.writer(decode(prompt), self._rng(body)))
        elif regex is not None:
            ids = encode(sample_regex(regex, self._rng(body)))
        else:
            ids = self.sample(prompt, min(body["max_tokens"], 24), self._rng(body), body["model"])
        ids, reason = self._end(ids, body)
        choice = {
            "index": 0,
            "text": decode(ids),
            "finish_reason": reason,
            "token_ids": ids,
            "prompt_token_ids": prompt,
            "logprobs": {
                "tokens": [str(token) for token in ids],
                "token_logprobs": self.logprobs(prompt, ids, body["model"]) if ids else [],
                "top_logprobs": None,
                "text_offset": [0] * len(ids),
            },
        }
        return {**_envelope("text_completion"), "choices": [choice], "usage": _usage(len(prompt), len(ids))}

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        check_tool_answers(body["messages"])
        regex = (body.get("structured_outputs") or {}).get("regex")
        message: dict[str, Any] = {"role": "assistant", "content": None}
        if self.script:
            scripted = self.script.pop(0)
            message |= scripted if isinstance(scripted, dict) else {"content": scripted}
        elif regex is not None:
            message["content"] = sample_regex(regex, self._rng(body))
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**_envelope("chat.completion"), "choices": [choice], "usage": _usage(7, 5)}

    def _rng(self, body: dict[str, Any]) -> random.Random:
        """A request with a seed is answered the same each time."""
        return self.rng if body.get("seed") is None else random.Random(body["seed"])

    @staticmethod
    def _end(ids: list[int], body: dict[str, Any]) -> tuple[list[int], str]:
        stops = body.get("stop") or []
        text = decode(ids)
        ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
        if ends:
            ids = encode(text[: min(ends)])
        if len(ids) > body["max_tokens"]:
            return ids[: body["max_tokens"]], "length"
        return ids, "stop" if ends or EOS in ids or len(ids) < body["max_tokens"] else "length"


def check_tool_answers(messages: list[dict[str, Any]]) -> None:
    """The API's rule: each tool call is answered before anything else is said."""
    for at, message in enumerate(messages):
        asked = [call["id"] for call in message.get("tool_calls") or []]
        answers = [later.get("tool_call_id") for later in messages[at + 1 : at + 1 + len(asked)]]
        assert sorted(map(str, answers)) == sorted(map(str, asked)), "a tool call was not answered"


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "tiny-1", "object": kind, "created": 1, "model": MODEL}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _handler(server: TinyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None: ...

        def answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            card = {"id": MODEL, "object": "model", "max_model_len": server.max_model_len, "root": server.root}
            loaded = [
                {"id": name, "object": "model", "parent": MODEL, "root": server.roots.get(name)}
                for name in server.adapters
            ]
            self.answer(200, {"object": "list", "data": [card, *loaded]})

        def do_POST(self) -> None:
            if server.is_gone:
                self.connection.close()
                self.close_connection = True
                return
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                if body.get("top_p", 1) < 1e-3:  # `find_logprobs_mode`
                    self.answer(200, server.likeliest(body))
                    return
                if "prompt" not in body or body["prompt"] != "I":
                    server.requests.append({"path": self.path, **body})
                if self.path == "/tokenize":
                    if "messages" in body:
                        turns = [f"<{m['role']}>{m['content']}" for m in body["messages"]]
                        ids = [BOS, *encode("\n".join(turns) + "\n<assistant>")]
                    else:
                        ids = encode(body["prompt"])
                    self.answer(200, {"tokens": ids, "count": len(ids), "max_model_len": server.max_model_len})
                elif self.path == "/detokenize":
                    self.answer(200, {"prompt": decode(body["tokens"])})
                elif server.script and callable(server.script[0]):
                    server.script.pop(0)(self)
                elif self.path == "/v1/load_lora_adapter":
                    self.answer(*server.load_adapter(body))
                elif self.path == "/v1/completions":
                    self.answer(200, server.complete(body))
                else:
                    self.answer(200, server.chat(body))

    return Handler


@contextmanager
def serve_tiny() -> Iterator[TinyServer]:
    server = TinyServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.base_url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def close() -> None:
        server.is_gone = True  # connections that are kept alive have threads of their own
        http.shutdown()
        http.server_close()
        thread.join()

    server.close = close
    try:
        yield server
    finally:
        close()
