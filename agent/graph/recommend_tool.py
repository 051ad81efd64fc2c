"""The whole agent as one tool of somebody else's agent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any, cast

from langchain_core.tools import InjectedToolArg, StructuredTool, ToolException
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel, Field, field_validator

from deeprec.agent.graph.messages import answer_text
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.graph.state import AgentInput, AgentOutput, AgentState, Lineage
from deeprec.trm_tool import (
    ConfigError,
    RecommenderRefusedError,
    RecommenderUnavailableError,
    UnknownItemError,
    Where,
    neutralise,
)
from deeprec.trm_tool.tool import REASON_CHARS
from deeprec.trm_tool.tool_values import FromRun, value_for_call

_logger = logging.getLogger(__name__)


_Message = Annotated[
    str | None, Field(description="What the person asks for, in their own words. Leave it out if they ask for nothing.")
]


class MessageInput(BaseModel):
    """Arguments of `recommend_items` where the program gives the history."""

    message: _Message = None


class HistoryInput(BaseModel):
    """Arguments of `recommend_items` where the model gives the history as well."""

    history: list[str] = Field(
        description="The ids of the items that the person chose, the latest last, as they stand after `id:` in earlier "
        "answers. Ids, not titles. An empty list if none is known."
    )
    message: _Message = None

    @field_validator("history", mode="before")
    @classmethod
    def _numbers_as_text(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return [str(part) if isinstance(part, int) and not isinstance(part, bool) else part for part in value]


def make_recommend_tool(
    agent: CompiledStateGraph[Any, Any, Any, Any],
    *,
    history: FromRun[Sequence[str]] | None = None,
    where: FromRun[Where | None] = None,
    lineage: FromRun[Lineage | None] = None,
) -> StructuredTool:
    """Build the tool `recommend_items` around what `build_graph` returned.

    The outer model sets `message`, and `history` where that is not given here; it neither sees nor sets the rest. Each
    of `history`, `where` and `lineage` is a value, the same in every call, or a function of LangGraph's `ToolRuntime`,
    which `ToolNode` injects: its `state` is what `InjectedState` reads, beside context, config and store of the run.

        make_recommend_tool(
            agent,
            history=lambda runtime: runtime.state["purchases"],
            lineage=lambda runtime: {"user_id": runtime.context.user_id},
        )

    The content of an answer is the numbered list with titles and item ids, made safe for a prompt, and a line on
    whatever is not as it was asked for. Its artifact is the agent's whole output, an `AgentOutput` of plain data. An
    unknown item id and an unavailable recommender are answers with `status="error"`, so that the outer run goes on.

    Args:
        agent: The compiled graph.
        history: Item ids of the person, oldest first; None leaves them to the outer model.
        where: Constraints that hold in every retrieval, whatever the outer model asks for.
        lineage: What is logged with the run. With its `user_id` the runs of a person can be redacted.

    Raises:
        ConfigError: when the tool is made or called, a value that the program gave cannot be used; or a function needs
            the `ToolRuntime`, and the tool was not called through `ToolNode`.
    """
    _check(history, where, lineage)
    model_gives_history = history is None

    def answer(output: dict[str, Any] | Any) -> tuple[str, AgentOutput]:
        result = cast(AgentOutput, output)
        if model_gives_history:
            _refuse_unknown(result)
        return answer_text(result), result

    def request(own: list[str] | None, message: str | None, runtime: object) -> AgentInput:
        return AgentInput(
            history=own or [] if history is None else cast(list[str], value_for_call("history", history, runtime)),
            message=message,
            where=value_for_call("where", where, runtime),
            lineage=value_for_call("lineage", lineage, runtime),
        )

    async def recommend(
        history: list[str] | None = None,
        message: str | None = None,
        runtime: Annotated[Any, InjectedToolArg] = None,
    ) -> tuple[str, AgentOutput]:
        asked = request(history, message, runtime)
        try:
            return answer(await agent.ainvoke(asked))
        except (UnknownItemError, RecommenderUnavailableError, RecommenderRefusedError) as error:
            raise _answerable(error, can_correct=model_gives_history) from error

    def recommend_sync(
        history: list[str] | None = None,
        message: str | None = None,
        runtime: Annotated[Any, InjectedToolArg] = None,
    ) -> tuple[str, AgentOutput]:
        asked = request(history, message, runtime)
        try:
            return answer(agent.invoke(asked))
        except (UnknownItemError, RecommenderUnavailableError, RecommenderRefusedError) as error:
            raise _answerable(error, can_correct=model_gives_history) from error

    form = '{"history": ["item id", "item id"], "message": "…"}' if model_gives_history else '{"message": "…"}'
    return StructuredTool.from_function(
        func=recommend_sync,
        coroutine=recommend,
        name="recommend_items",
        description="Recommend items to a person, by reasoning over their history and what they ask for.",
        args_schema=HistoryInput if model_gives_history else MessageInput,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=f"This call could not be read. Send {form}.",
    )


def _check(history: object, where: object, lineage: object) -> None:
    """Raise for values of the program that no call could use. What functions return is checked by each call."""
    given = {"history": history, "where": where, "lineage": lineage}
    fixed = {name: value for name, value in given.items() if value is not None and not callable(value)}
    start = RunStart.of(cast(AgentState, {"history": [], **fixed}), task="none")
    if "run_id" in start.lineage:
        raise ConfigError(
            "lineage has a run_id, so that every call would be the same run. Leave it out, or give a function that "
            "returns another one for each call."
        )


def _refuse_unknown(result: AgentOutput) -> None:
    """Raise for a history of the outer model with ids that it made up; those of the program are skipped."""
    if unknown := result.get("unknown_items"):
        raise UnknownItemError(f"Not in the catalogue: {', '.join(map(repr, unknown[:10]))}.")


def _answerable(error: Exception, *, can_correct: bool) -> ToolException:
    """The error as the outer model reads it; `can_correct` is whether another history of its own may help."""
    reason = neutralise(str(error), REASON_CHARS)
    _logger.warning("recommend_items answers with an error: %s", reason)
    if not isinstance(error, UnknownItemError):
        return ToolException(f"No recommendations at the moment: {reason}")
    if can_correct:
        return ToolException(f"{reason} Give ids as earlier answers show them after `id:`, or an empty list.")
    return ToolException(f"{reason} The history does not come from you, so that another call will not help.")
