"""A graph of `build_shopping_agent` as an agent that talks with simulated people."""

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from deeprec.agent.conversation import read_state, retrieval_terms
from deeprec.agent.shopping import Cart
from deeprec.agent.shopping.cart import cart_owner
from deeprec.evals.simulation.conversations import AgentReply, ConversingAgent
from deeprec.evals.simulation.outcomes import Message

SUITE = "simulation"
"""The suite of what is logged, unless another one is named."""


def make_graph_agent(graph: Runnable[Any, Any], cart: Cart | None = None, *, suite: str = SUITE) -> ConversingAgent:
    """Let a shopping agent hold simulated conversations; each is a thread of its checkpointer.

    Only the last message is sent: what was said before is known from the thread.

    Args:
        graph: Of `build_shopping_agent`, with a checkpointer.
        cart: The cart that the graph was built with. With it, people who accepted an item also ask for cart actions.
        suite: The suite in the lineage of what the graph's recorder logs, which keeps the made words out of exported
            requests.
    """

    async def answer(messages: Sequence[Message], *, thread: str, history: Sequence[str]) -> AgentReply:
        config: RunnableConfig = {"configurable": {"thread_id": thread, "lineage": {"suite": suite}}}
        request = {"messages": [HumanMessage(messages[-1]["content"])], "history": list(history)}
        output = await graph.ainvoke(request, config)
        reply = output["reply"]
        question, action = reply["question"] or {}, reply["action"] or {}
        done = {action.get("kind"): action.get("item_ids", ())}
        return AgentReply(
            text=reply["text"],
            items=[item["item_id"] for item in reply["items"]],
            is_excerpt=reply["kind"] not in ("list", "cart"),
            asks=question.get("attribute") or None,
            held=retrieval_terms(read_state(output["conversation"])).hard,
            added=done.get("add_to_cart", ()),
            removed=done.get("remove_from_cart", ()),
            cart=None if cart is None else await asyncio.to_thread(cart.items, cart_owner(None, config)),
        )

    return answer
