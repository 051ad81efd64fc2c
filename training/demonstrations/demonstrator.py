"""The demonstrator: a policy that writes what it was given, in the tokens of the language model that learns from it.

A language model is not asked. What the demonstrator writes it writes with certainty, so that the log-probability of
each of its tokens is 0. Its runs are logged as guided: supervised training learns from them, and GRPO refuses them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from deeprec.agent import Completion, PolicyRejectedError, SamplingConfig, ServedModel
from deeprec.agent.protocols.tags import END_LIST, END_PREFERENCE
from deeprec.trm_tool.errors import ConfigError

DEMONSTRATOR = "demonstrator"
"""The name of the policy, and of the system, under which demonstrations are stored."""
MAX_NUMBERS = 100
"""The highest number of a candidate that it writes."""


class Demonstrator:
    """A `TokenPolicy` that writes `preference`, then the numbers of the candidates in the order in which they are.

    It serves one run at a time: `preference` is set before each.

    Args:
        base: The language model that is to learn from the runs: a folder, or a Hugging Face id. Its tokenizer, its chat
            template and the length of its context are read, not its weights.

    Raises:
        ConfigError: there is no such model, or it has no chat template.
    """

    model = DEMONSTRATOR
    adapter = None

    def __init__(self, base: Path | str) -> None:
        from transformers import AutoConfig, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(base))
            context = AutoConfig.from_pretrained(str(base)).get_text_config().max_position_embeddings
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{base} cannot be read as a language model with its tokenizer: {str(error).splitlines()[0]} Name a "
                "folder with config.json and a tokenizer, or a Hugging Face id."
            ) from error
        if not getattr(self._tokenizer, "chat_template", None):
            raise ConfigError(f"The tokenizer of {base} has no chat template, so no prompt can be made. Name another.")
        self._served = ServedModel(name=self.model, max_model_len=int(context), models=(self.model,), adapters=())
        self.preference = ""
        """What the next run asks for."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the tokens of the language model and its chat template."""
        content = [sorted(self._tokenizer.get_vocab().items()), self._tokenizer.chat_template]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def asking(self, model: str, /) -> NoReturn:
        """Raise ConfigError: there is no other model."""
        raise ConfigError(f"A demonstration has no model {model[:80]!r}: its policy is a script. Leave the model out.")

    async def connect(self) -> ServedModel:
        """Describe the model whose tokens are written."""
        return self._served

    async def tokenize(self, text: str, /) -> list[int]:
        """Token ids of a text, without special tokens around it."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    async def tokenize_chat(self, messages: Sequence[Mapping[str, str]], /) -> list[int]:
        """Token ids of a conversation under the model's chat template, up to where the assistant starts to write."""
        rows = [dict(message) for message in messages]
        made = self._tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=True)
        return list(made["input_ids"])

    async def complete(
        self,
        token_ids: Sequence[int],
        /,
        *,
        sampling: SamplingConfig,
        stop: Sequence[str] = (),
        regex: str | None = None,
        timeout_s: float | None = None,
    ) -> Completion:
        """Write the preference or the next part of the list, whichever the grammar of the turn asks for.

        Raises:
            PolicyRejectedError: the grammar allows neither, or the answer is longer than the turn may be.
        """
        text = next((each for each in self._answers() if regex is not None and re.fullmatch(regex, each)), None)
        if text is None:
            raise PolicyRejectedError(f"The preference {self.preference[:200]!r} is not on offer in this run.")
        ids = await self.tokenize(text)
        if len(ids) > sampling.max_tokens:
            raise PolicyRejectedError(f"The turn has {len(ids)} tokens, and the run allows {sampling.max_tokens}.")
        return Completion(
            text=text,
            token_ids=tuple(ids),
            logprobs=(0.0,) * len(ids),
            finish_reason="stop",
            prompt_tokens=len(token_ids),
        )

    def _answers(self) -> Iterator[str]:
        """What it can write, the first that fits the grammar of a turn."""
        yield f"{self.preference}{END_PREFERENCE}"
        yield from _LISTS


def _lists() -> Iterator[str]:
    for size in range(MAX_NUMBERS, 0, -1):
        yield "".join(f"{number}\n" for number in range(1, size + 1)) + END_LIST
    for number in range(1, MAX_NUMBERS + 1):
        yield from (f"{number}\n", f"{number}\n{END_LIST}")


_LISTS = tuple(_lists())
"""Whole lists, the longest first, then lines of one."""
