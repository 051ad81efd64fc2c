"""The recommender as some systems of a suite have it: without preferences, or with its items in a drawn order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeprec.trm_tool import ItemEvidence, Recommender, Retrieved
from deeprec.trm_tool.recommender import CatalogueView, RecommenderIdentity


class HistoryOnly:
    """A recommender that ignores preferences: it answers by the history alone, or by the history and the words."""

    def __init__(self, recommender: Recommender, *, hears_words: bool = False) -> None:
        self._recommender, self._hears_words = recommender, hears_words

    @property
    def catalogue(self) -> CatalogueView:
        """The items of the recommender."""
        return self._recommender.catalogue

    @property
    def identity(self) -> RecommenderIdentity:
        """The recommender's own: the system's name in the run tells the variant."""
        return self._recommender.identity

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        words: str | None = None,
        words_trust: float | None = None,
        **settings: Any,
    ) -> Retrieved:
        """Retrieve what fits the history, whatever the preference, and the words unless it hears them."""
        if self._hears_words:
            settings |= {"words": words, "words_trust": words_trust}
        return self._recommender.retrieve(history, None, **settings)

    def evidence(self, history: Sequence[str], item_ids: Sequence[str]) -> Sequence[str]:
        """What people's choices say for items, where the recommender knows that; else "" for each."""
        if isinstance(self._recommender, ItemEvidence):
            return self._recommender.evidence(history, item_ids)
        return [""] * len(item_ids)


class ShuffledHistoryOnly(HistoryOnly):
    """`HistoryOnly`, which gives the items of each retrieval in an order drawn by the user's history and a seed.

    The items and their scores are those of `HistoryOnly`. A retrieval without a preference is not the model's but the
    agent's, for the ranking to fall back on: it stays best first. Whatever an agent fills a short list with comes in
    the drawn order too.
    """

    def __init__(self, recommender: Recommender, *, seed: int) -> None:
        super().__init__(recommender)
        self._seed = seed

    def retrieve(self, history: Sequence[str], preference: str | None = None, **settings: Any) -> Retrieved:
        """Retrieve what fits the history; with a preference, in the drawn order."""
        found = super().retrieve(history, preference, **settings)
        if preference is None:
            return found
        digest = hashlib.sha256("\0".join((str(self._seed), *history)).encode()).digest()
        order = np.random.default_rng(int.from_bytes(digest[:16])).permutation(len(found))
        return Retrieved(
            [found[position] for position in order],
            unenforced=found.unenforced,
            unknown_values=found.unknown_values,
            unknown_items=found.unknown_items,
        )
