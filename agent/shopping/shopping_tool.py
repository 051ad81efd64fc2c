"""The shopping agent as a tool of another agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from langchain_core.messages import HumanMessage
from langchain_core.tools import InjectedToolArg, StructuredTool
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel, Field

from deeprec.trm_tool.tool_values import FromRun, value_for_call


class ShoppingToolInput(BaseModel):
    """Arguments of `ask_shop`."""

    message: str = Field(
        description="What the person says, in their own words: what they look for, a change of it, a question about an "
        "item that was shown, or what to put into the cart."
    )


def make_shopping_tool(
    agent: CompiledStateGraph[Any, Any, Any, Any],
    *,
    history: FromRun[Sequence[str]] | None = None,
    person: FromRun[str] | None = None,
) -> StructuredTool:
    """Build the tool `ask_shop` around what `build_shopping_agent` returned.

    Its answer is the text of the reply; its artifact is the `Reply` as JSON values. Build the agent with
    `checkpointer=True`: the conversation then goes on from call to call with the thread of the outer graph. `history`
    and `person` are values, or functions of LangGraph's `ToolRuntime`, as in `make_recommend_tool`.

    Args:
        agent: The compiled graph.
        history: Ids of the items that the person chose before the conversation.
        person: The caller's key of the person.
    """

    def request(message: str, runtime: object) -> dict[str, Any]:
        asked: dict[str, Any] = {"messages": [HumanMessage(message)]}
        if history is not None:
            asked["history"] = value_for_call("history", history, runtime)
        if person is not None:
            asked["person"] = value_for_call("person", person, runtime)
        return asked

    def answer(output: dict[str, Any] | Any) -> tuple[str, dict[str, Any]]:
        reply = cast(dict[str, Any], output["reply"])
        return reply["text"], reply

    async def ask(message: str, runtime: Annotated[Any, InjectedToolArg] = None) -> tuple[str, dict[str, Any]]:
        return answer(await agent.ainvoke(request(message, runtime)))

    def ask_sync(message: str, runtime: Annotated[Any, InjectedToolArg] = None) -> tuple[str, dict[str, Any]]:
        return answer(agent.invoke(request(message, runtime)))

    return StructuredTool.from_function(
        func=ask_sync,
        coroutine=ask,
        name="ask_shop",
        description="Pass on what a person says to the shop's own assistant, which knows the catalogue and the "
        "conversation so far, and get its answer.",
        args_schema=ShoppingToolInput,
        response_format="content_and_artifact",
        handle_validation_error='This call could not be read. Send {"message": "…"}.',
    )
