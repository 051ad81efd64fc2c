"""The recommender as some systems of a suite have it: deaf to preferences, or with its candidates in a drawn order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeprec.trm_tool import Artifact, Encoder, Retrieved, Retriever


class HistoryOnly(Retriever):
    """The recommender, deaf to preferences."""

    def retrieve(self, history: Sequence[str], preference: str | None = None, **settings: Any) -> Retrieved:
        """Find what fits the history, whatever is said."""
        return super().retrieve(history, None, **settings)


class ShuffledHistoryOnly(HistoryOnly):
    """Deaf to preferences, and each search gives its items in an order drawn by the user's history and a seed.

    The items and their scores are those of `HistoryOnly`. A call without a preference is no search of the model's but
    the agent asking for the ranking to fall back on: that one stays best first. Whatever an agent fills a short list
    with comes in the drawn order too.
    """

    def __init__(self, artifact: Artifact, encoder: Encoder | None = None, *, seed: int) -> None:
        super().__init__(artifact, encoder)
        self._seed = seed

    def retrieve(self, history: Sequence[str], preference: str | None = None, **settings: Any) -> Retrieved:
        """Find what fits the history, in a drawn order if it was searched for."""
        found = super().retrieve(history, preference, **settings)
        if preference is None:
            return found
        digest = hashlib.sha256("\0".join((str(self._seed), *history)).encode()).digest()
        order = np.random.default_rng(int.from_bytes(digest[:16])).permutation(len(found))
        return Retrieved(
            [found[place] for place in order], unenforced=found.unenforced, unknown_values=found.unknown_values
        )
