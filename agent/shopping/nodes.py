"""The nodes of the shopping graph: hear, act, search, answer."""

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

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    apply_delta,
    check_delta,
    delta_of_message,
    describe_state,
    read_delta,
    state_difference,
)
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.messages import DATA_KEY
from deeprec.agent.shopping.answers import Answers
from deeprec.agent.shopping.cart import Cart
from deeprec.agent.shopping.config import ShoppingConfig
from deeprec.agent.shopping.intents import intent_of, intent_of_edit, wants_more
from deeprec.agent.shopping.reply import ConfirmedAction
from deeprec.agent.shopping.search import Search
from deeprec.agent.shopping.search_request import SearchRequest, search_request
from deeprec.agent.shopping.state import ShoppingState
from deeprec.agent.shopping.thread_memory import conversation_of, last_heard
from deeprec.agent.shopping.turn_plan import Found, TurnPlan, read_plan

_log = logging.getLogger(__name__)

NO_TEXT = "Only text can be read here; please write in words what you are looking for."
CART_UNAVAILABLE = "The cart is unavailable at the moment; nothing was changed in it."


class Nodes:
    """The nodes of one agent."""

    def __init__(
        self,
        catalogue: ConversationCatalogue,
        search: Search,
        cart: Cart,
        config: AgentConfig,
        shopping: ShoppingConfig,
    ) -> None:
        self._catalogue, self._search, self._cart = catalogue, search, cart
        self._config, self._shopping = config, shopping
        self._answers = Answers(catalogue, shopping)

    async def hear(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Read the message and the person's own edit into the state, and decide what to answer."""
        before = conversation_of(state, self._catalogue)
        before, problems = await self._with_cart(before, state, config)
        message, heard = last_heard(state)
        text = "" if message is None else str(message.text)
        if message is not None and not text.strip() and message.content:
            problems.append(NO_TEXT)
        delta = delta_of_message(text, before, self._catalogue)
        after = apply_delta(before, delta)
        intent, item_ids = intent_of(text, delta, after, self._catalogue)
        actions = delta.actions
        if state.get("edit") is not None:
            edited, unread = read_delta(state.get("edit"), turn=after.turn, source="person")
            checked = check_delta(edited, after, self._catalogue, "")
            after = apply_delta(after, checked.delta)
            actions += checked.delta.actions
            problems += [each.reason for each in (*unread, *checked.problems)]
            if not text:
                intent, item_ids = intent_of_edit(checked.delta)
        plan = TurnPlan(
            intent=intent,
            message=text[:2_000],
            before=before,
            item_ids=item_ids,
            unresolved=delta.unresolved,
            actions=actions,
            problems=tuple(problems),
            wants_more=wants_more(text),
        )
        changed = state_difference(before, after)
        lines = [*(f"+ {line}" for line in changed.added), *(f"- {line}" for line in changed.removed)]
        get_stream_writer()({DATA_KEY: "delta", "changes": lines, "problems": problems})
        return {"conversation": after.to_dict(), "turn": plan.to_dict(), "heard": heard, "edit": None}

    async def act(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Do what the message asks to be done with items, by the cart's own receipts."""
        plan, conversation = read_plan(state["turn"]), conversation_of(state, self._catalogue)
        person, problems = _person(state, config), list(plan.problems)
        confirmed = []
        for asked in plan.actions:
            adds = asked.kind != "remove_from_cart"
            done, failed = list[str](), list[str]()
            for item_id in asked.item_ids:
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
        """Search for what is known. A list that was shown already is not repeated: further items take its place."""
        plan, conversation = read_plan(state["turn"]), conversation_of(state, self._catalogue)
        request = search_request(state, conversation, self._catalogue, self._config)
        asked = _digest(request, conversation)
        repeated = state.get("repeated") or {}
        seen: list[str] = []
        if plan.wants_more or repeated.get("digest") == asked:
            seen = list(repeated.get("item_ids", []) or conversation.last_list)
            request = search_request(state, conversation, self._catalogue, self._config, seen)
        found = await self._search.find(request, conversation)
        if seen and not found.item_ids:
            found = Found(problems=("These were all the items that fit. Change or drop a wish to see others.",))
        plan = replace(plan, found=found)
        return {
            "turn": plan.to_dict(),
            "repeated": {"digest": asked, "item_ids": list(dict.fromkeys([*seen, *found.item_ids]))},
        }

    async def answer(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Compose the reply and append it to the conversation."""
        plan, conversation = read_plan(state["turn"]), conversation_of(state, self._catalogue)
        k = search_request(state, conversation, self._catalogue, self._config).config.k
        reply, conversation = self._answers.reply(plan, conversation, k)
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
        self, conversation: ConversationState, state: ShoppingState, config: RunnableConfig
    ) -> tuple[ConversationState, list[str]]:
        """The state with what is in the cart at this moment; people also use it elsewhere."""
        try:
            items = await asyncio.to_thread(self._cart.items, _person(state, config))
        except Exception as error:  # a shop's own cart may raise anything
            _log.warning("The cart failed: %r", error)
            return conversation, []
        there = [item_id for item_id in items if item_id in self._catalogue.catalogue]
        known = conversation.items_with("in_cart")
        conversation = conversation.without_feedback("in_cart", [each for each in known if each not in there])
        return conversation.with_feedback("in_cart", [each for each in there if each not in known]), []


def after_hearing(state: ShoppingState) -> str:
    """Act, search, or answer at once."""
    plan = read_plan(state["turn"])
    return "act" if plan.actions else after_acting(state)


def after_acting(state: ShoppingState) -> str:
    """Search, or answer at once."""
    return "search" if read_plan(state["turn"]).intent == "search" else "answer"


def _person(state: ShoppingState, config: RunnableConfig) -> str:
    """The key of the person's cart: the caller's, else the thread's own."""
    if state.get("person"):
        return str(state["person"])
    thread = config.get("configurable", {}).get("thread_id")
    return f"thread:{thread}" if thread else f"call:{config.get('run_id') or uuid4()}"


def _digest(request: SearchRequest, conversation: ConversationState) -> str:
    asked = [
        request.hard,
        request.weighed,
        request.exclude,
        request.history,
        request.message,
        describe_state(conversation),
    ]
    return hashlib.sha256(json.dumps(asked, default=str, sort_keys=True).encode()).hexdigest()


def _outdated(messages: Sequence[AnyMessage], limit: int) -> list[RemoveMessage]:
    """Removals of the oldest messages, so that with one more a thread keeps `limit`."""
    return [RemoveMessage(id=str(each.id)) for each in messages[: max(0, len(messages) + 1 - limit)]]
