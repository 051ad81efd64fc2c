"""A graph of `build_shopping_agent` as an agent that talks with simulated people."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable

from deeprec.agent.conversation import read_state, retrieval_terms
from deeprec.evals.simulation.conversations import AgentReply, ConversingAgent
from deeprec.evals.simulation.outcomes import Message


def make_graph_agent(graph: Runnable[Any, Any]) -> ConversingAgent:
    """Let a shopping agent hold simulated conversations; each is a thread of its checkpointer.

    Only the last message is sent: what was said before is known from the thread.

    Args:
        graph: Of `build_shopping_agent`, with a checkpointer.
    """

    async def answer(messages: Sequence[Message], *, thread: str, history: Sequence[str]) -> AgentReply:
        output = await graph.ainvoke(
            {"messages": [HumanMessage(messages[-1]["content"])], "history": list(history)},
            {"configurable": {"thread_id": thread}},
        )
        reply = output["reply"]
        question = reply["question"] or {}
        return AgentReply(
            text=reply["text"],
            items=[item["item_id"] for item in reply["items"]],
            asks=question.get("attribute") or None,
            held=retrieval_terms(read_state(output["conversation"])).hard,
        )

    return answer
