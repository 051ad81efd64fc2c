"""Many agent runs on one server; a run that the loss of the server broke off is not counted as a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langgraph.graph.state import CompiledStateGraph

from deeprec.agent import AgentInput, CompletionPolicy, Lineage, PolicyError, TraceStore, run_many
from deeprec.agent.traces import RunFilter
from deeprec.trm_tool.errors import DeepRecError

_MAX_FALLEN = 16
"""Runs that may fall back, one after another, before the server counts as lost."""


class ServerLostError(DeepRecError):
    """The model's server became unavailable while agents ran. What has ended is stored; the same call resumes."""


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

    A run that an earlier session began goes on with the seeds that it began with, also where that session's version
    derived them by another rule.

    A run that falls back may be the server's fault or its own. It counts as ended when the server still answers after
    the last run; else it is deleted, so that the next session runs it again. Runs that fall back one after another, and
    none that does not between them, are the server's fault.

    Args:
        graph: the agent, which logs to `store`.
        requests: one a run.
        policy: the graph's, to ask the server whether it is still there.
        store: where the runs are.
        max_concurrency: runs in flight at once.
        on_ended: called with a request's index and the run's status when it has ended.
    Raises:
        ServerLostError: the server became unavailable.
    """
    requests = _as_begun(requests, store)
    fallen: list[int] = []
    in_a_row = 0

    def ended(index: int, node: str, wrote: Mapping[str, Any]) -> None:
        nonlocal in_a_row
        if node != "finish":
            return
        if wrote["status"] != "fallback":
            in_a_row = 0
            on_ended(index, wrote["status"])
            return
        fallen.append(index)
        in_a_row += 1
        if in_a_row >= _MAX_FALLEN:
            raise ServerLostError(f"{in_a_row} runs fell back one after another, the last: {wrote['detail']}")

    try:
        await run_many(graph, requests, max_concurrency=max_concurrency, on_update=ended, raise_errors=True)
        if fallen:
            await _check_server(policy)
    except ServerLostError:
        for index in fallen:
            store.delete_run(UUID(requests[index]["lineage"]["run_id"]))  # type: ignore[index]
        raise
    for index in fallen:
        on_ended(index, "fallback")


def _as_begun(requests: Sequence[AgentInput], store: TraceStore) -> list[AgentInput]:
    """The requests, those of runs that are stored already with the seed and the seed rule of the stored run."""
    lineages = [request.get("lineage") or Lineage() for request in requests]
    begun: dict[str, Lineage] = {}
    with store.snapshot() as snapshot:
        for label in {lineage.get("suite") for lineage in lineages}:
            for row in snapshot.runs(("run_id", "seed", "config"), RunFilter(label=label, measured=False)):
                begun[str(row.run_id)] = Lineage(seed=row.seed, turn_seeds=row.config.get("turn_seeds", "counted"))
    return [
        {**request, "lineage": {**lineage, **begun[lineage["run_id"]]}} if lineage.get("run_id") in begun else request
        for request, lineage in zip(requests, lineages, strict=True)
    ]


async def _check_server(policy: CompletionPolicy) -> None:
    try:
        await policy.tokenize("still there?")
    except PolicyError as error:
        raise ServerLostError(f"The model's server is unavailable: {error}") from error
