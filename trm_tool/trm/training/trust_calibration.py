"""The default trust in a preference: one number for the model, chosen on validation targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.trm_tool.trm.model import PreferenceAwareTRM, pad_histories
from deeprec.trm_tool.trm.ranking import ranks_with_ties
from deeprec.trm_tool.trm.training.preferences import SEPARATOR
from deeprec.trm_tool.trm.training.request_examples import RequestExamples, request_ranks

TRUSTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MIN_REQUESTS = 50
"""Held-out requests that the trust in words is chosen on, at least."""
EXACT, WRONG = "exact", "another person's"
PART = 256
"""Cases that are scored at once."""
KEPT = 0.7
"""Share of the Recall@10 without a preference that must remain with a wrong one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustCurve:
    """Recall@10 of validation, seen items masked, by trust."""

    trusts: tuple[float, ...]
    recall_at_10: Mapping[str, tuple[float, ...]]
    """Kind of preference -> one value for each trust. At trust 0 all are the recall without a preference."""
    chosen: float


def write_probes(own: Sequence[tuple[str, ...]], seed: int) -> dict[str, list[str]]:
    """Write preferences of four kinds: all phrases of the target, one, half of them false, another person's.

    Args:
        own: The phrases that are true of each case's target.
        seed: Seeds every draw.

    Returns:
        Kind -> one text for each case, "" where there is no phrase.
    """
    rng = np.random.default_rng(seed)
    circle = rng.permutation(len(own))
    neighbour = dict(zip(circle.tolist(), np.roll(circle, 1).tolist(), strict=True))
    other = [own[neighbour[case]] for case in range(len(own))]
    kinds = {
        EXACT: own,
        "one": [draw_one(phrases, rng) for phrases in own],
        "half right, half wrong": [mix(phrases, false, rng) for phrases, false in zip(own, other, strict=True)],
        WRONG: other,
    }
    return {kind: [SEPARATOR.join(phrases) for phrases in written] for kind, written in kinds.items()}


def draw_one(phrases: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """One of the phrases, or () where there are no phrases."""
    return (phrases[int(rng.integers(len(phrases)))],) if phrases else ()


def mix(own: tuple[str, ...], other: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """Half of the own phrases, rounded up, and as many of the other's that are not among the own, shuffled."""
    count = (len(own) + 1) // 2
    right = [own[index] for index in rng.permutation(len(own))[:count]]
    false = [phrase for phrase in other if phrase not in own]
    mixed = right + [false[index] for index in rng.permutation(len(false))[:count]]
    return tuple(mixed[index] for index in rng.permutation(len(mixed)))


def calibrate_trust(
    model: PreferenceAwareTRM,
    histories: Sequence[NDArray[np.int64]],
    targets: NDArray[np.int64],
    preferences: Mapping[str, tuple[Tensor, Tensor]],
) -> TrustCurve:
    """Find how far to trust a preference that may be exact, partial, or another person's.

    The trust that is chosen has the highest mean Recall@10 over all kinds of preferences, among those at which the
    wrong kind keeps `KEPT` of the Recall@10 without a preference.

    Args:
        model: Trained, in evaluation mode.
        histories: Catalogue rows, oldest first, of each validation case.
        targets: Catalogue row of the item that came next, int64 (cases,).
        preferences: Kind, as `write_probes` names them -> text embeddings (cases, text width) and whether there is
            a text, bool (cases,).
    """
    rows = pad_histories(histories, model.config.max_length)
    recall: dict[str, list[float]] = {kind: [] for kind in preferences}
    parts = [slice(start, start + PART) for start in range(0, len(targets), PART)]
    with torch.inference_mode():
        items = model.item_vectors()
        states = model.encode_histories(rows)  # (cases, width)
        for kind, (texts, has) in preferences.items():
            adapted = model.adapt_preference(texts) * has.unsqueeze(-1)
            for trust in TRUSTS:
                hits = [
                    _hits(
                        (model.combine(states[part], adapted[part], trust) @ items.T).cpu().numpy(),
                        histories[part],
                        targets[part],
                    )
                    for part in parts
                ]
                recall[kind].append(float(np.concatenate(hits).mean(dtype=np.float32)))
    return TrustCurve(
        trusts=TRUSTS,
        recall_at_10={kind: tuple(values) for kind, values in recall.items()},
        chosen=choose_trust(recall),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsTrust:
    """Recall@10 of held-out requests that have both a history and words, the history masked, by trust in the words."""

    requests: int
    trusts: tuple[float, ...]
    recall_at_10: tuple[float, ...]
    """One value for each trust; at trust 0 that of the history alone. Empty where there are too few requests."""
    words_alone: float | None
    """Recall@10 of the same requests without their histories; None where there are too few."""
    chosen: float


def calibrate_words_trust(model: PreferenceAwareTRM, requests: RequestExamples | None, otherwise: float) -> WordsTrust:
    """Find how far to trust a person's own words: the trust with the highest Recall@10, the highest of equals.

    Args:
        model: Trained, in evaluation mode.
        requests: Held-out requests; those without a history or without words are not read.
        otherwise: The trust where fewer than `MIN_REQUESTS` of them are left.
    """
    both = None if requests is None else requests.with_both()
    if both is None or len(both) < MIN_REQUESTS:
        found = 0 if both is None else len(both)
        return WordsTrust(requests=found, trusts=TRUSTS, recall_at_10=(), words_alone=None, chosen=otherwise)
    recall = tuple(float((request_ranks(model, both, trust=trust) <= 10).mean()) for trust in TRUSTS)
    alone = float((request_ranks(model, both, histories=False) <= 10).mean())
    return WordsTrust(
        requests=len(both),
        trusts=TRUSTS,
        recall_at_10=recall,
        words_alone=alone,
        chosen=max(zip(recall, TRUSTS, strict=True))[1],
    )


def choose_trust(recall: Mapping[str, Sequence[float]]) -> float:
    """The trust with the highest mean over all kinds, among those that keep `KEPT` where the preference is wrong.

    Args:
        recall: Kind, `WRONG` among them -> recall at each of `TRUSTS`.

    Returns:
        The highest of equally good ones.
    """
    means, wrong = np.mean(list(recall.values()), axis=0), np.array(recall[WRONG])
    allowed = np.where(wrong >= KEPT * wrong[0], means, -np.inf)
    return max(zip(allowed.tolist(), TRUSTS, strict=True))[1]


def _hits(
    scores: NDArray[np.float32], histories: Sequence[NDArray[np.int64]], wanted: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each wanted item is among the first ten, seen items masked, ties by catalogue order (cases,)."""
    for line, history in zip(scores, histories, strict=True):
        line[history] = -np.inf
    return ranks_with_ties(scores, wanted) <= 10
