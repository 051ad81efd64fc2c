"""Resuming a thread of the agent whose process was killed, from what its checkpointer kept."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot

from deeprec.agent.graph.state import AgentInput, AgentOutput, AgentState
from deeprec.trm_tool import ConfigError

AgentGraph = CompiledStateGraph[AgentState, Any, AgentInput, AgentOutput]


def resume_thread(graph: AgentGraph, config: RunnableConfig) -> AgentOutput:
    """Bring the last run of a thread to its end, wherever its process was killed.

    A step that the checkpointer kept is not run again; with a recorder neither is one that the trace kept. Where the
    run has ended, nothing runs. `state.next` alone does not show that: it is empty as well where the process was killed
    after a step and before the next checkpoint. A run that waits for a person is continued as `invoke(None, config)`
    does it: past a halt of `interrupt_before` or `interrupt_after`, and up to an `interrupt()`.

    Args:
        graph: What `build_graph` returned, with the checkpointer that the thread was begun with.
        config: Names the thread: `{"configurable": {"thread_id": …}}`.

    Returns:
        The result of the run, also where it had ended before.

    Raises:
        ConfigError: the graph has no checkpointer, or no run was begun on the thread.
    """
    _check(graph)
    ended = _ended(graph.get_state(config), config)
    return ended or cast(AgentOutput, graph.invoke(None, config, durability="sync"))


async def aresume_thread(graph: AgentGraph, config: RunnableConfig) -> AgentOutput:
    """Bring the last run of a thread to its end, as `resume_thread` does, with an asynchronous checkpointer too."""
    _check(graph)
    ended = _ended(await graph.aget_state(config), config)
    return ended or cast(AgentOutput, await graph.ainvoke(None, config, durability="sync"))


def _check(graph: AgentGraph) -> None:
    if not graph.checkpointer:
        raise ConfigError("The graph has no checkpointer, which keeps threads. Pass one to build_graph.")


def _ended(state: StateSnapshot, config: RunnableConfig) -> AgentOutput | None:
    """The result of a run that has ended; None for one that has not."""
    if not state.values and not state.tasks:
        thread = config.get("configurable", {}).get("thread_id")
        raise ConfigError(
            f"No run was begun on the thread {str(thread)[:80]!r}, so that none can be resumed. Invoke the graph with "
            "a request, or name the thread and the checkpointer of the run."
        )
    if state.tasks or state.values.get("status") == "running":  # tasks: a request whose first step is not kept yet
        return None
    values: dict[str, Any] = state.values
    return cast(AgentOutput, {name: values[name] for name in AgentOutput.__annotations__ if name in values})
