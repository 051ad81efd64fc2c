"""The phrases of a catalogue that are closest to a text: by the phrases themselves, and by the items that are close."""

import re
from collections import Counter
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS, Encoder
from deeprec.trm_tool.text import readable_words

MAX_EMBEDDED_PHRASES = 3_000
"""Phrases that are compared, those of the most items first: more would keep the first request waiting."""
MAX_CLAUSES = 12
CLOSE_ITEMS = 20
"""Items that are looked at for the whole text, and for each of its clauses."""
ITEM_WEIGHT = 0.5
"""Weight of the items beside the cosine of the phrase; chosen on made requests in training words (`docs/log.md`)."""
_CLAUSE_ENDS = re.compile(r"[.;,:!?\n()/–—]+|\b(?:and|but|or)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Embedded:
    catalogue: Catalogue
    phrases: list[str]
    shares: dict[str, float]
    """Phrase -> share of the catalogue's items that it is true of."""
    vectors: NDArray[np.float32]


def text_parts(text: str) -> list[str]:
    """A text as it is read, and its clauses; none for a text without words."""
    text = readable_words(text, MAX_TEXT_CHARS)
    clauses = [clause.strip() for clause in _CLAUSE_ENDS.split(text)]
    parts = list(dict.fromkeys([text, *(clause for clause in clauses if len(clause) > 2)]))[: 1 + MAX_CLAUSES]
    return parts if text else []


class ClosestPhrases:
    """Finds the phrases that are closest to a text. Safe to share between threads.

    The phrases of a catalogue are encoded with the first text that is compared with them; after a change of the
    catalogue, those that are new are.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._embedded: _Embedded | None = None
        self._embedding = Lock()

    def find(self, catalogue: Catalogue, item_texts: Tensor, text: str, n: int, min_cosine: float = -1.0) -> list[str]:
        """Rank the phrases of a catalogue by how close they are to a text, as a whole or in one of its clauses.

        A phrase is close where its embedding is, and where it is more frequent among the items whose texts are closest
        than in the catalogue.

        Args:
            catalogue: The items.
            item_texts: Embeddings of their texts, float (n_items, text_width), in catalogue order.
            text: A person's words; the first 2,000 characters are read.
            n: Phrases to return, at most.
            min_cosine: What the cosine of a phrase itself has to reach, -1 to 1, whatever the items say.

        Returns:
            Distinct phrases, the closest first; none for a text without words.
        """
        parts, known = text_parts(text), self._of(catalogue)
        if not parts or not known.phrases:
            return []
        vectors = self._encoder.encode(parts, role="preference")
        scores = dict(zip(known.phrases, (vectors @ known.vectors.T).max(axis=0).tolist(), strict=True))
        close = [phrase for phrase in known.phrases if scores[phrase] >= min_cosine]
        for phrase, lift in self._lifts(known, item_texts, vectors).items():
            scores[phrase] += ITEM_WEIGHT * lift
        return sorted(close, key=lambda phrase: -scores[phrase])[:n]

    def _of(self, catalogue: Catalogue) -> _Embedded:
        with self._embedding:
            if self._embedded is None or self._embedded.catalogue is not catalogue:
                items = catalogue.phrases()
                phrases = sorted(items, key=lambda phrase: -len(items[phrase]))[:MAX_EMBEDDED_PHRASES]
                total = max(1, int(catalogue.available.sum()))
                self._embedded = _Embedded(
                    catalogue,
                    phrases,
                    {phrase: len(items[phrase]) / total for phrase in phrases},
                    # An encoder of sentences places a phrase better in one than alone.
                    self._encoder.encode([f"something {phrase}" for phrase in phrases], role="preference"),
                )
            return self._embedded

    def _lifts(self, known: _Embedded, item_texts: Tensor, vectors: NDArray[np.float32]) -> dict[str, float]:
        """Phrase -> by how much its share among the items closest to a part exceeds that in the catalogue, at most."""
        cosines = torch.from_numpy(vectors).to(item_texts) @ item_texts.T
        cosines[:, torch.from_numpy(~known.catalogue.available).to(cosines.device)] = -torch.inf
        count = min(CLOSE_ITEMS, int(known.catalogue.available.sum()))
        lifts: dict[str, float] = {}
        for rows in torch.topk(cosines, count).indices.tolist():
            phrases = Counter(p for row in rows for p in known.catalogue.phrases_of(known.catalogue.ids[row]))
            for phrase, found in phrases.items():
                if phrase in known.shares:
                    lifts[phrase] = max(lifts.get(phrase, 0.0), found / count - known.shares[phrase])
        return lifts
