"""Outages of the model and of the recommender: logged as warnings with their cause, counted, and raised if asked."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from threading import Lock

from deeprec.agent.graph.state import AgentState, Ending, Failure, FailurePart
from deeprec.agent.policy.openai_endpoint import PolicyError
from deeprec.trm_tool import RecommenderRefusedError, RecommenderUnavailableError

_log = logging.getLogger(__name__)
_lock = Lock()
_counts: Counter[tuple[FailurePart, str]] = Counter()


def outage_counts() -> dict[tuple[FailurePart, str], int]:
    """Count the outages of this process since it started, those of runs that raised included.

    Returns:
        (part, cause) -> runs that an outage ended. The part is `model` or `recommender`; the cause is the name of the
        class of the error that lies behind it, such as `APITimeoutError`.
    """
    with _lock:
        return dict(_counts)


def ended_by_outage(error: Exception, *, part: FailurePart, node: str, run_id: object, detail: str = "") -> Ending:
    """Log and count an outage, and make the ending of its run.

    Args:
        error: What was raised; its cause, where it has one, is what is counted.
        part: What was unavailable.
        node: The node that called it.
        run_id: The run that ends.
        detail: How the run ended, where that is not the error's text.
    """
    cause = type(error.__cause__ or error).__name__
    detail = detail or cause_of(error)
    with _lock:
        _counts[part, cause] += 1
    _log.warning(
        "Run %s goes on without the %s, which failed in `%s` (%s): %s",
        run_id,
        part,
        node,
        cause,
        detail,
        exc_info=None if _is_declared(error) else error,  # where a bug is
    )
    return Ending(status="fallback", detail=detail, failure=Failure(part=part, node=node, cause=cause, detail=detail))


def cause_of(error: BaseException) -> str:
    """What ended a run, in words: the text of an error that is made for it, else the error's class and text."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return "The run was cancelled."
    text = str(error)
    return text if text and _is_declared(error) else f"{type(error).__name__}: {text}".removesuffix(": ")


def _is_declared(error: BaseException) -> bool:
    return isinstance(error, PolicyError | RecommenderUnavailableError | RecommenderRefusedError)


def failure_of(state: AgentState) -> Failure | None:
    """What was unavailable and so ended a run; None for every other ending, and in checkpoints of earlier versions."""
    ending = state["ending"]
    return ending.get("failure") if ending else None


def _begin() -> None:
    global _lock
    _lock = Lock()
    _counts.clear()


os.register_at_fork(after_in_child=_begin)
