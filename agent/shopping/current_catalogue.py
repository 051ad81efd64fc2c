"""The catalogue of a recommender, laid out for conversations, and again once items were added to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any

from deeprec.agent.conversation import ConversationCatalogue
from deeprec.trm_tool import AnyRecommender, PhraseSimilarity
from deeprec.trm_tool.recommender import takes_min_cosine

_log = logging.getLogger(__name__)


class CurrentCatalogue:
    """Lays a recommender's catalogue out when it is first needed, and whenever the recommender has another one."""

    def __init__(self, recommender: AnyRecommender) -> None:
        self._recommender, self._lock = recommender, threading.Lock()
        self.now = self._lay_out()

    async def refreshed(self) -> ConversationCatalogue:
        """The catalogue as it is at this moment; other work goes on while it is laid out."""
        if self._recommender.catalogue is not self.now.catalogue:
            await asyncio.to_thread(self._refresh)
        return self.now

    def _refresh(self) -> None:
        with self._lock:  # of many turns at once one lays it out
            if self._recommender.catalogue is not self.now.catalogue:
                self.now = self._lay_out()

    def _lay_out(self) -> ConversationCatalogue:
        recommender: Any = self._recommender
        closest = recommender.closest_phrases if isinstance(recommender, PhraseSimilarity) else None
        if closest is None or iscoroutinefunction(closest):
            return ConversationCatalogue(recommender.catalogue)
        asked = _or_none(closest)
        near = (lambda text, least: asked(text, 1, min_cosine=least)) if takes_min_cosine(recommender) else None
        return ConversationCatalogue(recommender.catalogue, asked, near)


def _or_none(closest: Callable[..., Sequence[str]]) -> Callable[..., Sequence[str]]:
    """The closest phrases, or none while the recommender cannot say: a conversation goes on without them."""

    def asked(text: str, n: int, **limit: float) -> Sequence[str]:
        try:
            return closest(text, n, **limit)
        except Exception as error:
            _log.warning("The recommender does not say which phrases are closest: %r", error)
            return ()

    return asked
