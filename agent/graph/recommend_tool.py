"""The whole agent as one tool of somebody else's agent."""

from __future__ import annotations

from typing import Annotated, Any, cast

from langchain_core.tools import StructuredTool
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.graph.state import AgentInput, AgentOutput
from deeprec.agent.protocols.prompts import Prompts
from deeprec.trm_tool import neutralise

_MAX_TITLE_CHARS = 80


def make_recommend_tool(agent: CompiledStateGraph[Any, Any, Any, Any]) -> StructuredTool:
    """Build the tool `recommend_items` around what `build_graph` returned.

    Returns:
        A tool of `history` (item ids, oldest first) and `message`. Its content is the numbered list with titles, made
        safe for a prompt; its artifact is the agent's whole output, with item ids, status and run id.
    """

    def answer(output: AgentOutput) -> tuple[str, AgentOutput]:
        titles = [
            (listed["rank"], neutralise(listed["title"], _MAX_TITLE_CHARS)) for listed in output["recommendations"]
        ]
        return Prompts().items(titles), output

    async def recommend(
        history: Annotated[list[str], "Ids of the items that the person chose, the latest last; may be empty."],
        message: Annotated[str | None, "What the person asks for, in their words."] = None,
    ) -> tuple[str, AgentOutput]:
        return answer(cast(AgentOutput, await agent.ainvoke(AgentInput(history=history, message=message))))

    def recommend_sync(history: list[str], message: str | None = None) -> tuple[str, AgentOutput]:
        return answer(cast(AgentOutput, agent.invoke(AgentInput(history=history, message=message))))

    return StructuredTool.from_function(
        func=recommend_sync,
        coroutine=recommend,
        name="recommend_items",
        description="Recommend items to a person, by reasoning over their history and what they ask for.",
        response_format="content_and_artifact",
    )
