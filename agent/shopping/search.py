"""The search of a turn: the DeepRec loop where there is a model, the recommender beside it, and one order of both.

Items that fulfil more of what only weighs come first, a rare value ("kettle") counting more than a common one
("black"). Among equals those come first that were not shown yet, for the person saw the others and asked again; then
the list of the model decides, then the fused retrievals.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langgraph.config import get_stream_writer
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, items_in_order
from deeprec.agent.conversation.said_text import without_refusals
from deeprec.agent.conversation.state import alternatives
from deeprec.agent.graph.messages import DATA_KEY
from deeprec.agent.graph.partial_results import MAX_TITLE_CHARS
from deeprec.agent.graph.rank_fusion import fuse_rankings
from deeprec.agent.graph.recommender_calls import RecommenderCalls, keep_allowed
from deeprec.agent.shopping.nearest_items import NearestItems, nearest_items
from deeprec.agent.shopping.search_request import SearchRequest
from deeprec.agent.shopping.turn_plan import Found
from deeprec.trm_tool import RecommenderUnavailableError, Where
from deeprec.trm_tool.catalogue.merged_where import merge_where
from deeprec.trm_tool.text import plain

_log = logging.getLogger(__name__)

MAX_WEIGHED = 12
"""Conditions that weigh and get a retrieval of their own, the latest ones."""
MAX_TIED = 20
"""Items that share the first place of a superlative and are all shown."""
HEARD_TEXTS, CLOSEST_PHRASES = 4, 2
"""The latest texts without a constraint whose closest phrases are retrieved for, and how many of each."""
KIND_WEIGHT = 2.0
"""How much more the kind of an item weighs: of a black kettle, a white kettle comes before a black lamp."""
MODEL_UNAVAILABLE = "The language model is unavailable at the moment; this is the recommender's own list."
RECOMMENDER_UNAVAILABLE = "The recommender is unavailable at the moment. What you asked for is kept; please try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """The items among which one search chooses."""

    passing: tuple[str, ...]
    """Items that pass every hard constraint, in the order of the catalogue."""
    kinds: list[Where]
    """The kinds of item that the person asks for."""
    of_kind: frozenset[str]
    """The passing items of one of these kinds; none where no kind is asked for."""
    nearest: NearestItems | None = None
    """What comes nearest, where there is nothing to choose among."""
    ordered: tuple[str, ...] = ()
    """The passing items in the order of a superlative, where one was said."""


class Search:
    """The search of one turn. What takes time in proportion to the catalogue runs in threads, once a turn."""

    def __init__(
        self,
        calls: RecommenderCalls,
        loop: CompiledStateGraph[Any, Any, Any, Any] | None,
        catalogue: ConversationCatalogue,
        candidates: int,
    ) -> None:
        """Take what calls the recommender, the loop where there is a model, and how many items a retrieval returns."""
        self._calls, self._loop, self._catalogue, self._candidates = calls, loop, catalogue, candidates
        self._fulfilling: dict[str, frozenset[str]] = {}

    async def find(self, request: SearchRequest, conversation: ConversationState) -> Found:
        """Find the list for a request.

        Raises:
            RecommenderUnavailableError: only with `AgentConfig.raise_outages`.
        """
        scope = await asyncio.to_thread(self._scope, request, conversation)
        filters = self._calls.filters_now()
        if scope.nearest is not None:
            available = await keep_allowed(scope.nearest.item_ids, filters)
            kept = tuple(item_id for item_id in scope.nearest.item_ids if item_id in available)
            return Found(nearest=kept[: request.config.k], problems=(scope.nearest.reason,))
        if conversation.order is not None:
            return await self._superlative(request, conversation, scope.ordered, filters)
        try:
            return await self._ranked(request, conversation, scope)
        except RecommenderUnavailableError as error:
            if request.config.raise_outages:
                raise
            _log.warning("A conversation's search got no list: %s", error)
            return Found(problems=(RECOMMENDER_UNAVAILABLE,))

    def _scope(self, request: SearchRequest, conversation: ConversationState) -> _Scope:
        passing = self._catalogue.passing(request.hard, {*request.exclude, *request.history})
        kinds = self._kinds_of_item(conversation)
        of_kind = frozenset[str]().union(*(having for _, having in self._having(kinds, passing)))
        scope = _Scope(passing=passing, kinds=kinds, of_kind=of_kind)
        if not passing or (kinds and not of_kind):
            return replace(scope, nearest=nearest_items(request, self._catalogue, kinds))
        if conversation.order is None:
            return scope
        binding = () if conversation.order.everywhere else kinds
        held = [each for each in conversation.preferred if {each.attribute: each.condition} in binding]
        state = replace(conversation, required=(*conversation.required, *held))
        allowed = frozenset(passing)
        ordered = tuple(item_id for item_id in items_in_order(state, self._catalogue) if item_id in allowed)
        return replace(scope, ordered=ordered)

    async def _superlative(
        self, request: SearchRequest, conversation: ConversationState, ordered: Sequence[str], filters: Sequence[Any]
    ) -> Found:
        """The items of a superlative, all of those that share the first place."""
        head = list(ordered[: self._candidates])
        allowed = await keep_allowed(head, filters)
        head = [item_id for item_id in head if item_id in allowed]
        assert conversation.order is not None
        numbers = [self._catalogue.number(item_id, conversation.order.attribute) for item_id in head]
        tied = sum(number == numbers[0] for number in numbers)
        return Found(item_ids=tuple(head[: max(request.config.k, min(tied, MAX_TIED))]))

    async def _ranked(self, request: SearchRequest, conversation: ConversationState, scope: _Scope) -> Found:
        listed, problems, run_id = await self._loop_list(request, scope.passing)
        rankings = await self._retrievals(request, conversation, scope.passing)
        order, alike = await asyncio.to_thread(self._ordered, request, conversation, scope, listed, rankings)
        if self._loop is None:  # the loop sends its own parts
            items = self._catalogue.catalogue
            found = [{"item_id": each, "title": plain(items.item(each).title, MAX_TITLE_CHARS)} for each in order[:10]]
            get_stream_writer()({DATA_KEY: "retrieved", "text": request.terms.preference or "", "items": found})
        return Found(
            item_ids=tuple(order[: request.config.k]), candidates=tuple(alike), problems=tuple(problems), run_id=run_id
        )

    def _ordered(
        self,
        request: SearchRequest,
        conversation: ConversationState,
        scope: _Scope,
        listed: Sequence[str],
        rankings: Sequence[Sequence[str]],
    ) -> tuple[list[str], list[str]]:
        """What was found, best first, and those of it that fulfil as much as the best one."""
        places = {item_id: at for at, item_id in enumerate(dict.fromkeys([*listed, *fuse_rankings(rankings)]))}
        weights = self._weights(request, scope.passing)
        fulfilled = {item_id: round(sum(w for w, having in weights if item_id in having), 9) for item_id in places}
        shown = {each.item_id for each in conversation.shown}
        order = sorted(places, key=lambda item_id: (-fulfilled[item_id], item_id in shown, places[item_id]))
        order = [item_id for item_id in order if not scope.kinds or item_id in scope.of_kind]
        return order, [item_id for item_id in order if fulfilled[item_id] == fulfilled[order[0]]]

    async def _loop_list(
        self, request: SearchRequest, passing: Sequence[str]
    ) -> tuple[list[str], list[str], str | None]:
        """The list of the model's run, what is not as it should be, and the run's id."""
        if self._loop is None:
            return [], [], None
        allowed, filters = frozenset(passing), self._calls.filters_now()

        async def passes(item_ids: Sequence[str]) -> list[str]:
            kept = [item_id for item_id in item_ids if item_id in allowed]
            now = await keep_allowed(kept, filters) if filters else allowed
            return [item_id for item_id in kept if item_id in now]

        asked = {
            "history": list(request.history),
            "message": request.message,
            "where": request.where,
            "exclude": list(request.exclude),
            "settings": {"enforces_words": False, **request.settings},  # what the message states, the state holds
            "lineage": dict(request.lineage),
        }
        output = await self._loop.ainvoke(asked, context={"deeprec": {"item_filter": passes}})
        problems = [MODEL_UNAVAILABLE] if output["status"] == "fallback" else []
        listed = [each["item_id"] for each in output["recommendations"] if each["item_id"] in allowed]
        return listed, problems, output["run_id"]

    def _preference(self, request: SearchRequest, conversation: ConversationState) -> str | None:
        """The phrases that are asked for, and those that are closest to what else was said lately."""
        phrases = (request.terms.preference or "").split("; ")
        if self._catalogue.closest is not None:
            for said in conversation.said[-HEARD_TEXTS:]:
                wanted = without_refusals(said.text)
                phrases += self._catalogue.closest(wanted, CLOSEST_PHRASES) if wanted else ()
        return "; ".join(dict.fromkeys(filter(None, phrases))) or None

    async def _retrievals(
        self, request: SearchRequest, conversation: ConversationState, passing: Sequence[str]
    ) -> list[list[str]]:
        """What the recommender finds: for all that is asked for, and once more with each condition that weighs."""
        wheres: list[Where | None] = [request.where]
        if len(passing) > self._candidates:
            wheres += [merge_where(*request.hard, each) for each in request.weighed[-MAX_WEIGHED:]]
            narrowing = await asyncio.to_thread(self._narrowing, request, passing)
            wheres.append(merge_where(*request.hard, *narrowing))
        allowed = frozenset(passing)
        preference = await asyncio.to_thread(self._preference, request, conversation)  # it may encode texts
        found = []
        for where in {str(where): where for where in wheres if where is not None or where is wheres[0]}.values():
            items = await self._calls.retrieve(
                list(request.history),
                preference,
                k=min(self._candidates, len(passing)),
                trust=request.config.trust,
                words=request.terms.words if request.config.hears_words else None,
                words_trust=request.config.words_trust,
                where=where,
                exclude=request.exclude,
                passes=lambda ids: [item_id for item_id in ids if item_id in allowed],
                timeout_s=request.config.max_seconds,
            )
            found.append([item.id for item in items])
        return found

    def _narrowing(self, request: SearchRequest, passing: Sequence[str]) -> list[Where]:
        """The conditions that weigh, the rarest first, as far as an item is left that fulfils all of them."""
        left, kept = frozenset(passing), list[Where]()
        for where, having in sorted(self._having(request.weighed, passing), key=lambda each: len(each[1])):
            if left & having:
                left, kept = left & having, [*kept, where]
        return kept

    def _kinds_of_item(self, conversation: ConversationState) -> list[Where]:
        """The kinds of item that the person asks for, such as a kettle; one of another kind does not answer that.

        A kind beside which another wish will do ("a lamp or something washable") is none that an item must have.
        """
        return [
            {each.attribute: each.condition}
            for either in alternatives(conversation.preferred)
            for each in either
            if all(one.values and one.source != "model" and self._is_kind(one.attribute) for one in either)
        ]

    def _is_kind(self, attribute: str) -> bool:
        """Whether an attribute says what kind of thing an item is, by its name and by one value an item."""
        return self._catalogue.kinds.get(attribute) == "category" and self._catalogue.is_kind(attribute)

    def _weights(self, request: SearchRequest, passing: Sequence[str]) -> list[tuple[float, frozenset[str]]]:
        """How much each condition weighs, by the logarithm of its rarity, and the items that fulfil it."""
        weights = []
        for where, having in self._having(request.weighed, passing):
            more = KIND_WEIGHT if any(map(self._catalogue.is_kind, where)) else 1.0
            if having:
                weights.append((more * math.log(len(passing) / len(having)), having))
        return weights

    def _having(self, wheres: Sequence[Where], passing: Sequence[str]) -> list[tuple[Where, frozenset[str]]]:
        """Each condition with the items that fulfil it."""
        for where in wheres:
            if str(where) not in self._fulfilling:
                self._fulfilling[str(where)] = frozenset(self._catalogue.passing([where]))
        allowed = frozenset(passing) if wheres else frozenset[str]()
        return [(where, allowed & self._fulfilling[str(where)]) for where in wheres]
