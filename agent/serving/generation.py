"""Generation with a transformers model, several requests at once, for a server without vLLM.

Requests that wait together make a batch; each is answered as soon as it has ended, and leaves the batch. No cache lives
longer than its request, so a prompt is computed again each time. vLLM does all of this better; this runs where vLLM
does not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.agent.serving.local_adapters import LoraLayer, LoraSwitch, read_adapter
from deeprec.agent.serving.token_sampling import sample_tokens
from deeprec.trm_tool.errors import DeepRecError

_GATHER_S = 0.01
"""Seconds that the first request of a batch waits for others: agents that act together ask within milliseconds."""
_BATCH_TOKENS = 65_536
"""Most padded tokens of a batch, prompts and completions, which bounds memory. A longer request is a batch alone."""
_CONTEXT_TOKENS = 8
"""Tokens of the prompt that are decoded with a completion: some tokenizers write a space only after other tokens."""
_KEPT_ADAPTERS = 4
"""Adapters that are kept in memory; one that was evicted is read again from its folder."""


class GenerationError(DeepRecError):
    """A request that cannot be answered, by a mistake of the client: sending it again would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: a prompt, and how to continue it."""

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
    """A regular expression that the whole completion has to match."""
    adapter: str | None = None
    """The name of an adapter that was added; None is the base model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A completion, with one natural log-probability per token under the distribution that it was sampled from."""

    token_ids: list[int]
    logprobs: list[float]
    text: str
    """The text without special tokens, cut after a stop string."""
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
        self.fingerprint: str | None = None
        """The fingerprint of the base model's weights, for clients to compare."""
        self.failure: Exception | None = None
        """The error after which no request is answered: a failed GPU stays so for as long as the process lives."""
        self._waiting: deque[SampledRow] = deque()
        self._arrived = Condition()
        self._guidance: Any = None
        self._grammar = lru_cache(maxsize=64)(self._compiled)
        Thread(target=self._answer_all, name="generation", daemon=True).start()

    @property
    def adapters(self) -> dict[str, tuple[Path, str]]:
        """Name -> the folder and the fingerprint of each adapter that was added."""
        return {name: (folder, self._adapters.fingerprints[name]) for name, folder in self._adapters.folders.items()}

    def add_adapter(self, name: str, folder: Path) -> None:
        """Read a LoRA adapter, which requests may ask for from now on.

        Raises:
            GenerationError: the name is taken.
            ConfigError: the folder has no adapter for this model.
        """
        self._adapters.add(name, folder)

    def submit(self, request: Request) -> Future[Generated]:
        """Queue a request. A client that does not wait for the answer any more cancels the future.

        Raises:
            GenerationError: the prompt is empty or too long, a token id is not the model's, the adapter is not there,
                or the regular expression cannot be read.
        """
        wanted = len(request.prompt) + request.max_tokens
        if not request.prompt:
            raise GenerationError("The prompt has no tokens. Send at least one.")
        if wanted > self.context:
            raise GenerationError(
                f"The prompt of {len(request.prompt)} tokens and the {request.max_tokens} asked for are {wanted}; the "
                f"model reads {self.context}."
            )
        self.check_tokens(request.prompt)
        if request.adapter is not None and request.adapter not in self._adapters.folders:
            raise GenerationError(f"There is no model or adapter {request.adapter!r}.")
        grammar = None if request.regex is None else self._grammar(request.regex)
        row = SampledRow(request, grammar)
        with self._arrived:
            self._waiting.append(row)
            self._arrived.notify()
        return row.answer

    def check_tokens(self, token_ids: Sequence[int]) -> None:
        """Raise GenerationError where a token id is not the model's."""
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self._vocabulary:
            raise GenerationError(f"A token id lies outside the model's vocabulary of {self._vocabulary}.")

    def _answer_all(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting)
            time.sleep(_GATHER_S)
            with self._arrived:
                batch = self._next_batch()
            self._answer_or_split(batch)

    def _next_batch(self) -> list[SampledRow]:
        """Take the requests that wait longest and fit together: one adapter, bounded rows, bounded tokens."""
        batch: list[SampledRow] = []
        left: deque[SampledRow] = deque()
        longest = 0
        for row in self._waiting:
            wanted = max(longest, len(row.request.prompt) + row.request.max_tokens)
            fits = not batch or (
                row.request.adapter == batch[0].request.adapter
                and len(batch) < self._max_batch
                and wanted * (len(batch) + 1) <= _BATCH_TOKENS
            )
            if fits:
                batch.append(row)
                longest = wanted
            else:
                left.append(row)
        self._waiting = left
        return batch

    def _answer_or_split(self, batch: Sequence[SampledRow]) -> None:
        """Answer a batch; if it does not fit into memory, answer it again in two halves."""
        rows = [row.restarted() for row in batch if not row.answer.done()]
        if not rows:
            return
        try:
            if self.failure is not None:
                raise self.failure
            with torch.inference_mode():
                self._adapters.use(rows[0].request.adapter)
                self._answer(rows)
            return
        except torch.OutOfMemoryError as error:
            problem: Exception = error
        except Exception as error:
            problem = error
            if isinstance(error, torch.AcceleratorError):
                self.failure = error
        if isinstance(problem, torch.OutOfMemoryError) and len(rows) > 1:
            torch.cuda.empty_cache()
            self._answer_or_split(rows[: len(rows) // 2])
            self._answer_or_split(rows[len(rows) // 2 :])
        else:
            for row in rows:
                row.fail(problem)

    def _answer(self, rows: list[SampledRow]) -> None:
        """Generate until every row has ended. Prompts are padded on the left, so that all rows end at one column."""
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
            tokens, logprobs = sample_tokens(
                out.logits[:, -1].float(),
                temperatures=[row.request.temperature for row in rows],
                top_p=[row.request.top_p for row in rows],
                allowed=[None if row.grammar is None else row.allowed(self._vocabulary) for row in rows],
                draws=[row.random.random() for row in rows],
            )
            left = [at for at, row in enumerate(rows) if not self._take(row, tokens[at], logprobs[at])]
            if len(left) < len(rows):
                rows = [rows[at] for at in left]
                kept = torch.tensor(left, dtype=torch.long, device=device)
                mask = mask[kept]
                if rows:
                    cache.reorder_cache(kept)
            ids = torch.tensor([[tokens[at]] for at in left], dtype=torch.long, device=device)
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            positions = mask.sum(-1, keepdim=True) - 1

    def _take(self, row: SampledRow, token: int, logprob: float) -> bool:
        """Add a row's next token. Return whether the row has ended: answered, failed, or cancelled."""
        if row.answer.done():
            return True
        row.token_ids.append(token)
        row.logprobs.append(logprob)
        if row.grammar is not None and not row.grammar.consume_token(token):
            row.fail(GenerationError(f"The regular expression cannot be followed: {row.grammar.get_error()[:300]}"))
            return True
        text = self._new_text(row, row.longest_stop) if row.request.stop else ""
        stopped = token in self._ends or any(stop in text for stop in row.request.stop)
        if not stopped and len(row.token_ids) < row.request.max_tokens:
            return False
        whole = self._new_text(row)
        ends = [whole.index(stop) + len(stop) for stop in row.request.stop if stop in whole]
        done = Generated(
            token_ids=row.token_ids,
            logprobs=row.logprobs,
            text=whole[: min(ends, default=None)],
            finish_reason="stop" if stopped else "length",
        )
        with suppress(InvalidStateError):  # cancelled meanwhile
            row.answer.set_result(done)
        return True

    def _new_text(self, row: SampledRow, last: int | None = None) -> str:
        """Decode a completion, or at least its last `last` tokens, without special tokens."""
        chain = [*row.request.prompt[-_CONTEXT_TOKENS:], *row.token_ids]
        start = first = len(chain) - len(row.token_ids)
        if last is not None:
            start = max(first, len(chain) - last)
            while start > first and self._decode(chain[start - 1 : start]).endswith("\ufffd"):
                start -= 1  # not within a character
        before = chain[max(0, start - _CONTEXT_TOKENS) : start]
        return self._decode([*before, *chain[start:]])[len(self._decode(before)) :]

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _compiled(self, regex: str) -> Any:
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        if self._guidance is None:
            self._guidance = from_tokenizer(self.tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)
        grammar = LLMatcher(self._guidance, LLMatcher.grammar_from_regex(regex))
        if grammar.is_error():
            raise GenerationError(f"The regular expression cannot be used: {grammar.get_error()[:300]}")
        return grammar


@dataclass(slots=True, eq=False)
class SampledRow:
    """A request that is being answered."""

    request: Request
    grammar: Any
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    answer: Future[Generated] = field(default_factory=Future)
    random: np.random.Generator = field(init=False)
    longest_stop: int = field(init=False)
    """Length of the longest stop string in tokens, at most: a token has a byte or more."""

    def restarted(self) -> SampledRow:
        """Make a row that answers the same request from its start."""
        return SampledRow(self.request, None if self.grammar is None else self.grammar.deep_copy(), answer=self.answer)

    def allowed(self, vocabulary: int) -> NDArray[np.bool_]:
        """The tokens that the grammar allows next, as booleans of shape (vocabulary,)."""
        bits = np.unpackbits(np.frombuffer(self.grammar.compute_bitmask(), dtype=np.uint8), bitorder="little")
        allowed = np.zeros(vocabulary, dtype=bool)
        allowed[: bits.size] = bits[:vocabulary]
        return allowed

    def fail(self, problem: Exception) -> None:
        """Answer the request with an error."""
        with suppress(InvalidStateError):  # cancelled meanwhile
            self.answer.set_exception(problem)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.request.seed)
        self.longest_stop = max((len(stop.encode()) for stop in self.request.stop), default=0) + 1


class _Adapters:
    """The adapters of one model by name; those used last are in memory."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._switch = LoraSwitch(model)
        self._read: dict[str, dict[str, LoraLayer]] = {}  # the one that was used last is last
        self._lock = Lock()
        self.folders: dict[str, Path] = {}
        self.fingerprints: dict[str, str] = {}

    def add(self, name: str, folder: Path) -> None:
        layers = read_adapter(folder, self._model)  # while a batch is being answered
        fingerprint = fingerprint_adapter(folder)
        with self._lock:
            if name in self.folders:
                raise GenerationError(f"The adapter {name!r} is loaded already; new weights need a new name.")
            self._keep(name, layers)
            self.folders[name], self.fingerprints[name] = folder, fingerprint

    def use(self, name: str | None) -> None:
        if name is None:
            self._switch.put_on(None)
            return
        with self._lock:
            layers = self._read.pop(name, None) or read_adapter(self.folders[name], self._model)
            self._keep(name, layers)
        self._switch.put_on(layers)

    def _keep(self, name: str, layers: dict[str, LoraLayer]) -> None:
        self._read[name] = layers
        if len(self._read) > _KEPT_ADAPTERS:
            del self._read[next(iter(self._read))]


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """List the tokens that end a turn, by the settings of the model and its tokenizer."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = list(named) if isinstance(named, list | tuple) else [named]
    return sorted({end for end in (*ends, tokenizer.eos_token_id) if end is not None})
