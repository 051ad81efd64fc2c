"""The tokens of a turn, coloured by how likely the policy found them, and the tokenizers that give their texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from deeprec.agent.traces.records import TurnRecord
from deeprec.agent.views.html.markup import Html, Part, element, piece, said
from deeprec.trm_tool.errors import ConfigError

TokenTexts: TypeAlias = Callable[[Sequence[int]], list[str]]
"""Token ids to one text each."""

LEVELS = ((0.9, "at least 90%"), (0.5, "50% to 90%"), (0.2, "20% to 50%"), (0.05, "5% to 20%"), (0.0, "below 5%"))
"""Lowest probability and words of each colour, the likeliest first."""
LEAST_LIKELY = 5
"""Tokens that a turn names in words, for those who do not see colours."""


class Mark(NamedTuple):
    """How one token is shown."""

    colour: str | None
    """A class of the style sheet, such as `k1`; None for no colour."""
    told: str | None
    """What it says when it is pointed at."""


def read_tokenizer(folder: Path) -> TokenTexts:
    """The texts of token ids, from a folder that holds a tokenizer of transformers. Runs no code of the folder.

    Raises:
        ConfigError: there is no tokenizer in `folder`, or it cannot be read.
    """
    file = folder / "tokenizer.json"
    try:
        if file.is_file():
            from tokenizers import Tokenizer

            fast = Tokenizer.from_file(str(file))
            return lambda ids: _filled(ids, fast.decode_batch([[i] for i in ids], skip_special_tokens=False))
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder. Name the folder of the model that wrote the run.")
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


def level(logprob: float) -> int | None:
    """The colour of a token: 0 for the likeliest, 4 for the least likely; None where its logprob is not known."""
    if math.isnan(logprob):
        return None
    probability = math.exp(min(0.0, logprob))
    return next(position for position, (lowest, _) in enumerate(LEVELS) if probability >= lowest)


def least_likely(logprobs: Sequence[float]) -> list[int]:
    """Places, from 0, of the few tokens that the policy found least likely, the least likely first."""
    known = [place for place, value in enumerate(logprobs) if not math.isnan(value)]
    return sorted(known, key=lambda place: logprobs[place])[:LEAST_LIKELY]


def percent(logprob: float) -> str:
    """A probability in words."""
    share = 100 * math.exp(min(0.0, logprob))
    return f"{share:.0f}%" if share >= 10 else f"{share:.1f}%" if share >= 0.1 else "<0.1%"


def token_texts(ids: Sequence[int], tokens: TokenTexts | None) -> list[str]:
    """The texts of ids, one each; the ids themselves, with a space, where no tokenizer is given."""
    if tokens is None:
        return [f"{i} " for i in ids]
    texts = tokens(ids) if ids else []
    if len(texts) != len(ids):
        raise ConfigError(
            f"The tokenizer gave {len(texts)} texts for {len(ids)} token ids. It must give one for each id."
        )
    return texts


def tokens_section(turn: TurnRecord, start: int | None, tokens: TokenTexts | None, *, guided: bool) -> Html | None:
    """A folded section: what the turn added to the prompt, and what the policy wrote; None where no ids were logged.

    Args:
        turn: the turn.
        start: where its first prompt token stands in the run's chain, from 0; None where there is no chain.
        tokens: from a tokenizer; else the ids are shown.
        guided: the run was sampled under constraints.
    """
    if not turn.prompt_ids and not turn.completion_ids:
        return None
    texts = token_texts(turn.completion_ids, tokens)
    logprobs = [*turn.logprobs, *[math.nan] * len(texts)][: len(texts)]
    known = [value for value in logprobs if not math.isnan(value)]
    mean = f"; mean logprob {sum(known) / len(known):.2f}" if known else ""
    read, wrote = len(turn.prompt_ids), len(turn.completion_ids)
    where = None
    if start is not None:
        where = f"Places {start:,} to {start + read + wrote - 1:,} of the run's tokens, counted from 0."
    return element(
        "details",
        element("summary", f"Tokens: {read:,} put before the model, {wrote:,} written{mean}"),
        element("p", where, " " if where else None, _GUIDED if guided else None, class_="note"),
        _LEGEND if known else None,
        chain(
            given_text("".join(token_texts(turn.prompt_ids, tokens))) if turn.prompt_ids else None,
            written_tokens(texts, [_mark(value) for value in logprobs]),
        ),
        _worst_table(texts, logprobs),
        class_="tokens",
    )


def chain(*parts: Part) -> Html:
    """A paragraph of tokens: what `given_text` and `written_tokens` return."""
    return element("p", *parts, class_="chain")


def given_text(text: Html | str) -> Html:
    """Text between the policy's own, told apart for the eye and for the ear. Plain text is escaped."""
    shown = text if isinstance(text, Html) else Html(piece(text, 200_000))
    label = element("span", "[not written by the policy] ", class_="hidden")
    end = element("span", " [written by the policy] ", class_="hidden")
    return Html(f'{label}<span class="given">{shown}</span>{end}')


def written_tokens(texts: Sequence[str], marks: Sequence[Mark]) -> Html:
    """The policy's tokens, each with its mark."""
    spans = []
    for text, mark in zip(texts, marks, strict=True):
        colour = "" if mark.colour is None else f" {mark.colour}"
        title = "" if mark.told is None else f' title="{piece(mark.told)}"'
        spans.append(f'<span class="t{colour}"{title}>{piece(text)}</span>')
    return Html("".join(spans))


def legend(colours: Sequence[tuple[str, str]], label: str) -> Html:
    """What the colours of a chain mean: (class, words) of each, and the words for all of them."""
    return element(
        "ul",
        element("li", element("span", "prompt and tool text", class_="given")),
        [element("li", element("span", words, class_=f"t {colour}")) for colour, words in colours],
        class_="legend",
        aria_label=label,
    )


def token_table(caption: str, columns: Sequence[str], rows: Sequence[tuple[int, str, Sequence[str]]]) -> Html:
    """Some tokens in words: place from 1, text, and figures under the `columns` after those two."""
    body = [
        element(
            "tr",
            element("td", f"{place:,}", class_="n"),
            element("th", said(text.strip() or repr(text), 60), scope="row"),
            [element("td", figure, class_="n") for figure in figures],
        )
        for place, text, figures in rows
    ]
    names = ("place", "token", *columns)
    heads = [element("th", name, scope="col", class_=None if name == "token" else "n") for name in names]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", heads)),
        element("tbody", body),
        class_="small",
    )


def _mark(logprob: float) -> Mark:
    colour = level(logprob)
    return Mark(None, None) if colour is None else Mark(f"k{colour}", f"{logprob:.3f}, {percent(logprob)}")


def _worst_table(texts: Sequence[str], logprobs: Sequence[float]) -> Html | None:
    worst = least_likely(logprobs)
    if not worst:
        return None
    return token_table(
        f"The {len(worst)} least likely of the {len(texts):,} tokens written",
        ("logprob", "probability"),
        [(at + 1, texts[at], (f"{logprobs[at]:.3f}", percent(logprobs[at]))) for at in worst],
    )


def _filled(ids: Sequence[int], texts: list[str]) -> list[str]:
    """An id that the tokenizer does not know decodes to nothing: it is shown as a number."""
    return [text or f"⟨{i}⟩" for i, text in zip(ids, texts, strict=True)]


_GUIDED = "Guided: the policy was held to a format, so that a token may have been the only one allowed."
_LEGEND = legend(
    [(f"k{number}", words) for number, (_, words) in enumerate(LEVELS)],
    "Colours: the probability that the policy gave each token it wrote",
)
