"""A recommender under check, called the same way whether it is synchronous or not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from deeprec.trm_tool.recommender import AnyRecommender, PhraseSimilarity, Retrieved


@dataclass(kw_only=True)
class CheckedRecommender:
    """One recommender, and how the rules call it: a call returns its answer, also where it is a coroutine in a loop."""

    recommender: AnyRecommender = field(kw_only=False)
    k: int
    preference: str | None
    loop: asyncio.AbstractEventLoop | None = None
    call: str = "no retrieval"
    """The last retrieval, for the message of a broken rule."""

    def retrieve(self, history: Sequence[str] = (), preference: str | None = None, **options: Any) -> Retrieved:
        """Ask for `k` items, and wait for the answer."""
        options = {"k": self.k, **options}
        shown = ", ".join(f"{name}={value!r}"[:120] for name, value in options.items())
        self.call = f"retrieve({few(history)}, {preference!r}, {shown})"
        found: Retrieved = self._answer(self.recommender.retrieve, history, preference, **options)
        return found

    def closest_phrases(self, text: str, n: int, **options: float) -> Sequence[str]:
        """Ask for the phrases closest to a text, as a plain method or a coroutine. Only for a `PhraseSimilarity`."""
        assert isinstance(self.recommender, PhraseSimilarity)
        shown = "".join(f", {name}={value!r}" for name, value in options.items())
        self.call = f"closest_phrases({text[:60]!r}, {n}{shown})"
        found: Sequence[str] = self._answer(self.recommender.closest_phrases, text, n, **options)
        return found

    def _answer(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        async def awaited() -> Any:
            answer = call(*arguments, **options)
            return await answer if inspect.isawaitable(answer) else answer

        if self.loop is None:
            return call(*arguments, **options)
        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result()

    def ids(self, *arguments: Any, **options: Any) -> list[str]:
        """Ids of the items of `retrieve`."""
        return [item.id for item in self.retrieve(*arguments, **options)]

    def available(self) -> list[str]:
        """Ids of the items that were not removed, in catalogue order."""
        catalogue = self.recommender.catalogue
        return [item_id for item_id in catalogue.ids if item_id not in catalogue.removed]

    def words(self) -> str:
        """The preference to ask with."""
        return self.preference or next(iter(self.recommender.catalogue.phrases(1)), "something good")

    def answers(self) -> Iterator[Retrieved]:
        """Usual retrievals: with and without a history and a preference, short and long."""
        some = self.available()[:3]
        yield self.retrieve(some)
        yield self.retrieve(some, self.words())
        yield self.retrieve((), self.words())
        yield self.retrieve()
        yield self.retrieve(some, k=len(self.recommender.catalogue))


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def few(values: Sequence[object]) -> str:
    """The first six ids of a list, for messages."""
    shown = ", ".join(repr(getattr(value, "id", value)) for value in list(values)[:6])
    return f"[{shown}{', …' if len(values) > 6 else ''}]"
