"""One thread of the shopping agent with its cart: its turns, what is known, and the way back to the turn before."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.conversation import ConversationState, read_state
from deeprec.agent.graph.messages import DATA_KEY
from deeprec.agent.shopping import Cart
from deeprec.agent.shopping.cart import cart_owner
from deeprec.agent.shopping.turn_plan import read_plan
from deeprec.agent.traces.conversation_records import UNDONE, ConversationTurn
from deeprec.agent.traces.store.recorder import ConversationRecorder
from deeprec.agent.ui.steps import Step, turn_steps


class ChatThread:
    """A thread of an agent that keeps its threads in a checkpointer."""

    def __init__(
        self,
        agent: CompiledStateGraph[Any, Any, Any, Any],
        cart: Cart,
        name: str,
        *,
        history: Sequence[str] | None = None,
        person: str | None = None,
        recorder: ConversationRecorder | None = None,
    ) -> None:
        self.name = name
        self._agent, self._cart = agent, cart
        self._given = {} if history is None else {"history": list(history)}
        self._person, self._recorder = person, recorder
        self._config: RunnableConfig = {"configurable": {"thread_id": name}}

    async def values(self) -> Mapping[str, Any]:
        """The values of its state; empty before the first turn."""
        return (await self._agent.aget_state(self._config)).values

    async def known(self) -> ConversationState:
        """What is known in it."""
        return read_state((await self.values()).get("conversation") or {})

    async def last_list(self) -> Mapping[str, Any] | None:
        """The last reply that offers items, a `Reply` as JSON values; None before the first.

        A listing of the cart offers none, nor does an answer about items that were shown before.
        """
        for message in reversed((await self.values()).get("messages") or ()):
            reply = message.additional_kwargs.get(DATA_KEY)
            if isinstance(reply, Mapping) and (reply.get("kind") == "list" or reply.get("nearest")):
                return reply
        return None

    def turn(self, **asked: Any) -> AsyncGenerator[Step]:
        """Run one turn, and yield its steps as they happen; `values` then have its reply."""
        return turn_steps(self._agent, {**self._given, "person": self._person, **asked}, self.name)

    async def undo(self) -> bool:
        """Go back to the state before the last turn, also of the cart. Returns whether there was a turn.

        Of the cart only those items change that the turn put in or took out.
        """
        undone, before = (await self.values()).get("turn"), await self.known()
        snapshot = await self._agent.aget_state(self._config)
        while (snapshot.metadata or {}).get("source") != "input":  # which is the first checkpoint of a turn
            if snapshot.parent_config is None:
                return False
            snapshot = await self._agent.aget_state(snapshot.parent_config)
        if snapshot.parent_config is None:
            saver: Any = self._agent.checkpointer
            await saver.adelete_thread(self.name)
        else:
            # A copy is the latest checkpoint, so that the thread goes on from it after a restart too.
            await self._agent.aupdate_state(snapshot.parent_config, None, as_node="__copy__")
        after = await self.known()
        if self._recorder is not None and after.turn < before.turn:
            await self._recorder.record_conversation_turn(self._undo_row(before, after))
        if undone is not None and undone != (await self.values()).get("turn"):  # else it was stopped before it acted
            plan, owner = read_plan(undone), cart_owner(self._person, self._config)
            kept = plan.before.items_with("in_cart")
            for item_id in (item_id for action in plan.actions for item_id in action.item_ids):
                (self._cart.add if item_id in kept else self._cart.remove)(owner, item_id)
        return True

    def _undo_row(self, before: ConversationState, after: ConversationState) -> ConversationTurn:
        """What the trace says of an undo: the turns from this number on no longer count."""
        return ConversationTurn(
            thread_id=self.name,
            turn=before.turn,
            message_id=f"undo-{uuid4()}",
            user_id=self._person,
            message="/undo",
            kind=UNDONE,
            reply="The last turn is undone.",
            state_before=before.to_dict(),
            state_after=after.to_dict(),
        )
