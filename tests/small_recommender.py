"""Recommenders of one's own in plain NumPy, no torch: by counts of items, the same behind coroutines, and by words."""

import asyncio
import threading
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


class WordCounts:
    """Items whose text shares more words with the preference come first, else the order of the catalogue."""

    def __init__(self, items: Catalogue) -> None:
        self.catalogue, self.identity = items, RecommenderIdentity(fingerprint="word-counts-1")
        self.calls: list[tuple[tuple[str, ...], str | None, Where | None]] = []
        self._ranking = ScoreRanking(items)
        self._words = [set(item.text.casefold().replace(",", " ").replace(".", " ").split()) for item in items]

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
        self.calls.append((tuple(history), preference, where))
        asked = set((preference or "").casefold().replace(";", " ").replace(".", " ").split())
        scores = np.array([len(asked & words) for words in self._words], dtype=float)
        return self._ranking.best(scores, history, k=k, trust=trust, exclude=exclude, where=where)


class HeldUp(WordCounts):
    """`WordCounts` whose retrievals wait while `waits` is set, or fail with `error`."""

    def __init__(self, items: Catalogue) -> None:
        super().__init__(items)
        self.waits, self.started = threading.Event(), threading.Event()
        self.error: Exception | None = None

    async def retrieve(  # type: ignore[override]
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        self.started.set()
        while self.waits.is_set():
            await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        return super().retrieve(history, preference, k=k, trust=trust, exclude=exclude, where=where)
