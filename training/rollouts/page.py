"""A rollout as a part of a notebook: its tokens, coloured by what a trainer makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.views import TokenTexts, percent, render_page, token_texts
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError

LOW, HIGH = 0.8, 1.2
"""GRPO's default bounds of the importance ratio: beyond them, the clip applies."""
RATIOS = (
    (2.0, "u4", "2 and more"),
    (HIGH, "u3", f"{HIGH} to 2"),
    (1.05, "u2", f"1.05 to {HIGH}"),
    (0.95, "k0", "0.95 to 1.05"),
    (LOW, "k2", f"{LOW} to 0.95"),
    (0.5, "k3", f"0.5 to {LOW}"),
    (0.0, "k4", "below 0.5"),
)
"""Lowest ratio, colour of the style sheet and words of each level."""
FURTHEST = 5
"""Tokens whose ratios are named in words, for readers who do not see colours."""
_ADVANTAGES: dict[int | None, tuple[str, str]] = {
    None: ("call", "written by the policy"),
    1: ("u3", "made likelier"),
    0: ("k0", "not moved"),
    -1: ("k3", "made less likely"),
}
"""Sign of the advantage -> colour of what the policy wrote, and its words."""


def rollout_fragment(
    rollout: Rollout,
    tokens: TokenTexts | None = None,
    *,
    advantage: float | None = None,
    ratios: NDArray[np.float64] | None = None,
    max_given: int | None = None,
) -> str:
    """Return a rollout as a part of a page, for a notebook's rich display: its tokens in order, and what they teach.

    It shows which tokens the policy wrote, which are learned from, and which it was given. With `advantage` they are
    coloured by the direction in which the rollout moves them, with `ratios` by how far they have moved. It is styled as
    `run_fragment`, and has no script.

    Args:
        rollout: one run.
        tokens: the texts of token ids, from `read_tokenizer`; without it the ids are shown.
        advantage: over the rollout's group, as in `ScoredRollout`.
        ratios: (n,), of `importance_ratios`; looked at where the policy wrote.
        max_given: most tokens to show of each stretch that the policy was given, half of them at either end; None
            shows all.

    Raises:
        ConfigError: there are more or fewer ratios than tokens.
    """
    if ratios is not None and ratios.shape != rollout.token_ids.shape:
        raise ConfigError(
            f"There are {ratios.size} ratios for the {rollout.token_ids.size} tokens of run {rollout.run_id}. Give "
            "those of `importance_ratios` for this rollout."
        )
    texts, written = token_texts(rollout.token_ids.tolist(), tokens), rollout.env_mask == 1
    logprobs = rollout.logprobs.tolist()
    if ratios is None:
        colour, words = _ADVANTAGES[None if advantage is None else int(np.sign(advantage))]
        looks: list[tuple[str | None, str | None]] = [(colour, f"{value:.3f}, {percent(value)}") for value in logprobs]
        colours = [(colour, words)]
    else:
        looks = [_ratio_look(*pair) for pair in zip(logprobs, ratios.tolist(), strict=True)]
        colours = [(colour, words) for _, colour, words in RATIOS]
    ends = [0, *(np.flatnonzero(np.diff(rollout.env_mask)) + 1).tolist(), len(texts)]
    return render_page(
        "rollout.html.j2",
        folder=Path(__file__).parent,
        is_fragment=True,
        name=str(rollout.run_id)[:8],
        size=f"{len(texts):,} tokens, {int(written.sum()):,} of them written by the policy",
        sentences=_sentences(rollout, advantage, ratios),
        colours=colours,
        colours_of=f"Colours: {'what is learned from, and which way' if ratios is None else 'importance ratios'}",
        stretches=[
            {
                "is_written": True,
                "tokens": [(text, *look) for text, look in zip(texts[start:end], looks[start:end], strict=True)],
            }
            if written[start]
            else _given(texts[start:end], max_given)
            for start, end in pairwise(ends)
        ],
        furthest=[] if ratios is None else _furthest(rollout, texts, ratios),
    )


def _ratio_look(logged: float, ratio: float) -> tuple[str | None, str | None]:
    """The colour of a token, and its words."""
    if math.isnan(ratio):
        return None, None
    colour = next(colour for lowest, colour, _ in RATIOS if ratio >= lowest)
    return colour, f"ratio {ratio:.3f}, {percent(logged)} then, {percent(_now(logged, ratio))} now"


def _now(logged: float, ratio: float) -> float:
    return logged + math.log(ratio) if ratio > 0 else -math.inf


def _given(texts: Sequence[str], most: int | None) -> dict[str, object]:
    """A stretch that the policy was given, its middle left out where it has more than `most` tokens."""
    left_out = 0 if most is None else max(0, len(texts) - most)
    head = len(texts) if not left_out else len(texts) - left_out - (len(texts) - left_out) // 2
    return {
        "is_written": False,
        "head": "".join(texts[:head]),
        "left_out": left_out,
        "tail": "".join(texts[head + left_out :]),
    }


def _sentences(rollout: Rollout, advantage: float | None, ratios: NDArray[np.float64] | None) -> str:
    sentences = []
    if advantage is not None:
        way = "likelier" if advantage > 0 else "less likely"
        moved = f"makes every token that the policy wrote {way}" if advantage else "moves nothing"
        sentences.append(f"An advantage of {advantage:+.3f} {moved}.")
    if ratios is not None:
        own = ratios[rollout.env_mask == 1]
        far = int(((own < LOW) | (own > HIGH)).sum())
        sentences.append(
            f"Ratios of the probabilities now to those logged: median {np.median(own):.3f}, {own.min():.3g} to "
            f"{own.max():.3g}; {far:,} of {own.size:,} are below {LOW} or above {HIGH}."
        )
    if not sentences:
        sentences.append("Only what the policy wrote is learned from; the rest has no gradient at all.")
    if rollout.guided:
        sentences.append("The run is guided: its log-probabilities are those of the tokens that the format allowed.")
    return " ".join(sentences)


def _furthest(
    rollout: Rollout, texts: Sequence[str], ratios: NDArray[np.float64]
) -> list[tuple[int, str, tuple[str, str, str]]]:
    """Position from 1, text, and ratio with both probabilities, of the tokens whose ratios are furthest from 1."""
    own = np.flatnonzero(rollout.env_mask)
    away = np.abs(np.log(np.maximum(ratios[own], np.finfo(np.float64).tiny)))
    rows = []
    for at in own[np.argsort(-away, kind="stable")[:FURTHEST]].tolist():
        then, ratio = float(rollout.logprobs[at]), float(ratios[at])
        figures = (f"{ratio:.3g}", percent(then), percent(_now(then, ratio)))
        rows.append((at + 1, texts[at].strip() or repr(texts[at]), figures))
    return rows
