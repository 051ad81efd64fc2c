"""The answers of a model server as they are validated, before anything of them is used."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BaseModel, Field, StrictFloat, StrictInt

from deeprec.agent.policy.openai_endpoint import InvalidAnswerError

TokenId = Annotated[StrictInt, Field(ge=0, lt=2**32)]


class Card(BaseModel):
    """One model or adapter of a server."""

    id: str
    parent: str | None = None
    root: str | None = None
    fingerprint: str | None = None
    max_model_len: int | None = None


class Cards(BaseModel):
    """The models and adapters of a server."""

    data: list[Card]


def start_time(metrics: str) -> float | None:
    """Find when a server was started, in seconds since 1970, in its metrics of Prometheus; None where they lack it."""
    found = re.search(r"^process_start_time_seconds (\S+)$", metrics, re.MULTILINE)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


class Tokens(BaseModel):
    """The token ids of a text."""

    tokens: list[TokenId]


class Text(BaseModel):
    """The text of token ids."""

    prompt: str


class Logprobs(BaseModel):
    """The log-probabilities of a completion."""

    token_logprobs: list[StrictFloat | StrictInt]


class Choice(BaseModel):
    """One completion."""

    text: str
    finish_reason: str
    token_ids: list[TokenId]
    prompt_token_ids: list[TokenId]
    logprobs: Logprobs


class Choices(BaseModel):
    """The completions of one request."""

    choices: list[Choice]


def check_choice(answer: Choices, prompt: list[int], max_tokens: int) -> Choice:
    """Return the only choice of an answer, or raise InvalidAnswerError where it is not what was asked for."""
    if len(answer.choices) != 1:
        raise InvalidAnswerError(f"{len(answer.choices)} choices where one was asked for")
    choice = answer.choices[0]
    logprobs = choice.logprobs.token_logprobs
    if choice.prompt_token_ids != prompt:
        raise InvalidAnswerError(
            f"the prompt of {len(prompt)} token ids came back as {len(choice.prompt_token_ids)} others"
        )
    if len(logprobs) != len(choice.token_ids):
        raise InvalidAnswerError(f"{len(logprobs)} logprobs for {len(choice.token_ids)} tokens")
    if len(choice.token_ids) > max_tokens:
        raise InvalidAnswerError(f"{len(choice.token_ids)} tokens where at most {max_tokens} were asked for")
    if not all(math.isfinite(value) for value in logprobs):
        raise InvalidAnswerError("a log-probability that is not finite")
    if choice.finish_reason not in ("stop", "length"):  # "abort": the engine dropped the request
        raise InvalidAnswerError(f"finish_reason {choice.finish_reason!r}")
    return choice
