"""Answers that a policy samples to the prompts of held-out runs, and the share of them that is valid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from deeprec.agent.protocols import read_tagged
from deeprec.agent.protocols.tags import BEGIN_PREFERENCE, BEGIN_THOUGHT, END_LIST, END_PREFERENCE
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """What a policy's answer to the prompt of a run has to be."""

    is_valid: Callable[[str], bool]
    """The text of an answer -> whether it keeps the structure that the prompt asks for."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, as the end of a sequence does; they are part of it."""
    max_tokens: int = 64
    """Tokens of one answer, at most."""
    prompts: int = 32
    """Held-out prompts that are answered, at most, one answer each."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "prompts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"FirstAnswer.{name} is {getattr(self, name)}. Set it to 1 or more.")


def tagged_answer(prompt: str, *, max_tokens: int) -> FirstAnswer:
    """The first answer of the tagged protocol: a preference or a list, read as the protocol reads it.

    Args:
        prompt: The text of a prompt. Where its end opens a block, the answer goes on in it and is read leniently.
        max_tokens: Tokens of one answer, at most.
    """
    opened = next((tag for tag in (BEGIN_THOUGHT, BEGIN_PREFERENCE) if prompt.endswith(tag)), "")
    return FirstAnswer(
        is_valid=lambda text: read_tagged(opened + text, lenient=bool(opened)).action != "malformed",
        stop=(END_PREFERENCE, END_LIST),
        max_tokens=max_tokens,
    )


def first_answer_tokens(rollout: Rollout) -> int:
    """Count the tokens of a rollout's first turn."""
    written = rollout.env_mask[int(np.argmax(rollout.env_mask)) :]
    return int(written.size if written.all() else np.argmin(written))


def valid_share(model: Any, tokenizer: Any, prompts: Sequence[np.ndarray], answer: FirstAnswer, *, seed: int) -> float:
    """Sample an answer to each prompt at temperature 1, and compute the share of valid ones.

    The random state of the caller is unchanged.

    Args:
        model: the policy.
        tokenizer: the policy's tokenizer.
        prompts: each int64 (n,); at least one.
        answer: what is sampled and counted.
        seed: decides the draws.
    """
    valid = 0
    asked = prompts[: answer.prompts]
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        for prompt in asked:
            text = _sample(model, tokenizer, prompt, answer)
            ends = [text.index(stop) + len(stop) for stop in answer.stop if stop in text]
            valid += answer.is_valid(text[: min(ends)] if ends else text)
    return valid / len(asked)


def _sample(model: Any, tokenizer: Any, prompt: np.ndarray, answer: FirstAnswer) -> str:
    ids = torch.from_numpy(prompt)[None].to(model.device)
    stops = {"stop_strings": list(answer.stop), "tokenizer": tokenizer} if answer.stop else {}
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=answer.max_tokens,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        pad_token_id=tokenizer.eos_token_id,
        **stops,
    )
    new = written[0, prompt.size :].tolist()
    return str(tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False))
