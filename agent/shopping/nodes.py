"""The nodes of the shopping graph: hear, act, search, answer.

What takes time in proportion to a conversation or the catalogue runs in threads, so that conversations that are held at
the same time do not wait for each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    describe_state,
    state_difference,
)
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.messages import DATA_KEY
from deeprec.agent.graph.recommender_calls import RecommenderCalls
from deeprec.agent.shopping.answers import Answers
from deeprec.agent.shopping.cart import Cart, cart_owner
from deeprec.agent.shopping.config import ShoppingConfig
from deeprec.agent.shopping.current_catalogue import CurrentCatalogue
from deeprec.agent.shopping.hearing import plan_turn
from deeprec.agent.shopping.item_records import ItemRecords
from deeprec.agent.shopping.model_delta import ModelDelta
from deeprec.agent.shopping.reply import ConfirmedAction
from deeprec.agent.shopping.search import Search
from deeprec.agent.shopping.search_request import SearchRequest, list_length, search_request
from deeprec.agent.shopping.state import ShoppingState
from deeprec.agent.shopping.thread_checkpoints import ThreadCheckpoints
from deeprec.agent.shopping.thread_memory import conversation_of, last_heard
from deeprec.agent.shopping.turn_plan import Found, TurnPlan, read_plan
from deeprec.trm_tool.text import has_words

_log = logging.getLogger(__name__)

NO_TEXT = "Only text can be read here; please write in words what you are looking for."
NO_MORE = "These were all the items that fit. Change or drop a wish to see others."
CART_UNAVAILABLE = "The cart is unavailable at the moment; nothing was changed in it."


class Nodes:
    """The nodes of one agent."""

    def __init__(
        self,
        catalogue: CurrentCatalogue,
        calls: RecommenderCalls,
        loop: CompiledStateGraph[Any, Any, Any, Any] | None,
        cart: Cart,
        config: AgentConfig,
        shopping: ShoppingConfig,
        model: ModelDelta | None = None,
        checkpoints: ThreadCheckpoints | None = None,
    ) -> None:
        self._model, self._checkpoints = model, checkpoints
        self._catalogue, self._calls, self._loop = catalogue, calls, loop
        self._cart, self._config, self._shopping = cart, config, shopping

    async def hear(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Read the message and the person's own edit into the state, and decide what to answer."""
        catalogue = await self._catalogue.refreshed()
        owner = cart_owner(state.get("person"), config)
        known = await asyncio.to_thread(conversation_of, state, catalogue)  # which may read many messages again
        before = await self._with_cart(known, catalogue, owner)
        message, heard = last_heard(state)
        text = "" if message is None else str(message.text)
        last = read_plan(state["turn"]) if state.get("turn") else None
        edit = state.get("edit")
        plan, after = await asyncio.to_thread(plan_turn, text, before, catalogue, edit=edit, last=last)
        if message is not None and not text.strip() and message.content:
            plan = replace(plan, problems=(*plan.problems, NO_TEXT))
        if self._model is not None and plan.intent == "search" and has_words(text):
            after = await self._model.applied(plan.message, after, catalogue)
        changed = state_difference(before, after)
        lines = [*(f"+ {line}" for line in changed.added), *(f"- {line}" for line in changed.removed)]
        get_stream_writer()({DATA_KEY: "delta", "changes": lines, "problems": list(plan.problems)})
        if self._checkpoints is not None:
            await self._checkpoints.prune(config, after.turn)
        return {"conversation": after.to_dict(), "turn": plan.to_dict(), "heard": heard, "edit": None}

    async def act(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Do what the message asks to be done with items, by the cart's own receipts."""
        catalogue = self._catalogue.now
        plan, conversation = await _so_far(state, catalogue)
        person, problems = cart_owner(state.get("person"), config), list(plan.problems)
        confirmed = []
        for asked in plan.actions:
            adds = asked.kind != "remove_from_cart"
            done, failed = list[str](), list[str]()
            for item_id in asked.item_ids:
                if not adds and item_id not in conversation.items_with("in_cart"):
                    problems.append(f"{ItemRecords(catalogue).title(item_id)} is not in your cart.")
                    failed.append(item_id)
                    continue
                try:
                    call = self._cart.add if adds else self._cart.remove
                    receipt = await asyncio.to_thread(call, person, item_id)
                except Exception as error:  # a shop's own cart may raise anything
                    _log.warning("The cart failed: %r", error)
                    problems.append(CART_UNAVAILABLE)
                    failed.append(item_id)
                    continue
                (done if receipt.done else failed).append(item_id)
                if not receipt.done:
                    problems.append(receipt.detail or "The cart did not accept it.")
            if adds:
                conversation = conversation.with_feedback("in_cart", done)
            else:
                conversation = conversation.without_feedback("in_cart", done)
            if asked.kind == "buy" and done:
                problems.append("Nothing is ordered yet: the order is placed in the shop's own checkout.")
            kind: Any = "add_to_cart" if adds else "remove_from_cart"
            confirmed.append(ConfirmedAction(kind=kind, item_ids=tuple(done), failed=tuple(failed)))
        plan = replace(plan, confirmed=tuple(confirmed), problems=tuple(dict.fromkeys(problems)))
        return {"conversation": conversation.to_dict(), "turn": plan.to_dict()}

    async def search(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Search for what is known. A list that was shown is not repeated: further items take its place.

        Once there are none, the list is shown a second time, and not a third time.
        """
        catalogue = self._catalogue.now
        plan, conversation = await _so_far(state, catalogue)
        request = await asyncio.to_thread(search_request, state, conversation, catalogue, self._config)
        search = Search(self._calls, self._loop, catalogue, self._shopping.candidates)
        last, asked = state.get("repeated") or {}, _digest(request, conversation)
        is_same = last.get("digest") == asked
        seen = list(last.get("item_ids", ()) if is_same else conversation.last_list if plan.wants_more else ())
        was_repeated = is_same and last.get("was_repeated", False)
        found = Found()
        if seen:
            found = await search.find(replace(request, exclude=(*request.exclude, *seen)), conversation)
        if seen and not found.item_ids:
            shows_again = not was_repeated and not plan.wants_more
            found = await search.find(request, conversation) if shows_again else Found()
            found = replace(found, problems=(*found.problems, NO_MORE))
            was_repeated = True
        elif seen:
            plan = replace(plan, wants_more=True)
        else:
            found = await search.find(request, conversation)
        is_last_list = bool(found.item_ids) and found.item_ids == conversation.last_list
        is_retry = is_last_list and last.get("was_last_list") and not state_difference(plan.before, conversation)
        if is_retry:  # other words of the same wishes, and it would be the same list a third time
            further = replace(request, exclude=(*request.exclude, *found.item_ids))
            found, plan = await search.find(further, conversation), replace(plan, wants_more=True)
            found = found if found.item_ids else Found(problems=(NO_MORE,))
        item_ids = list(dict.fromkeys([*seen, *found.item_ids]))
        repeated = {"digest": asked, "item_ids": item_ids, "was_repeated": was_repeated, "was_last_list": is_last_list}
        return {"turn": replace(plan, found=found).to_dict(), "repeated": repeated}

    async def answer(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Compose the reply and append it to the conversation."""
        catalogue = self._catalogue.now
        plan, conversation = await _so_far(state, catalogue)
        answers, k = Answers(catalogue, self._shopping), list_length(self._config)
        reply, conversation = await asyncio.to_thread(answers.reply, plan, conversation, k)
        written = reply.to_dict()
        get_stream_writer()({DATA_KEY: "reply", "reply": written})
        message = AIMessage(reply.text, id=f"deeprec-{uuid4()}", additional_kwargs={DATA_KEY: written})
        messages: list[Any] = [*_outdated(state.get("messages", []), self._shopping.max_messages), message]
        return {
            "messages": messages,
            "conversation": conversation.to_dict(),
            "reply": written,
        }

    async def _with_cart(
        self, conversation: ConversationState, catalogue: ConversationCatalogue, person: str
    ) -> ConversationState:
        """The state with what is in the cart at this moment; people also use it elsewhere."""
        try:
            items = await asyncio.to_thread(self._cart.items, person)
        except Exception as error:  # a shop's own cart may raise anything
            _log.warning("The cart failed: %r", error)
            return conversation
        there = [item_id for item_id in items if item_id in catalogue.catalogue]
        known = conversation.items_with("in_cart")
        conversation = conversation.without_feedback("in_cart", [each for each in known if each not in there])
        return conversation.with_feedback("in_cart", [each for each in there if each not in known])


async def _so_far(state: ShoppingState, catalogue: ConversationCatalogue) -> tuple[TurnPlan, ConversationState]:
    """What the turn has decided so far, and what is known."""
    return await asyncio.to_thread(lambda: (read_plan(state["turn"]), conversation_of(state, catalogue)))


def after_hearing(state: ShoppingState) -> str:
    """Act, search, or answer at once."""
    plan = read_plan(state["turn"])
    return "act" if plan.actions else after_acting(state)


def after_acting(state: ShoppingState) -> str:
    """Search, or answer at once."""
    return "search" if read_plan(state["turn"]).intent == "search" else "answer"


def _digest(request: SearchRequest, conversation: ConversationState) -> str:
    """What is asked for, whatever the person thinks of items."""
    asked = [request.hard, request.weighed, request.message, conversation.set_aside, describe_state(conversation)]
    return hashlib.sha256(json.dumps(asked, default=str, sort_keys=True).encode()).hexdigest()


def _outdated(messages: Sequence[AnyMessage], limit: int) -> list[RemoveMessage]:
    """Removals of the oldest messages, so that with one more a thread keeps `limit`."""
    return [RemoveMessage(id=str(each.id)) for each in messages[: max(0, len(messages) + 1 - limit)]]
