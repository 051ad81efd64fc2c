"""Attributes of the spans of a run: OpenTelemetry's GenAI conventions, and our own under `deeprec.`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from deeprec.agent.traces.records import (
    RecommendationRecord,
    RetrievalRecord,
    RunOutcome,
    RunRecord,
    TurnRecord,
    listed,
)
from deeprec.agent.traces.store.codec import storable

AGENT = "invoke_agent deeprec"
TOOL_NAME = "retrieve_items"
TOOL = f"execute_tool {TOOL_NAME}"
MAX_CHARS = 30_000
"""Longest text in an attribute."""

Attributes = dict[str, Any]

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_STATED = ("hard", "guessed", "unenforceable")
_SAMPLING = ("temperature", "top_p", "max_tokens", "seed")


def run_attributes(record: RunRecord, with_content: bool) -> Attributes:
    """The attributes of a run's root span that are known when it starts."""
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "deeprec",
        "gen_ai.agent.version": _version(),
        "gen_ai.conversation.id": str(record.run_id),
        **_request(record),
        "deeprec.run.id": str(record.run_id),
        "deeprec.run.parent_id": None if record.parent_id is None else str(record.parent_id),
        "deeprec.protocol": f"{record.protocol}/{record.protocol_version}",
        "deeprec.prompt_version": record.prompt_version,
        "deeprec.guided": record.guided,
        "deeprec.policy_model": record.policy_model,
        "deeprec.adapter_version": record.adapter_version,
        "deeprec.trm_fingerprint": record.trm_fingerprint,
        "deeprec.tenant": record.tenant,
        "deeprec.split": record.split,
        "deeprec.suite": record.suite,
        "deeprec.history_length": len(record.history),
    }
    if with_content:
        attributes |= {
            "user.id": record.user_id,
            "gen_ai.conversation.id": record.thread_id or str(record.run_id),
            "deeprec.tags": list(record.tags),
            "deeprec.history": list(record.history),
            "deeprec.target_id": record.target_id,
            "deeprec.group_id": record.group_id,
            "gen_ai.input.messages": None if record.message is None else _messages(_text("user", record.message)),
        }
    return _plain(attributes)


def outcome_attributes(outcome: RunOutcome, totals: Mapping[str, int], with_content: bool) -> Attributes:
    """The attributes of a run's root span that its end adds. `totals` counts turns, retrievals and tokens."""
    attributes: Attributes = {
        "gen_ai.usage.input_tokens": totals["input"],
        "gen_ai.usage.output_tokens": totals["output"],
        "deeprec.run.status": outcome.status,
        "deeprec.turns": totals["turns"],
        "deeprec.retrievals": totals["retrievals"],
        "deeprec.recommended": len(outcome.recommended),
        "deeprec.ungrounded": outcome.ungrounded,
    }
    if with_content:
        attributes["gen_ai.output.messages"] = _messages(
            {**_text("assistant", json.dumps(_ids(outcome.recommended))), "finish_reason": "stop"}
        )
        attributes["deeprec.written_ids"] = _ids(outcome.written)
        attributes["deeprec.recommended_ids"] = _ids(outcome.recommended)
    return _plain(attributes)


def turn_operation(record: RunRecord) -> str:
    """The name of a call of the policy in the GenAI conventions."""
    return "chat" if record.protocol == "tools" else "text_completion"


def turn_attributes(record: RunRecord, turn: TurnRecord, with_content: bool) -> Attributes:
    """The attributes of the span of one call of the policy."""
    attributes: Attributes = {
        "gen_ai.operation.name": turn_operation(record),
        **_request(record),
        "gen_ai.usage.input_tokens": turn.prompt_tokens,
        "gen_ai.usage.output_tokens": turn.completion_tokens,
        "gen_ai.response.finish_reasons": None if turn.finish_reason is None else [turn.finish_reason],
        "gen_ai.output.type": "text",
        "deeprec.run.id": str(record.run_id),
        "deeprec.turn": turn.position,
        "deeprec.node": turn.node,
        "deeprec.action": turn.action,
    }
    if with_content:
        asked = (turn.messages or [])[:-1]
        attributes["gen_ai.input.messages"] = _messages(*map(_langchain, asked)) if asked else None
        attributes["gen_ai.output.messages"] = _messages(_answer(turn))
        attributes["deeprec.preference"] = turn.preference
        attributes["deeprec.items"] = list(turn.items) or None
    return _plain(attributes)


def retrieval_attributes(retrieval: RetrievalRecord, with_content: bool) -> Attributes:
    """The attributes of the span of one retrieval."""
    stated = retrieval.constraints
    attributes: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": TOOL_NAME,
        "gen_ai.tool.type": "datastore",
        "gen_ai.tool.description": "Finds items for a history and a preference.",
        "deeprec.retrieval": retrieval.position,
        "deeprec.turn": retrieval.turn,
        "deeprec.k": retrieval.k,
        "deeprec.found": len(retrieval.items),
        "deeprec.unenforced": len(retrieval.unenforced),
        "deeprec.words": retrieval.words,
        **{f"deeprec.constraints.{kind}": len(listed(stated, kind)) for kind in _STATED if stated is not None},
    }
    if with_content:
        attributes["gen_ai.tool.call.arguments"] = _json({"preference": retrieval.preference, "k": retrieval.k})
        found = [{"id": item.id, "score": item.score if item.score == item.score else None} for item in retrieval.items]
        attributes["gen_ai.tool.call.result"] = _json(found)
    return _plain(attributes)


def _request(record: RunRecord) -> Attributes:
    sampling = {name: record.sampling.get(name) for name in _SAMPLING} | {"seed": record.seed}
    known = {name: value for name, value in sampling.items() if isinstance(value, int | float)}
    return {
        # The API that is spoken, whoever serves the model behind it: the conventions know no name for vLLM.
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": record.adapter or record.policy_model,
        **{f"gen_ai.request.{name}": value for name, value in known.items()},
    }


def _answer(turn: TurnRecord) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if turn.thought and turn.messages is not None:  # the tagged text holds its thought already
        parts.append({"type": "reasoning", "content": _cut(turn.thought)})
    if turn.text:
        parts.append({"type": "text", "content": _cut(turn.text)})
    if turn.action == "retrieve":
        arguments = {"preference": _cut(turn.preference or "")}
        parts.append({"type": "tool_call", "id": str(turn.position), "name": TOOL_NAME, "arguments": arguments})
    return {"role": "assistant", "parts": parts, "finish_reason": turn.finish_reason or "error"}


def _langchain(message: Any) -> dict[str, Any]:
    """A message as LangChain stores it."""
    data = message.get("data", {}) if isinstance(message, dict) else {}
    content = data.get("content", "")
    kind = message.get("type") if isinstance(message, dict) else None
    return _text(_ROLES.get(str(kind), str(kind)), content if isinstance(content, str) else _json(content))


def _text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": _cut(content)}]}


def _messages(*messages: dict[str, Any]) -> str:
    return _json(list(messages))


def _json(value: Any) -> str:
    return json.dumps(value, default=str)  # ASCII: what is not Unicode text stays an escape


def _ids(lines: tuple[RecommendationRecord, ...]) -> list[str]:
    return [line.item_id for line in lines]


def _plain(attributes: Attributes) -> Attributes:
    """The attributes without those that are None; text becomes what every backend takes."""
    return {name: _clean(value) for name, value in attributes.items() if value is not None}


def _clean(value: Any) -> Any:
    if isinstance(value, list):
        return [_clean(part) for part in value]
    return storable(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}… ({len(text)} characters)"


def _version() -> str:
    try:
        return version("deeprec-agent")
    except PackageNotFoundError:
        return "unknown"
