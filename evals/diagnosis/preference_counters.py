"""The preferences of the policy's retrievals, and how different they are: counted run by run."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np

from deeprec.evals.diagnosis.records import PreferenceFigures
from deeprec.evals.diagnosis.run_facts import RunFacts
from deeprec.evals.metrics.streaming import Commonest, Ratio
from deeprec.trm_tool.encoders.text_encoder import Encoder

MAX_COMPARED = 20
"""Preferences of one run that are compared with one another."""
_COMMONEST = 10
_ENCODED_AT_ONCE = 256
_WORDS = re.compile(r"\w+")
_PHRASES = re.compile(r"[;,\n]")


class PreferenceCounter:
    """Counts the preferences of retrievals."""

    def __init__(self, encoder: Encoder | None = None) -> None:
        self._encoder = encoder
        self._waiting: list[tuple[str, ...]] = []
        self._texts = Commonest()
        self._phrases, self._words, self._cosine = Ratio(0, 1), Ratio(0, 1), Ratio(0, 2)
        self._repeated, self._seen = Ratio(0, 1), Ratio(0, 1)

    def add(self, facts: RunFacts) -> None:
        """Count one run."""
        preferences = facts.preferences
        for text in preferences:
            self._texts.add(text)
        self._repeated.add(len(preferences) - len(set(preferences)), max(0, len(preferences) - 1))
        compared = preferences[:MAX_COMPARED]
        self._phrases.add(_mean_distance([{part.strip() for part in _PHRASES.split(t)} - {""} for t in compared]))
        self._words.add(_mean_distance([set(_WORDS.findall(text)) for text in compared]))
        if self._encoder is not None and len(compared) > 1:
            self._waiting.append(compared)
            if len(self._waiting) >= _ENCODED_AT_ONCE:
                self._encode()
        known: set[str] = set()
        again = later = 0
        for items in facts.found:
            if known:
                later += len(items)
                again += sum(item in known for item in items)
            known.update(items)
        self._seen.add(again, later)

    def figures(self) -> PreferenceFigures:
        """Return the figures over the runs so far."""
        self._encode()
        return PreferenceFigures(
            searches=self._texts.n,
            distinct=self._texts.distinct,
            distinct_is_floor=self._texts.is_floor,
            commonest=self._texts.top(_COMMONEST),
            phrase_distance=self._phrases.interval(),
            word_distance=self._words.interval(),
            cosine_distance=self._cosine.interval(),
            repeated=self._repeated.interval(),
            items_seen=self._seen.interval(),
        )

    def _encode(self) -> None:
        if self._encoder is None or not self._waiting:
            return
        texts = list(dict.fromkeys(text for of_run in self._waiting for text in of_run))
        vectors = dict(zip(texts, self._encoder.encode(texts, role="preference").astype(np.float64), strict=True))
        for of_run in self._waiting:
            known = [vectors[text] for text in of_run if vectors[text].any()]  # one with nothing to read is all zeros
            pairs = [1 - float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in combinations(known, 2)]
            if pairs:
                self._cosine.add(max(0.0, float(np.mean(pairs))))
        self._waiting.clear()


def _mean_distance(sets: Sequence[Collection[str]]) -> float:
    """Mean pairwise Jaccard distance; NaN for fewer than two sets that hold something."""
    filled = [frozenset(one) for one in sets if one]
    pairs = [1 - len(a & b) / len(a | b) for a, b in combinations(filled, 2)]
    return sum(pairs) / len(pairs) if pairs else float("nan")
