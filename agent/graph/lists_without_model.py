"""Lists that no model wrote: the recommender's for the person's own words, and what is near where nothing passes."""

from __future__ import annotations

import asyncio
import logging

from langgraph.errors import GraphBubbleUp

from deeprec.agent.graph.budgets import seconds_left
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.grounding import fill_list
from deeprec.agent.graph.outages import cause_of
from deeprec.agent.graph.policy_calls import MIN_TIMEOUT_S
from deeprec.agent.graph.recommender_calls import RecommenderCalls
from deeprec.agent.graph.run_clock import run_clock
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.graph.shown_list import as_recommended, pool_size
from deeprec.agent.graph.state import AgentState, Ending, Nearest, RankedItem
from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS
from deeprec.trm_tool import CatalogueView, ConfigError, Retrieved, nearest_constraints
from deeprec.trm_tool.text import plain

_log = logging.getLogger(__name__)


async def ranking_without_model(
    state: AgentState, config: AgentConfig, started: float, calls: RecommenderCalls
) -> list[RankedItem]:
    """The recommender's ranking for the person's own message, else the one for the history alone."""
    request = state["request"]
    message = plain(request.get("message") or "", MAX_MESSAGE_CHARS)
    if not message:
        return request["own_ranking"]
    try:
        found = await calls.retrieve(
            request["history"],
            message,
            k=pool_size(config.k, config.diversity),
            trust=None,  # the person's own words, whatever a model's guesses deserve
            where=request["where"],
            exclude=request.get("exclude", ()),
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
        return request["own_ranking"]
    return ranked(found) or request["own_ranking"]


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
    found = await calls.retrieve(
        start.history,
        plain(start.message or "", MAX_MESSAGE_CHARS) or None,
        k=config.k,
        trust=None,
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
