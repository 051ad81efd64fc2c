"""What a step is computed from, as a digest beside the stored step, which is reused only where the inputs are equal."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

import numpy as np
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from deeprec.agent.traces.records import RetrievalRecord, TurnRecord
from deeprec.agent.traces.store.codec import storable, storable_json

_Step = TypeVar("_Step", TurnRecord, RetrievalRecord)


class OtherInputsError(Exception):
    """A step is stored for this run and position, but it was computed from something else."""


def digest(value: object) -> str:
    """Digest plain data and LangChain messages.

    Returns:
        24 hexadecimal digits, the same for equal data in any process, and for data that a checkpointer or the trace
        store has returned. Of a message counts what a model sees; of any other object its class alone.
    """
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def check_inputs(step: _Step | None, inputs: str) -> _Step | None:
    """Return a stored step, or None where none is stored. A step of an earlier version, without a digest, passes.

    Raises:
        OtherInputsError: the step was computed from other inputs.
    """
    if step is not None and step.inputs not in (None, inputs):
        raise OtherInputsError(f"The step at position {step.position} was computed from other inputs.")
    return step


def check_retrieval(step: RetrievalRecord | None, inputs: str, *, preference: str, k: int) -> RetrievalRecord | None:
    """Return a stored retrieval as `check_inputs` does; one without a digest is compared by what is stored of it.

    Raises:
        OtherInputsError: the retrieval was computed from other inputs.
    """
    if step is not None and step.inputs is None and (step.preference, step.k) != (storable(preference), k):
        raise OtherInputsError(f"The retrieval at position {step.position} had another preference or length.")
    return check_inputs(step, inputs)


def _plain(value: object) -> Any:
    if isinstance(value, BaseMessage):
        calls: list[Any] = [*value.tool_calls, *value.invalid_tool_calls] if isinstance(value, AIMessage) else []
        answered = value.tool_call_id if isinstance(value, ToolMessage) else None
        return storable_json([value.type, value.content, [[call["name"], call["args"]] for call in calls], answered])
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return type(value).__name__
