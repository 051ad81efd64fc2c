"""A rollout as a part of a notebook: its tokens, coloured by what a trainer makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.views import TokenTexts
from deeprec.agent.views.html.markup import Html, element, piece
from deeprec.agent.views.html.page import fragment
from deeprec.agent.views.html.tokens import (
    Mark,
    chain,
    given_text,
    legend,
    percent,
    token_table,
    token_texts,
    written_tokens,
)
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError

LOW, HIGH = 0.8, 1.2
"""Where GRPO's clip is by default."""
RATIOS = (
    (2.0, "u4", "2 and more"),
    (HIGH, "u3", f"{HIGH} to 2"),
    (1.05, "u2", f"1.05 to {HIGH}"),
    (0.95, "k0", "0.95 to 1.05"),
    (LOW, "k2", f"{LOW} to 0.95"),
    (0.5, "k3", f"0.5 to {LOW}"),
    (0.0, "k4", "below 0.5"),
)
"""Lowest ratio, colour and words of each level."""
FURTHEST = 5
"""Tokens whose ratios are named in words, for those who do not see colours."""
_WRITTEN, _UP, _DOWN, _STILL = "call", "u3", "k3", "k0"


def rollout_fragment(
    rollout: Rollout,
    tokens: TokenTexts | None = None,
    *,
    advantage: float | None = None,
    ratios: NDArray[np.float64] | None = None,
    max_given: int | None = None,
) -> str:
    """A rollout as a part of a page, for a notebook's rich display: its tokens in their order, and what they teach.

    By itself it tells the tokens that the policy wrote, which are learned from, from those that it was given. With
    `advantage` they are coloured by which way the rollout moves them, with `ratios` by how far they have moved. It is
    styled as `run_fragment`, and has no script.

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
    texts = token_texts(rollout.token_ids.tolist(), tokens)
    if ratios is not None:
        marks = [_ratio_mark(*pair) for pair in zip(rollout.logprobs.tolist(), ratios.tolist(), strict=True)]
    else:
        marks = [Mark(_colour(advantage), f"{value:.3f}, {percent(value)}") for value in rollout.logprobs.tolist()]
    ends = [0, *(np.flatnonzero(np.diff(rollout.env_mask)) + 1).tolist(), len(texts)]
    parts = [
        written_tokens(texts[start:end], marks[start:end])
        if rollout.env_mask[start]
        else _given(texts[start:end], max_given)
        for start, end in pairwise(ends)
    ]
    return fragment(
        element("h3", f"Rollout {str(rollout.run_id)[:8]}", element("small", _size(rollout)), class_="head"),
        element("p", _told(rollout, advantage, ratios), class_="note"),
        _legend(advantage, ratios),
        chain(parts),
        None if ratios is None else _furthest_table(rollout, texts, ratios),
    )


def _colour(advantage: float | None) -> str:
    if advantage is None:
        return _WRITTEN
    return _UP if advantage > 0 else _DOWN if advantage < 0 else _STILL


def _ratio_mark(logged: float, ratio: float) -> Mark:
    if math.isnan(ratio):
        return Mark(None, None)
    colour = next(colour for lowest, colour, _ in RATIOS if ratio >= lowest)
    return Mark(colour, f"ratio {ratio:.3f}, {percent(logged)} then, {percent(_now(logged, ratio))} now")


def _now(logged: float, ratio: float) -> float:
    return logged + math.log(ratio) if ratio > 0 else -math.inf


def _given(texts: Sequence[str], most: int | None) -> Html:
    if most is None or len(texts) <= most:
        return given_text("".join(texts))
    head, tail = texts[: (most + 1) // 2], texts[len(texts) - most // 2 :]
    left = element("span", f" [{len(texts) - most:,} more] ", class_="muted")
    return given_text(Html(piece("".join(head), 200_000) + left + piece("".join(tail), 200_000)))


def _size(rollout: Rollout) -> str:
    return f"{rollout.token_ids.size:,} tokens, {int(rollout.env_mask.sum()):,} of them written by the policy"


def _told(rollout: Rollout, advantage: float | None, ratios: NDArray[np.float64] | None) -> str:
    told = []
    if advantage is not None:
        way = "likelier" if advantage > 0 else "less likely"
        moved = f"makes every token that the policy wrote {way}" if advantage else "moves nothing"
        told.append(f"An advantage of {advantage:+.3f} {moved}.")
    if ratios is not None:
        own = ratios[rollout.env_mask == 1]
        far = int(((own < LOW) | (own > HIGH)).sum())
        told.append(
            f"Ratios of the probabilities now to those logged: median {np.median(own):.3f}, {own.min():.3g} to "
            f"{own.max():.3g}; {far:,} of {own.size:,} are below {LOW} or above {HIGH}."
        )
    if not told:
        told.append("Only what the policy wrote is learned from; the rest has no gradient at all.")
    if rollout.guided:
        told.append("The run is guided: its log-probabilities are of the tokens that the format allowed.")
    return " ".join(told)


def _legend(advantage: float | None, ratios: NDArray[np.float64] | None) -> Html:
    if ratios is not None:
        return legend([(colour, words) for _, colour, words in RATIOS], "Colours: the importance ratio of each token")
    words = {_WRITTEN: "written by the policy", _UP: "made likelier", _DOWN: "made less likely", _STILL: "not moved"}
    colour = _colour(advantage)
    return legend([(colour, words[colour])], "Colours: which tokens are learned from, and which way")


def _furthest_table(rollout: Rollout, texts: Sequence[str], ratios: NDArray[np.float64]) -> Html:
    own = np.flatnonzero(rollout.env_mask)
    away = np.abs(np.log(np.maximum(ratios[own], np.finfo(np.float64).tiny)))
    furthest = own[np.argsort(-away, kind="stable")[:FURTHEST]].tolist()
    rows = []
    for place in furthest:
        then, ratio = float(rollout.logprobs[place]), float(ratios[place])
        rows.append((place + 1, texts[place], (f"{ratio:.3g}", percent(then), percent(_now(then, ratio)))))
    caption = f"The {len(rows)} tokens whose ratios are furthest from 1"
    return token_table(caption, ("ratio", "probability then", "now"), rows)
