"""Calls of the recommender, synchronous or not: repeated while it is unavailable, bounded by the time of the run."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from deeprec.agent.daemon_threads import DaemonThreads
from deeprec.agent.graph.retriever_events import retriever_events
from deeprec.trm_tool import AnyRecommender, ConfigError, RecommenderUnavailableError, Retrieved, ScoredItem, is_async

MAX_ATTEMPTS = 3
"""Calls of the recommender before it counts as unavailable; the waits between them are 0.1 and 0.2 seconds."""


RetrieverUnavailableError = RecommenderUnavailableError
"""The name of this error before recommenders had an interface of their own."""


class RecommenderCalls:
    """A recommender as the nodes call it."""

    def __init__(self, recommender: AnyRecommender) -> None:
        self._recommender = recommender
        self._is_async = is_async(recommender)

    async def retrieve(
        self,
        history: Sequence[str],
        preference: str | None,
        *,
        k: int,
        trust: float | None,
        where: Mapping[str, Any] | None,
        timeout_s: float,
    ) -> Retrieved:
        """Retrieve, with further attempts while the recommender is unavailable.

        Args:
            history: Item ids, oldest first.
            preference: What the items should be like; None for the history alone.
            k: Items to return, at most.
            trust: How far the preference is trusted, 0 to 1; None leaves it to the recommender.
            where: Constraints on attributes.
            timeout_s: What all attempts and the waits between them may take together.

        Returns:
            The items best first; every score is a plain float, whatever the recommender computes with.

        Raises:
            RecommenderUnavailableError: the recommender was unavailable in every attempt, or the time ran out first. A
                synchronous call that hangs is left behind in its thread.
            ConfigError: the recommender returned something else than a `Retrieved`.
            Exception: whatever else the recommender raises, at once.
        """
        call = partial(self._recommender.retrieve, history, preference, k=k, trust=trust, where=where)
        settings = {"k": k, "trust": trust, "where": where}
        async with retriever_events(self._recommender, preference, settings) as returned:
            found = await self._repeated(call, timeout_s)
            returned(found)
        return found

    async def _repeated(self, call: Callable[[], Any], timeout_s: float) -> Retrieved:
        failure: Exception | None = None
        try:
            async with asyncio.timeout(timeout_s):
                for attempt in range(1, MAX_ATTEMPTS + 1):
                    try:
                        return _plain(await self._call(call), self._recommender)
                    except Exception as error:
                        if not is_unavailable(error):
                            raise
                        failure = error
                    if attempt < MAX_ATTEMPTS:
                        await asyncio.sleep(0.1 * attempt)
        except TimeoutError:  # the limit's own; a TimeoutError of the recommender is handled above
            raise RecommenderUnavailableError(
                f"The recommender gave no answer within {timeout_s:.3g} seconds, which is all that the run had left"
                f"{_last(failure)}. Raise max_seconds, or find out why the recommender is slow."
            ) from failure
        raise RecommenderUnavailableError(
            f"The recommender failed {MAX_ATTEMPTS} times{_last(failure)}. Check that it runs and can be reached."
        ) from failure

    async def _call(self, call: Callable[[], Any]) -> object:
        answer = call() if self._is_async else await _threads().run(call)
        return await answer if inspect.isawaitable(answer) else answer


def is_unavailable(error: Exception) -> bool:
    """Whether an error says that the same call may succeed later: no connection, no answer in time, or so declared."""
    if isinstance(error, RecommenderUnavailableError | OSError):  # TimeoutError and ConnectionError are OSErrors
        return True
    # An error of these clients can only be raised where they are imported already.
    clients = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return any(isinstance(error, client.TransportError) for client in clients)


@cache
def _threads() -> DaemonThreads:
    return DaemonThreads(min(32, (os.cpu_count() or 1) + 4), name="deeprec-recommender")


def _plain(found: object, recommender: AnyRecommender) -> Retrieved:
    if not isinstance(found, Retrieved):
        raise ConfigError(
            f"{type(recommender).__name__}.retrieve returned a {type(found).__name__}. "
            "Return a deeprec.trm_tool.Retrieved of ScoredItems."
        )
    items = [ScoredItem(item.id, float(item.score)) for item in found]
    return Retrieved(
        items, unenforced=found.unenforced, unknown_values=found.unknown_values, unknown_items=found.unknown_items
    )


def _last(failure: Exception | None) -> str:
    return "" if failure is None else f", at last with {type(failure).__name__}: {failure}"
