"""Lists that no model wrote: the recommender's for the person's own words, and what is near where nothing passes.

A run that does not give the recommender the message in every retrieval (`AgentConfig.hears_words`) gives it here as a
preference, once the model has failed.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from langgraph.errors import GraphBubbleUp

from deeprec.agent.graph.budgets import seconds_left
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.grounding import fill_list
from deeprec.agent.graph.laid_out_catalogue import Passes
from deeprec.agent.graph.outages import cause_of
from deeprec.agent.graph.policy_calls import MIN_TIMEOUT_S
from deeprec.agent.graph.recommender_calls import RecommenderCalls
from deeprec.agent.graph.run_clock import run_clock
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.graph.shown_list import as_recommended, pool_size
from deeprec.agent.graph.state import AgentState, Ending, Nearest, RankedItem
from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS
from deeprec.trm_tool import (
    CatalogueView,
    ConfigError,
    RecommenderUnavailableError,
    Retrieved,
    UnknownItemError,
    Where,
    nearest_constraints,
)
from deeprec.trm_tool.text import plain, readable_words

_log = logging.getLogger(__name__)


def words_of(message: str | None, config: AgentConfig) -> str | None:
    """The message as every retrieval of a run has it; None where there are no words, or the run keeps them back."""
    return readable_words(message, MAX_MESSAGE_CHARS) or None if config.hears_words else None


def own_size(config: AgentConfig) -> int:
    """How many items of the recommender's own ranking a run needs."""
    return max(pool_size(config.k, config.diversity), config.own_k or 0)


async def own_ranking(start: RunStart, config: AgentConfig, calls: RecommenderCalls) -> Retrieved:
    """Ask the recommender for its own ranking, which the run falls back on: by history and words.

    Where it answers for the history alone only, the words are left out.
    """
    words = words_of(start.message, config)
    ask = partial(
        calls.retrieve,
        start.history,
        None,
        k=own_size(config),
        trust=config.trust,
        where=start.where,
        exclude=start.exclude,
        timeout_s=config.max_seconds,
    )
    try:
        return await ask(words=words, words_trust=config.words_trust)
    except (ConfigError, GraphBubbleUp, RecommenderUnavailableError, UnknownItemError):
        raise
    except Exception as error:
        if words is None:
            raise
        _log.warning(
            "Run %s: the list ignores the message, for which the recommender gave none: %s",
            start.run_id,
            cause_of(error),
        )
        return await ask()


async def ranking_without_model(
    state: AgentState,
    config: AgentConfig,
    started: float,
    calls: RecommenderCalls,
    where: Where | None,
    passes: Passes | None,
) -> list[RankedItem]:
    """The recommender's ranking for the person's own message, else the one for the history alone.

    Args:
        state: With the request.
        config: The settings of the run.
        started: `run_clock()` when the node began.
        calls: Ask the recommender.
        where: The request's constraints, and those that became hard in the run.
        passes: Keeps the items that pass the latter; None where there are none.
    """
    request = state["request"]
    message = plain(request.get("message") or "", MAX_MESSAGE_CHARS)
    own = request["own_ranking"]
    if passes is not None:
        allowed = set(passes([item["item_id"] for item in own]))
        own = [item for item in own if item["item_id"] in allowed]
    if passes is None and (not message or config.hears_words):
        return own
    try:
        found = await calls.retrieve(
            request["history"],
            None if config.hears_words else message or None,
            k=own_size(config),
            trust=None,  # the person's own words, whatever a model's guesses deserve
            words=words_of(message, config),
            words_trust=config.words_trust,
            where=where,
            exclude=request.get("exclude", ()),
            passes=passes,
            timeout_s=max(MIN_TIMEOUT_S, seconds_left(state, config, started)),
        )
    except (ConfigError, GraphBubbleUp):
        raise
    except Exception as error:
        _log.warning(
            "Run %s: the list ignores the message, for which the recommender gave none: %s",
            state["run_id"],
            cause_of(error),
        )
        return own
    return ranked(found) or own


async def nearest_list(
    start: RunStart, config: AgentConfig, started: float, catalogue: CatalogueView, calls: RecommenderCalls
) -> tuple[Nearest | None, Ending | None]:
    """What can be had instead of a request that leaves no item; (None, None) where some item passes it."""
    gone = [*start.history, *start.exclude]
    relaxed = await asyncio.to_thread(nearest_constraints, catalogue, start.where or {}, exclude=gone)
    if relaxed is None:
        filtered = start.exclude or calls.filters_now()
        detail = "`exclude` and `item_filter` leave none of the items that the recommender finds. Exclude fewer."
        return None, Ending(status="empty", detail=detail) if filtered else None
    words = words_of(start.message, config)
    found = await calls.retrieve(
        start.history,
        None if config.hears_words else plain(start.message or "", MAX_MESSAGE_CHARS) or None,
        k=config.k,
        trust=None,
        words=words,
        words_trust=config.words_trust,
        where=relaxed.where,
        exclude=start.exclude,
        timeout_s=config.max_seconds - (run_clock() - started),
    )
    listed = fill_list([], [], ranked(found), k=config.k, fallback=True)
    shown = as_recommended(listed, catalogue)
    nearest = Nearest(without=list(relaxed.without), where=relaxed.where, recommendations=shown)
    return nearest, Ending(status="empty", detail=relaxed.reason)


def ranked(found: Retrieved) -> list[RankedItem]:
    """What the recommender found, as the state holds it."""
    return [RankedItem(item_id=item.id, score=item.score) for item in found]
