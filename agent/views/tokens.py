"""Tokens as text, their probabilities in words and levels, and the tokenizers that give the texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from deeprec.agent.traces.records import TurnRecord
from deeprec.trm_tool.errors import ConfigError

TokenTexts: TypeAlias = Callable[[Sequence[int]], list[str]]
"""Token ids to one text each."""

LEVELS = ((0.9, "at least 90%"), (0.5, "50% to 90%"), (0.2, "20% to 50%"), (0.05, "5% to 20%"), (0.0, "below 5%"))
"""Lowest probability and words of each level, the likeliest first. Each level has a colour."""
LEAST_LIKELY = 5
"""Tokens that a view of a turn names in words, for readers who do not see colours."""


def read_tokenizer(folder: Path) -> TokenTexts:
    """Read the texts of token ids from a folder that holds a tokenizer of transformers. Runs no code of the folder.

    Raises:
        ConfigError: `folder` holds no tokenizer, or the tokenizer cannot be read.
    """
    file = folder / "tokenizer.json"
    try:
        if file.is_file():
            from tokenizers import Tokenizer

            fast = Tokenizer.from_file(str(file))
            return lambda ids: _filled(ids, fast.decode_batch([[i] for i in ids], skip_special_tokens=False))
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder. Name the folder of the model that wrote the run.")
        from transformers import AutoTokenizer

        slow: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except ConfigError:
        raise
    except Exception as error:  # the two libraries raise bare exceptions for a file that they cannot read
        raise ConfigError(
            f"{folder} holds no tokenizer that can be read ({str(error).splitlines()[0][:200]}). "
            "Name the folder of the model that wrote the run."
        ) from error
    return lambda ids: _filled(ids, [slow.decode([i], skip_special_tokens=False) for i in ids])


def token_texts(ids: Sequence[int], tokens: TokenTexts | None) -> list[str]:
    """Return one text for each id; the id itself, with a space, where no tokenizer is given.

    Raises:
        ConfigError: the tokenizer returned more or fewer texts than ids.
    """
    if tokens is None:
        return [f"{i} " for i in ids]
    texts = tokens(ids) if ids else []
    if len(texts) != len(ids):
        raise ConfigError(
            f"The tokenizer gave {len(texts)} texts for {len(ids)} token ids. It must give one for each id."
        )
    return texts


def written_tokens(turn: TurnRecord, tokens: TokenTexts | None) -> tuple[list[str], list[float]]:
    """Return texts and logprobs of what the policy wrote in a turn, (n,) each; NaN where no logprob was logged."""
    texts = token_texts(turn.completion_ids, tokens)
    return texts, [*turn.logprobs, *[math.nan] * len(texts)][: len(texts)]


def level(logprob: float) -> int | None:
    """Return the level of a token: 0 for the likeliest, 4 for the least likely; None where its logprob is missing."""
    if math.isnan(logprob):
        return None
    probability = math.exp(min(0.0, logprob))
    return next(number for number, (lowest, _) in enumerate(LEVELS) if probability >= lowest)


def least_likely(logprobs: Sequence[float]) -> list[int]:
    """Return positions, from 0, of the few tokens that the policy found least likely, the least likely first."""
    known = [position for position, value in enumerate(logprobs) if not math.isnan(value)]
    return sorted(known, key=lambda position: logprobs[position])[:LEAST_LIKELY]


def percent(logprob: float) -> str:
    """Return a probability in words, such as `99%` or `<0.1%`."""
    share = 100 * math.exp(min(0.0, logprob))
    return f"{share:.0f}%" if share >= 10 else f"{share:.1f}%" if share >= 0.1 else "<0.1%"


def _filled(ids: Sequence[int], texts: list[str]) -> list[str]:
    """Replace the empty text of an id that the tokenizer does not know with its number."""
    return [text or f"⟨{i}⟩" for i, text in zip(ids, texts, strict=True)]
