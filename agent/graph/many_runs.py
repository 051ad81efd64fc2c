"""Many runs at once on one server, and a line about each of their steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.graph.state import AgentInput, AgentOutput


async def run_many(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    requests: Sequence[AgentInput],
    *,
    max_concurrency: int = 32,
    on_update: Callable[[int, str, Mapping[str, Any]], None] | None = None,
) -> list[AgentOutput]:
    """Run the agent for every request, each on its own and at its own pace.

    Args:
        graph: What `build_graph` returned.
        requests: One request a run.
        max_concurrency: Runs in flight at once.
        on_update: Called after each step with the request's index, the node's name and the keys that it wrote.

    Returns:
        The outputs, in the order of the requests.

    Raises:
        DeepRecError: a request cannot be run; the first such error is raised, and the other runs are cancelled.
    """
    slots = asyncio.Semaphore(max_concurrency)

    async def run(index: int) -> AgentOutput:
        output: dict[str, Any] = {}
        async with slots:
            async for update in graph.astream(requests[index], stream_mode="updates"):
                for node, wrote in update.items():
                    output |= {key: wrote[key] for key in AgentOutput.__annotations__ if key in wrote}
                    if on_update is not None:
                        on_update(index, node, wrote)
        return cast(AgentOutput, output)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(index)) for index in range(len(requests))]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def step_text(node: str, wrote: Mapping[str, Any]) -> str | None:
    """Describe in one line what a step did; None where nothing is worth a line."""
    decision = wrote.get("decision") or {}
    if node == "reason" and decision.get("action") == "retrieve":
        return f"retrieves: {decision['preference']}"
    if node in ("reason", "rank") and decision.get("action") == "malformed":
        return f"wrote something unreadable: {decision['detail']}"
    if node == "retrieve":
        return f"has {len(wrote['candidates'])} candidates"
    if node == "rank":
        return f"ranks {len(wrote.get('written', []))} of them"
    if node == "finish":
        return f"is done: {wrote['status']}" + (f" ({wrote['detail']})" if wrote["detail"] else "")
    return None
