"""The policy client: token ids in, token ids and log-probabilities out, from a vLLM server.

The tagged protocol keeps one growing list of token ids. Text is only ever derived from it, and tokenising is left to
the server, so that what is logged is what the model saw and wrote.
"""

import asyncio
import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deeprec.agent.policy.completion_answers import Card, Cards, Choices, Text, Tokens, check_choice, start_time
from deeprec.agent.policy.openai_endpoint import (
    Endpoint,
    PolicyAccessError,
    PolicyError,
    PolicyRejectedError,
    PolicyUnavailableError,
)
from deeprec.agent.policy.server_address import server_addresses
from deeprec.agent.policy.server_list import RunServers, same_model
from deeprec.agent.policy.weight_fingerprints import fingerprint_served
from deeprec.agent.traces.records import LogprobsMode
from deeprec.trm_tool.errors import ConfigError

__all__ = [
    "Completion",
    "CompletionPolicy",
    "PolicyAccessError",
    "PolicyError",
    "PolicyRejectedError",
    "PolicyUnavailableError",
    "SamplingConfig",
    "ServedModel",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """How completions are sampled. Every other filter is switched off, whatever the model's own settings suggest."""

    temperature: float = 1.0
    """0 takes the likeliest token each time."""
    top_p: float = 1.0
    max_tokens: int = 256
    """The most tokens that one completion may have."""
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"SamplingConfig.temperature is {self.temperature}; set a finite number of 0 or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"SamplingConfig.top_p is {self.top_p}; set it above 0 and at most 1.")
        if self.max_tokens < 1:
            raise ConfigError(f"SamplingConfig.max_tokens is {self.max_tokens}; set it to 1 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model wrote in one turn."""

    text: str
    """The server's decoding of `token_ids`, special tokens left out, cut after a stop string."""
    token_ids: tuple[int, ...] = ()
    """The sampled tokens, with the closing stop string or end-of-turn token; empty where a server gives none."""
    logprobs: tuple[float, ...] = ()
    """One natural log-probability per token, under the distribution that was sampled from."""
    finish_reason: str | None = None
    """`stop` or `length`; None where the server does not say."""
    prompt_tokens: int = 0
    """Tokens of the whole prompt, as the server counted them."""
    completion_tokens: int = 0
    """The number of `token_ids` where there are any, else what the server counted."""
    latency_ms: float = 0.0
    """As the caller waited for it, retries included."""

    def __post_init__(self) -> None:
        if self.token_ids:
            object.__setattr__(self, "completion_tokens", len(self.token_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """The model that a client asks, as its server describes it."""

    name: str
    """The name that requests carry: the adapter's where one is set."""
    max_model_len: int | None
    """Prompt and completion together, in tokens. Every vLLM server names it; None from other servers."""
    models: tuple[str, ...]
    """Base models that are served."""
    adapters: tuple[str, ...]
    """LoRA adapters that are loaded."""
    roots: Mapping[str, str | None] = field(default_factory=dict)
    """Model or adapter -> the folder that it is from, as the server names it."""
    base_fingerprint: str | None = None
    """The fingerprint of the base model's weights; None where the server does not show them to this machine."""
    adapter_fingerprint: str | None = None
    """The fingerprint of the adapter's weights; None without an adapter, and as above."""


_ONE_TOKEN = 1e-6
"""A share of the probability mass that the likeliest token alone fills."""


class CompletionPolicy:
    """A model behind an OpenAI-compatible vLLM server, asked with token ids. Many calls may run at once.

    Args:
        base_url: With or without the closing `/v1`. Several servers of one model stand with commas between them: each
            has to serve the same weights under the same names. A run asks the one that has the fewest requests in
            flight at its first, and stays there; where a server is unavailable, another one is asked.
        model: The name under which the server has it; None takes the only one that it has. The name of a loaded
            adapter is taken for `adapter`.
        api_key: Else the environment's DEEPREC_API_KEY, else OPENAI_API_KEY, else none.
        timeout_s: Seconds that one request may take; a call sends at most 1 + `max_retries` of them.
        max_retries: Further requests after a first one that failed, was late, or got an answer that cannot be used.
        adapter: The name of a loaded LoRA adapter to ask instead of the base model.
        cache_salt: Keeps this client's share of the server's prefix cache separate from other clients'.
        retry_wait_s: Seconds before the first retry; they double each time.

    Raises:
        ConfigError: a setting cannot work.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        max_retries: int = 2,
        adapter: str | None = None,
        cache_salt: str | None = None,
        retry_wait_s: float = 0.5,
    ) -> None:
        self._endpoints = [
            Endpoint(address, api_key=api_key, timeout_s=timeout_s, max_retries=max_retries, retry_wait_s=retry_wait_s)
            for address in server_addresses(base_url)
        ]
        self._servers = RunServers()
        self.base_url = ",".join(endpoint.base_url for endpoint in self._endpoints)
        self.adapter = adapter
        self._cache_salt = cache_salt
        self._model = model
        self._served: ServedModel | None = None
        self.logprobs_mode: LogprobsMode | None = None
        """None until `find_logprobs_mode` has asked."""

    @property
    def served(self) -> ServedModel | None:
        """The server's description of the model; None where `connect` has not asked yet."""
        return self._served

    @property
    def model(self) -> str | None:
        """The base model's name; None where none was named and `connect` has not asked yet."""
        return self._model

    def asking(self, model: str) -> "CompletionPolicy":
        """Make a client of another model or loaded adapter of the same server, over the same connections."""
        other = copy.copy(self)
        other._model, other.adapter, other._served = model, None, None
        return other

    async def connect(self, *, refresh: bool = False) -> ServedModel:
        """Ask the server what it serves; the answer is kept until `refresh`.

        Raises:
            ConfigError: the server lacks the model or the adapter; the message names those it has.
            PolicyUnavailableError: the server gives no usable answer.
            PolicyRejectedError: the server refuses the request, for instance for its key.
        """
        if self._served is None or refresh:
            each = self._of_each_server()
            found = [await policy._describe() for policy in each]
            self._model, self.adapter = each[0]._model, each[0].adapter
            self._served = same_model(found, [policy.base_url for policy in each])
        return self._served

    async def _describe(self) -> ServedModel:
        """Ask the only server of this client what it serves."""
        cards = await self._endpoints[0].ask(f"{self.base_url}/models", None, Cards, lambda cards: cards)
        served = self._find(cards)
        by_name = {card.id: card for card in cards.data}
        shows_folder = any(card.fingerprint is None and card.root and not card.parent for card in cards.data)
        started = await self._started() if shows_folder else None
        base, adapter = await asyncio.to_thread(
            lambda: [_fingerprint(by_name.get(name or ""), started) for name in (self._model, self.adapter)]
        )
        return replace(served, base_fingerprint=base, adapter_fingerprint=adapter)

    async def _started(self) -> float | None:
        """The time at which the only server of this client was started; None where it does not report one."""
        endpoint = self._endpoints[0]
        try:
            return start_time(await endpoint.get_text(f"{endpoint.root}/metrics"))
        except PolicyError:
            return None

    def _of_each_server(self) -> list["CompletionPolicy"]:
        """A client of each server alone, over the same connections."""
        found = []
        for endpoint in self._endpoints:
            other = copy.copy(self)
            other._endpoints, other.base_url = [endpoint], endpoint.base_url
            found.append(other)
        return found

    async def find_logprobs_mode(self) -> LogprobsMode:
        """Find out, by one token, whether the server gives the log-probabilities that it samples from.

        The token is of a nucleus of one: its processed log-probability is 0, the raw one is the model's own. Raises as
        `complete`.
        """
        if self.logprobs_mode is None:
            nucleus = SamplingConfig(top_p=_ONE_TOKEN, max_tokens=1)
            prompt = await self.tokenize("I")
            answers = [await policy.complete(prompt, sampling=nucleus) for policy in self._of_each_server()]
            values = [value for answer in answers for value in answer.logprobs]
            self.logprobs_mode = "processed" if all(value > -_ONE_TOKEN for value in values) else "raw"
        return self.logprobs_mode

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`. No special token is added; one that is spelt out in the text becomes itself."""
        return await self._tokenize({"prompt": text})

    async def tokenize_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation under the model's chat template, up to where the assistant starts to write."""
        return await self._tokenize(
            {"messages": [dict(message) for message in messages], "add_generation_prompt": True}
        )

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, special tokens included."""
        body = {"model": await self._name(), "tokens": list(token_ids)}
        return await self._servers.ask(self._endpoints, "/detokenize", body, Text, lambda answer: answer.prompt)

    async def complete(
        self,
        token_ids: Sequence[int],
        *,
        sampling: SamplingConfig,
        stop: Sequence[str] = (),
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Completion:
        """Continue `token_ids`.

        Args:
            token_ids: The whole chain so far, not empty.
            sampling: Temperature, top-p, the limit of tokens, and the seed.
            stop: Strings that end the completion; the one that did stays in it.
            regex: A regular expression that the whole completion matches (guided).
            choices: Texts of which the completion is one (guided); not together with `regex`.
            timeout_s: Seconds of this call, its retries included. The limit of one request is the client's.

        Returns:
            A completion whose prompt the server echoed id by id, with as many log-probabilities as tokens.

        Raises:
            ConfigError: the prompt is empty, or `regex` and `choices` are both given.
            PolicyRejectedError: a 4xx, such as for a prompt longer than the model takes.
            PolicyUnavailableError: no usable answer in time and within the retries.
        """
        prompt = list(token_ids)
        if not prompt:
            raise ConfigError("A completion needs a prompt of at least one token; none was given.")
        if regex is not None and choices is not None:
            raise ConfigError("A completion is held to a regex or to choices, not to both. Pass one of them.")
        body: dict[str, Any] = {
            "model": await self._name(),
            "prompt": prompt,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "logprobs": 0,
            "return_token_ids": True,
            "include_stop_str_in_output": True,
            # A model's generation_config may set these; the log-probabilities would be another distribution's.
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
        if self._cache_salt is not None:
            body["cache_salt"] = self._cache_salt
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if stop:
            body["stop"] = list(stop)
        if regex is not None:
            body["structured_outputs"] = {"regex": regex}
        elif choices is not None:
            body["structured_outputs"] = {"choice": list(choices)}
        started = time.perf_counter()
        choice = await self._servers.ask(
            self._endpoints,
            "/v1/completions",
            body,
            Choices,
            lambda answer: check_choice(answer, prompt, sampling.max_tokens),
            timeout_s=timeout_s,
        )
        return Completion(
            token_ids=tuple(choice.token_ids),
            logprobs=tuple(float(value) for value in choice.logprobs.token_logprobs),
            text=choice.text,
            finish_reason=choice.finish_reason,
            prompt_tokens=len(prompt),
            latency_ms=(time.perf_counter() - started) * 1000,
        )

    async def aclose(self) -> None:
        """Close this event loop's connections. A later call opens new ones."""
        for endpoint in self._endpoints:
            await endpoint.aclose()

    async def __aenter__(self) -> "CompletionPolicy":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def _name(self) -> str:
        if self._model is None:
            await self.connect()
        return self.adapter or self._model or ""

    async def _tokenize(self, body: dict[str, Any]) -> list[int]:
        body = {"model": await self._name(), "add_special_tokens": False, **body}
        return await self._servers.ask(self._endpoints, "/tokenize", body, Tokens, lambda answer: answer.tokens)

    def _find(self, cards: Cards) -> ServedModel:
        models = {card.id: card for card in cards.data if card.parent is None}
        adapters = {card.id: card for card in cards.data if card.parent is not None}
        if self._model is None:
            if len(models) != 1:
                raise ConfigError(
                    f"No model is named, and the server at {self.base_url} has {_names(models)}. Name one of those."
                )
            [self._model] = models
        if self._model not in models and self._model in adapters and self.adapter in (None, self._model):
            self.adapter = self._model
            known = adapters[self.adapter].parent  # the name given when it was loaded, which need not be served
            self._model = known if known in models else next(iter(models), self.adapter)
        for kind, named, served in (("model", self._model, models | adapters), ("adapter", self.adapter, adapters)):
            if named is not None and named not in served:
                raise ConfigError(
                    f"The server at {self.base_url} has no {kind} {named!r}; it has {_names(served)}. "
                    "Name one of those."
                )
        return ServedModel(
            name=self.adapter or self._model,
            max_model_len=models[self._model].max_model_len,
            models=tuple(models),
            adapters=tuple(adapters),
            roots={card.id: card.root for card in cards.data},
        )


def _fingerprint(card: Card | None, started: float | None) -> str | None:
    """The fingerprint that a server names, else that of the folder which it names."""
    if card is None:
        return None
    return card.fingerprint or fingerprint_served(card.root, is_adapter=card.parent is not None, started=started)


def _names(cards: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in cards) or "none"
