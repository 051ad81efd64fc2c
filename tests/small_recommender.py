"""A recommender of one's own: co-occurrence counts in plain NumPy, no torch, and the same one behind coroutines."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from deeprec.trm_tool import Catalogue, RecommenderIdentity, Retrieved, ScoreRanking, Where


class CoOccurrence:
    """Recommends what people took together with the items of a history. It reads no preference."""

    def __init__(self, catalogue: Catalogue, sequences: Iterable[Sequence[str]], fingerprint: str = "counts-1") -> None:
        self.catalogue, self.identity = catalogue, RecommenderIdentity(fingerprint=fingerprint)
        self.ranking, self.together = ScoreRanking(catalogue), np.zeros((len(catalogue), len(catalogue)))
        for sequence in sequences:
            rows = np.unique(catalogue.rows(sequence))
            self.together[np.ix_(rows, rows)] += 1

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        popular = self.together.diagonal() / 1000
        scores = popular + self.together[self.catalogue.rows(history)].sum(axis=0)
        return self.ranking.best(scores, history, k=k, trust=trust, exclude=exclude, where=where)


class RemoteCoOccurrence:
    """`CoOccurrence` as an asynchronous client would wrap it: bound to one event loop."""

    def __init__(self, recommender: CoOccurrence) -> None:
        self.local, self.catalogue, self.identity = recommender, recommender.catalogue, recommender.identity

    async def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        await asyncio.sleep(0)
        return self.local.retrieve(history, preference, k=k, trust=trust, exclude=exclude, where=where)
