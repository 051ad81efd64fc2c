"""The budgets of a run: what ends its exploration, and how much time it has left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.run_clock import run_clock
from deeprec.agent.graph.state import AgentState, Ending, RunRequest

CONTEXT_FULL = "the context is full"
"""How a run ended whose conversation has outgrown the model's context."""


def ended_by_budget(detail: str) -> Ending:
    """The ending of a run that has spent a budget."""
    return Ending(status="budget", detail=detail)


def ended_by_time(config: AgentConfig, last: str = "") -> Ending:
    """The ending of a run that has spent its time; `last` is the end of the sentence: what took it."""
    return ended_by_budget(f"all {config.max_seconds:g} seconds spent{last}")


def ended_by_malformed_output(count: int, decision: Mapping[str, Any], config: AgentConfig) -> Ending | None:
    """The ending of a run whose model wrote something malformed; None where that is to be corrected.

    Args:
        count: Malformed outputs of the run, this one included.
        decision: What was read of it, a `Decision` as plain data.
        config: Says how many are corrected.
    """
    stopped = decision.get("stopped")  # checkpoints of earlier versions lack it
    if stopped in ("refused", "filtered"):
        return Ending(status=stopped, detail=decision["detail"])
    if count <= config.max_malformed:
        return None
    return Ending(status=stopped or "malformed", detail=f"{count} malformed outputs, the last: {decision['detail']}")


def spent_budget(state: AgentState, config: AgentConfig, started: float) -> Ending | None:
    """The budget that ends the exploration; None while none is spent."""
    if state["turn_count"] >= config.max_turns:
        return ended_by_budget(f"all {config.max_turns} turns spent")
    if state["spent_tokens"] >= config.max_tokens:
        return ended_by_budget(f"all {config.max_tokens:,} tokens spent")
    if seconds_left(state, config, started) <= 0:
        return ended_by_time(config)
    return None


def with_time(state: AgentState, started: float) -> RunRequest:
    """The request with the time of a node added. The time between nodes, such as a person's in an interrupt, is free.

    Args:
        state: As the node got it.
        started: `run_clock()` when the node began, in seconds.
    """
    request = state["request"]
    return {**request, "spent_ms": request["spent_ms"] + (run_clock() - started) * 1000}


def seconds_left(state: AgentState, config: AgentConfig, started: float) -> float:
    """Seconds that a run has left inside a node that began at `started`; below 0 when they are spent."""
    return config.max_seconds - with_time(state, started)["spent_ms"] / 1000
