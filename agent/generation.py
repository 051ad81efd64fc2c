"""Sampling from a transformers model, several requests at once: what a server without vLLM answers with.

Requests that wait together make a batch; whoever is done leaves it and is answered at once. Nothing is kept between
requests, so a prompt is read anew each time. vLLM does all of this better; this runs where vLLM does not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Any

import numpy as np
import torch

from deeprec.agent.lora import LoraLayer, LoraSwitch, read_adapter
from deeprec.trm_tool.errors import DeepRecError

_GATHER_S = 0.01
"""How long the first request of a batch waits for others: agents that act together ask within milliseconds."""
_CONTEXT_TOKENS = 8
"""Tokens of the prompt that are decoded with a completion: some tokenizers write a word's space by what is before."""
_KEPT_ADAPTERS = 4
"""Adapters that are kept in memory; one that was put out is read again from its folder."""


class GenerationError(DeepRecError):
    """A request that cannot be answered, as a client's mistake (status 400)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to continue, and how."""

    prompt: Sequence[int]
    """Token ids, not empty."""
    max_tokens: int
    temperature: float = 1.0
    """0 takes the likeliest token each time."""
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    """Strings that end the completion; the one that did stays in it."""
    regex: str | None = None
    """The whole completion matches this."""
    adapter: str | None = None
    """The name of an adapter that was added; None is the base model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What was written, with one natural log-probability per token under the distribution it was sampled from."""

    token_ids: list[int]
    logprobs: list[float]
    text: str
    """Without special tokens, cut after a stop string."""
    finish_reason: str
    """"stop" or "length"."""


class Generator:
    """A causal language model that answers requests from any thread, in batches, in a thread of its own.

    Args:
        model: a transformers model, on its device.
        tokenizer: the model's own, a fast one.
        max_batch: requests that are answered at once; others wait.
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_batch: int = 32) -> None:
        text = model.config.get_text_config()
        self.tokenizer = tokenizer
        self.context: int = text.max_position_embeddings
        self._vocabulary: int = text.vocab_size
        self._ends = _end_tokens(model, tokenizer)
        self._max_batch = max_batch
        self._model = model.eval()
        self._adapters = _Adapters(model)
        self._waiting: deque[_Row] = deque()
        self._arrived = Condition()
        self._model_lock = Lock()  # held while a batch is answered, and while an adapter is read
        self._guidance: Any = None
        self._grammar = lru_cache(maxsize=64)(self._compiled)
        Thread(target=self._answer_all, name="generation", daemon=True).start()

    @property
    def adapters(self) -> list[str]:
        """The names of the adapters that were added."""
        return list(self._adapters.folders)

    def add_adapter(self, name: str, folder: Path) -> None:
        """Read a LoRA adapter, which requests may ask for from now on.

        Raises:
            GenerationError: the name is taken.
            ConfigError: the folder has no adapter for this model.
        """
        with self._model_lock:
            self._adapters.add(name, folder)

    def submit(self, request: Request) -> Future[Generated]:
        """Have a request answered.

        Raises:
            GenerationError: the prompt is empty or too long, a token id is not the model's, the adapter is not there,
                or the regular expression cannot be read.
        """
        wanted = len(request.prompt) + request.max_tokens
        if not request.prompt:
            raise GenerationError("The prompt has no token.")
        if wanted > self.context:
            raise GenerationError(
                f"The prompt of {len(request.prompt)} tokens and the {request.max_tokens} asked for are {wanted}; the "
                f"model reads {self.context}."
            )
        if max(request.prompt) >= self._vocabulary or min(request.prompt) < 0:
            raise GenerationError(f"A token id lies outside the model's vocabulary of {self._vocabulary}.")
        if request.adapter is not None and request.adapter not in self._adapters.folders:
            raise GenerationError(f"There is no adapter {request.adapter!r}; there are {self.adapters or 'none'}.")
        grammar = None if request.regex is None else self._grammar(request.regex).deep_copy()
        row = _Row(request, grammar)
        with self._arrived:
            self._waiting.append(row)
            self._arrived.notify()
        return row.answer

    def _answer_all(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting)
            time.sleep(_GATHER_S)
            with self._arrived:
                adapter = self._waiting[0].request.adapter
                batch = [row for row in self._waiting if row.request.adapter == adapter][: self._max_batch]
                taken = {id(row) for row in batch}
                self._waiting = deque(row for row in self._waiting if id(row) not in taken)
            try:
                with self._model_lock, torch.inference_mode():
                    self._adapters.use(adapter)
                    self._answer(batch)
            except Exception as error:  # out of memory, say: the requests fail, the server goes on
                for row in batch:
                    if not row.answer.done():
                        row.answer.set_exception(error)

    def _answer(self, rows: list[_Row]) -> None:
        """Write until every row has ended. Prompts are padded on the left, so that all rows end at one column."""
        device = self._model.device
        longest = max(len(row.request.prompt) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, longest - len(row.request.prompt) :] = torch.tensor(row.request.prompt)
            mask[at, longest - len(row.request.prompt) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = None
        while rows:
            out = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            tokens, logprobs = self._sample(out.logits[:, -1].float(), rows)
            left = [at for at, row in enumerate(rows) if not self._take(row, tokens[at], logprobs[at])]
            if len(left) < len(rows):
                rows = [rows[at] for at in left]
                kept = torch.tensor(left, dtype=torch.long, device=device)
                mask = mask[kept]
                if rows:
                    cache.batch_select_indices(kept)
            ids = torch.tensor([[tokens[at]] for at in left], dtype=torch.long, device=device)
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            positions = mask.sum(-1, keepdim=True) - 1

    def _sample(self, logits: torch.Tensor, rows: Sequence[_Row]) -> tuple[list[int], list[float]]:
        """A token for each row, and its log-probability after temperature, top-p and grammar."""
        temperatures = torch.tensor([row.request.temperature or 1.0 for row in rows], device=logits.device)
        logits = logits / temperatures[:, None]
        if any(row.grammar is not None for row in rows):
            allowed = np.ones(logits.shape, dtype=bool)
            for at, row in enumerate(rows):
                if row.grammar is not None:
                    allowed[at] = _allowed(row.grammar, logits.shape[1])
            logits = logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)
        top_p = torch.tensor([row.request.top_p for row in rows], device=logits.device)
        if bool((top_p < 1).any()):
            logits = _nucleus(logits, top_p)
        logprobs = logits.log_softmax(-1)
        drawn = torch.tensor([row.random.random() for row in rows], dtype=torch.float64, device=logits.device)
        cumulative = logprobs.double().exp().cumsum(-1)
        sampled = torch.searchsorted(cumulative, (drawn * cumulative[:, -1])[:, None], right=True)[:, 0]
        greedy = torch.tensor([row.request.temperature == 0 for row in rows], device=logits.device)
        tokens = torch.where(greedy, logprobs.argmax(-1), sampled.clamp(max=logits.shape[1] - 1))
        return tokens.tolist(), logprobs.gather(1, tokens[:, None])[:, 0].tolist()

    def _take(self, row: _Row, token: int, logprob: float) -> bool:
        """Note a row's next token; whether the row has ended, and so was answered."""
        row.token_ids.append(token)
        row.logprobs.append(logprob)
        if row.grammar is not None:
            row.grammar.consume_token(token)
        text = self._new_text(row, row.longest_stop)
        stopped = token in self._ends or any(stop in text for stop in row.request.stop)
        if not stopped and len(row.token_ids) < row.request.max_tokens:
            return False
        whole = self._new_text(row)
        ends = [whole.index(stop) + len(stop) for stop in row.request.stop if stop in whole]
        row.answer.set_result(
            Generated(
                token_ids=row.token_ids,
                logprobs=row.logprobs,
                text=whole[: min(ends, default=None)],
                finish_reason="stop" if stopped else "length",
            )
        )
        return True

    def _new_text(self, row: _Row, last: int | None = None) -> str:
        """A completion's text, or that of its last tokens, special tokens left out."""
        chain = [*row.request.prompt[-_CONTEXT_TOKENS:], *row.token_ids]
        new = len(row.token_ids) if last is None else min(last, len(row.token_ids))
        before = chain[: len(chain) - new][-_CONTEXT_TOKENS:]
        told = self._decode([*before, *chain[len(chain) - new :]])
        return told[len(self._decode(before)) :]

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _compiled(self, regex: str) -> Any:
        try:
            from llguidance import LLMatcher
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise GenerationError(
                "Guided requests need llguidance here. Install it with: pip install 'deeprec-agent[serve]'"
            ) from error
        if self._guidance is None:
            self._guidance = from_tokenizer(self.tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)
        grammar = LLMatcher(self._guidance, LLMatcher.grammar_from_regex(regex))
        if grammar.is_error():
            raise GenerationError(f"The regular expression cannot be used: {grammar.get_error()[:300]}")
        return grammar


@dataclass(slots=True, eq=False)
class _Row:
    """A request that is being answered."""

    request: Request
    grammar: Any
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    answer: Future[Generated] = field(default_factory=Future)
    random: np.random.Generator = field(init=False)
    longest_stop: int = field(init=False)
    """In tokens, at most: a token has a byte or more."""

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.request.seed)
        self.longest_stop = max((len(stop.encode()) for stop in self.request.stop), default=0) + 1


class _Adapters:
    """The adapters of one model by name; those used last are in memory."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._switch = LoraSwitch(model)
        self._read: dict[str, dict[str, LoraLayer]] = {}  # the one that was used last is last
        self.folders: dict[str, Path] = {}

    def add(self, name: str, folder: Path) -> None:
        if name in self.folders:
            raise GenerationError(f"The adapter {name!r} is loaded already; new weights need a new name.")
        self._keep(name, read_adapter(folder, self._model))
        self.folders[name] = folder

    def use(self, name: str | None) -> None:
        if name is None:
            self._switch.put_on(None)
            return
        layers = self._read.pop(name, None) or read_adapter(self.folders[name], self._model)
        self._keep(name, layers)
        self._switch.put_on(layers)

    def _keep(self, name: str, layers: dict[str, LoraLayer]) -> None:
        self._read[name] = layers
        if len(self._read) > _KEPT_ADAPTERS:
            del self._read[next(iter(self._read))]


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a turn, as the model's settings and its tokenizer name them."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = list(named) if isinstance(named, list | tuple) else [named]
    return sorted({end for end in (*ends, tokenizer.eos_token_id) if end is not None})


def _allowed(grammar: Any, vocabulary: int) -> np.ndarray:
    """Which tokens may come next, as booleans of shape (vocabulary,)."""
    bits = np.unpackbits(np.frombuffer(grammar.compute_bitmask(), dtype=np.uint8), bitorder="little")
    allowed = np.zeros(vocabulary, dtype=bool)
    allowed[: bits.size] = bits[:vocabulary]
    return allowed


def _nucleus(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keep each row's likeliest tokens until their probabilities add up to its `top_p`, the one that reaches it too."""
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, before >= top_p[:, None])
    return logits.masked_fill(dropped, -torch.inf)
