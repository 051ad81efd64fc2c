"""Many runs at once on one server, and a line about each of their steps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.graph.outages import cause_of
from deeprec.agent.graph.state import AgentInput, AgentOutput

_log = logging.getLogger(__name__)


async def run_many(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    requests: Sequence[AgentInput],
    *,
    max_concurrency: int = 32,
    on_update: Callable[[int, str, Mapping[str, Any]], None] | None = None,
    raise_errors: bool = False,
) -> list[AgentOutput]:
    """Run the agent for every request, each on its own and at its own pace.

    Args:
        graph: What `build_graph` returned.
        requests: One request a run.
        max_concurrency: Runs in flight at once.
        on_update: Called after each step with the request's index, the node's name and the keys that it wrote.
        raise_errors: Whether the first run that raises an error ends the call. Else it ends that run alone, whose
            output has the status `aborted`, the error in `detail`, and no recommendations.

    Returns:
        The outputs, in the order of the requests.

    Raises:
        Exception: what `on_update` raises, and with `raise_errors` what a run raises, such as a DeepRecError for a
            request that cannot be run; the other runs are cancelled.
    """
    slots = asyncio.Semaphore(max_concurrency)

    async def run(index: int) -> AgentOutput:
        request = _with_run_id(requests[index])
        output: dict[str, Any] = {}
        async with slots:
            updates = graph.astream(request, stream_mode="updates")
            while True:
                try:
                    update = await anext(updates, None)
                except Exception as error:
                    if raise_errors:
                        raise
                    _log.warning("The run of request %s was aborted: %s", index, cause_of(error), exc_info=error)
                    return _aborted(request, output, error)
                if update is None:
                    return cast(AgentOutput, output)
                for node, wrote in update.items():
                    output |= {key: wrote[key] for key in AgentOutput.__annotations__ if key in wrote}
                    if on_update is not None:
                        on_update(index, node, wrote)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(index)) for index in range(len(requests))]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _with_run_id(request: AgentInput) -> AgentInput:
    """The request with a run id, by which a run is found that ends before its first output."""
    lineage = request.get("lineage") or {}
    if not isinstance(lineage, Mapping) or lineage.get("run_id") is not None:  # no mapping: the graph refuses it
        return request
    return {**request, "lineage": {**lineage, "run_id": str(uuid4())}}


def _aborted(request: AgentInput, output: Mapping[str, Any], error: Exception) -> AgentOutput:
    lineage = request.get("lineage") or {}
    nothing: AgentOutput = {
        "run_id": str(lineage.get("run_id")) if isinstance(lineage, Mapping) else "",
        "failure": None,
        "recommendations": [],
        "unenforced": [],
        "constraints": {"hard": [], "guessed": [], "unenforceable": []},
        "unknown_items": [],
        "message_cut": False,
        "nearest": None,
    }
    return cast(AgentOutput, {**nothing, **output, "status": "aborted", "detail": cause_of(error)})


def step_text(node: str, wrote: Mapping[str, Any]) -> str | None:
    """Describe in one line what a step did; None where nothing is worth a line."""
    decision = wrote.get("decision") or {}
    if node == "reason" and decision.get("action") == "retrieve":
        asked = decision["preference"] or "the recommender's own list"
        return f"retrieves: {asked}"
    if node in ("reason", "rank") and decision.get("action") == "malformed":
        return f"wrote something unreadable: {decision['detail']}"
    if node == "retrieve":
        return f"has {len(wrote['candidates'])} candidates"
    if node == "rank":
        return f"ranks {len(wrote.get('written', []))} of them"
    if node == "finish":
        return f"is done: {wrote['status']}" + (f" ({wrote['detail']})" if wrote["detail"] else "")
    return None
