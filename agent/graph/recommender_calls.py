"""Calls of the recommender, synchronous or not: repeated while it is unavailable, bounded by the time of the run."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

from langgraph.errors import GraphBubbleUp

from deeprec.agent.daemon_threads import DaemonThreads
from deeprec.agent.graph.request_settings import context_filters
from deeprec.agent.graph.retriever_events import retriever_events
from deeprec.trm_tool import (
    AnyRecommender,
    ConfigError,
    PhraseSimilarity,
    Query,
    RecommenderUnavailableError,
    Retrieved,
    ScoredItem,
    call_arguments,
    is_async,
    split_known,
)

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""Calls of the recommender before it counts as unavailable; the waits between them are 0.1 and 0.2 seconds."""


MAX_WIDER = 64
"""How many times `k` items are retrieved at most, where filters of ids drop most of them."""

ItemFilter: TypeAlias = Callable[[Sequence[str]], Iterable[str] | Awaitable[Iterable[str]]]
"""Returns those of the ids that may be recommended now, such as what is in stock."""

RetrieverUnavailableError = RecommenderUnavailableError
"""The name of this error before recommenders had an interface of their own."""


class RecommenderCalls:
    """A recommender as the nodes call it."""

    def __init__(self, recommender: AnyRecommender, item_filter: ItemFilter | None = None) -> None:
        """`item_filter` holds for every run; `filters_now` adds that of a context."""
        self._recommender, self._item_filter = recommender, item_filter
        self._is_async = is_async(recommender)

    async def retrieve(
        self,
        history: Sequence[str],
        preference: str | None,
        *,
        k: int,
        trust: float | None,
        words: str | None = None,
        words_trust: float | None = None,
        where: Mapping[str, Any] | None,
        exclude: Sequence[str] = (),
        passes: ItemFilter | None = None,
        timeout_s: float,
    ) -> Retrieved:
        """Retrieve, with further attempts while the recommender is unavailable.

        Where filters of ids leave too few of the items, more are asked for, up to `MAX_WIDER` times `k`.

        Args:
            history: Item ids, oldest first.
            preference: What the items should be like; None for the history alone.
            k: Items to return, at most.
            trust: How far the preference is trusted, 0 to 1; None leaves it to the recommender.
            words: The person's message. A recommender that takes no words gets them in front of the preference.
            words_trust: How far the words are trusted.
            where: Constraints on attributes.
            exclude: Ids that must not come back; those that the catalogue lacks are left out of the call.
            passes: One more filter of ids, for this retrieval alone.
            timeout_s: What all attempts and the waits between them may take together.

        Returns:
            The items best first; every score is a plain float, whatever the recommender computes with.

        Raises:
            RecommenderUnavailableError: the recommender was unavailable in every attempt, or the time ran out first. A
                synchronous call that hangs is left behind in its thread.
            ConfigError: the recommender returned something else than a `Retrieved`, or a filter returned no ids.
            Exception: whatever else the recommender or a filter raises, at once.
        """
        known, _ = split_known(self._recommender.catalogue, exclude)
        query = Query(
            history=history,
            preference=preference,
            trust=trust,
            words=words,
            words_trust=words_trust,
            exclude=known,
            where=where,
        )
        positional, named = call_arguments(self._recommender, query)
        async with retriever_events(self._recommender, positional[1], {"k": k, **named}) as returned:
            call = partial(self._recommender.retrieve, *positional, **named)
            found = await self._repeated(call, k, timeout_s, passes)
            returned(found)
        return found

    async def closest_phrases(self, text: str, n: int, *, timeout_s: float) -> list[str] | None:
        """Ask which phrases are closest to a text; None where the recommender does not know, or cannot say now."""
        if not isinstance(self._recommender, PhraseSimilarity):
            return None
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._call(partial(self._recommender.closest_phrases, text, n))
        except (ConfigError, GraphBubbleUp):
            raise
        except Exception as error:
            _log.warning("The recommender does not say which phrases are closest to the message: %r", error)
            return None
        return [phrase for phrase in found if isinstance(phrase, str)] if isinstance(found, Sequence) else None

    async def _repeated(
        self, call: Callable[..., Any], k: int, timeout_s: float, passes: ItemFilter | None
    ) -> Retrieved:
        filters = [*self.filters_now(), *([passes] if passes is not None else [])]
        failure: Exception | None = None
        try:
            async with asyncio.timeout(timeout_s):
                for attempt in range(1, MAX_ATTEMPTS + 1):
                    try:
                        return await self._filtered(call, k, filters)
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

    def filters_now(self) -> list[ItemFilter]:
        """The filters that hold for the run that is going on: the graph's, and that of its context."""
        return [each for each in (self._item_filter, *context_filters()) if each is not None]

    async def _filtered(self, call: Callable[..., Any], k: int, filters: Sequence[ItemFilter]) -> Retrieved:
        asked = k
        while True:
            found = _plain(await self._call(partial(call, k=asked)), self._recommender)
            if not filters:
                return found
            allowed = await keep_allowed([item.id for item in found], filters)
            kept = [item for item in found if item.id in allowed]
            if len(kept) >= k or len(found) < asked or asked >= MAX_WIDER * k:
                return _as_retrieved(kept[:k], found)
            asked *= 4

    async def _call(self, call: Callable[[], Any]) -> object:
        answer = call() if self._is_async else await _threads().run(call)
        return await answer if inspect.isawaitable(answer) else answer


async def keep_allowed(item_ids: Sequence[str], filters: Sequence[ItemFilter]) -> set[str]:
    """Ask each filter which of the ids may be recommended now; a synchronous one is called in a thread.

    Raises:
        ConfigError: a filter returned something else than ids.
        Exception: whatever a filter raises.
    """
    allowed = set(item_ids)
    for item_filter in filters:
        if not allowed:
            break
        asked = [item_id for item_id in item_ids if item_id in allowed]
        if inspect.iscoroutinefunction(item_filter):
            answer: Any = item_filter(asked)
        else:
            answer = await _threads().run(partial(item_filter, asked))
        answer = await answer if inspect.isawaitable(answer) else answer
        if isinstance(answer, str) or not isinstance(answer, Iterable):
            raise ConfigError(
                f"The item filter returned a {type(answer).__name__}. Return those of the ids that may be recommended."
            )
        allowed &= set(answer)
    return allowed


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
    return _as_retrieved([ScoredItem(item.id, float(item.score)) for item in found], found)


def _as_retrieved(items: Sequence[ScoredItem], found: Retrieved) -> Retrieved:
    return Retrieved(
        items, unenforced=found.unenforced, unknown_values=found.unknown_values, unknown_items=found.unknown_items
    )


def _last(failure: Exception | None) -> str:
    return "" if failure is None else f", at last with {type(failure).__name__}: {failure}"
