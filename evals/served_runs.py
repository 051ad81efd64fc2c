"""Many agent runs on one server, where a run that the server's end spoilt does not pass for a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langgraph.graph.state import CompiledStateGraph

from deeprec.agent import AgentInput, CompletionPolicy, PolicyError, TraceStore, run_many
from deeprec.trm_tool.errors import DeepRecError

_MAX_FALLEN = 16
"""Runs that may fall back before the server counts as lost."""


class ServerLostError(DeepRecError):
    """The model's server went away while agents ran. What has finished is stored; run the same again to go on."""


async def run_on_server(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    requests: Sequence[AgentInput],
    *,
    policy: CompletionPolicy,
    store: TraceStore,
    max_concurrency: int,
    on_ended: Callable[[int, str], None],
) -> None:
    """Run the agent for every request; each carries a run id in its lineage.

    A run that falls back may be the server's fault or its own. It counts as ended when the server still answers after
    the last run; else it is deleted, so that the next session runs it again.

    Args:
        graph: the agent, which logs to `store`.
        requests: one a run.
        policy: the graph's, to ask the server whether it is still there.
        store: where the runs are.
        max_concurrency: runs in flight at once.
        on_ended: called with a request's index and the run's status when it has ended.
    Raises:
        ServerLostError: the server went away.
    """
    fallen: list[int] = []

    def ended(index: int, node: str, wrote: Mapping[str, Any]) -> None:
        if node != "finish":
            return
        if wrote["status"] != "fallback":
            on_ended(index, wrote["status"])
            return
        fallen.append(index)
        if len(fallen) >= _MAX_FALLEN:
            raise ServerLostError(f"{len(fallen)} runs fell back, the last: {wrote['detail']}")

    try:
        await run_many(graph, requests, max_concurrency=max_concurrency, on_update=ended)
        if fallen:
            await _check_server(policy)
    except ServerLostError:
        for index in fallen:
            store.delete_run(UUID(requests[index]["lineage"]["run_id"]))  # type: ignore[index]
        raise
    for index in fallen:
        on_ended(index, "fallback")


async def _check_server(policy: CompletionPolicy) -> None:
    try:
        await policy.tokenize("still there?")
    except PolicyError as error:
        raise ServerLostError(f"The server went away: {error}") from error
