"""The log of a conversation: each answered turn goes to the trace store, beside the run of its search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from langchain_core.runnables import RunnableConfig

from deeprec.agent.graph.caller_config import caller_config
from deeprec.agent.graph.request import read_history, read_lineage
from deeprec.agent.graph.request_settings import merge_sources, request_sources
from deeprec.agent.shopping.state import ShoppingState
from deeprec.agent.shopping.turn_plan import TurnPlan, read_plan
from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.store.recorder import ConversationRecorder

MAX_MESSAGE_CHARS = 8_000
"""Characters of a message that are logged, as many as a request holds."""


class TurnLog:
    """The node `log`, the last one of a turn. A store that fails ends no conversation."""

    def __init__(self, recorder: ConversationRecorder) -> None:
        self._recorder = recorder

    async def log(self, state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        """Log the turn; a turn that is answered again after its process was killed replaces what was logged."""
        await self._recorder.record_conversation_turn(_logged(state))
        return {}


def _logged(state: ShoppingState) -> ConversationTurn:
    plan, reply, after = read_plan(state["turn"]), state["reply"], state["conversation"]
    sources = merge_sources(request_sources())
    lineage, caller = read_lineage(sources.get("lineage")), caller_config()
    run_id = reply.get("run_id")
    return ConversationTurn(
        # A call without a thread is a conversation of its own.
        thread_id=caller["thread_id"] or f"call:{caller['caller_run_id'] or uuid4()}",
        turn=after["turn"],
        message_id=state.get("heard") or "",
        tenant=lineage.get("tenant"),
        user_id=state.get("person") or lineage.get("user_id"),
        suite=lineage.get("suite"),
        history=tuple(read_history(state.get("history") or sources.get("history") or [])),
        message=_message(state) if plan.message else "",  # without one, the person edited by hand
        delta=reply["difference"],
        state_before=plan.before.to_dict(),
        state_after=after,
        kind=reply["kind"],
        reply=reply["text"],
        problems=tuple(reply["problems"]),
        shown=tuple(_shown(reply)),
        question=reply["question"],
        actions=tuple(_actions(plan)),
        run_id=None if run_id is None else UUID(run_id),
    )


def _message(state: ShoppingState) -> str:
    """What the person wrote, which a plan may have put into other words."""
    said = [each for each in state.get("messages") or [] if each.id == state.get("heard")]
    return str(said[-1].text)[:MAX_MESSAGE_CHARS] if said else ""


def _shown(reply: Mapping[str, Any]) -> Sequence[str]:
    """The items that were offered: a list, or the nearest. An answer about items offers none anew."""
    cards = [*(reply["items"] if reply["kind"] == "list" else ()), *reply["nearest"]]
    return [card["item_id"] for card in cards]


def _actions(plan: TurnPlan) -> Sequence[dict[str, Any]]:
    written: Sequence[dict[str, Any]] = plan.to_dict()["confirmed"]
    return written
