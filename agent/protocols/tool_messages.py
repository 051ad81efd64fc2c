"""The messages of the tools protocol: the tools on offer, how a call is read and edited, and the guided form of one."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage

from deeprec.agent.protocols.prompts import Prompts
from deeprec.agent.protocols.turn import Allowance, Decision, phrases_regex, read_preference, thought_regex
from deeprec.trm_tool.text import neutralise

UNREADABLE = "unreadable"
"""Key in the metadata of a message that stands in for one that LangChain could not read."""
_CALL_BLOCKS = ("tool_use", "tool_call", "function_call")


def make_tools(prompts: Prompts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the tools retrieve_items and recommend_items, as OpenAI's API takes them."""
    preference = {"type": "string", "description": prompts.preference_argument}
    numbers = {"type": "array", "items": {"type": "integer"}, "description": prompts.numbers_argument}
    return (
        _tool("retrieve_items", prompts.retrieve_tool, preference=preference),
        _tool("recommend_items", prompts.recommend_tool, numbers=numbers),
    )


def _tool(name: str, description: str, **arguments: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": arguments, "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def read_tool_calls(answer: AIMessage, *, guided: bool = False) -> Decision:
    """Read strictly the first tool call of a message; anything else is malformed, with the reason.

    A guided model may also end the exploration with a text, the object `{"thought": …, "rank": true}`.
    """
    thought = str(answer.text).strip() or None
    written = _guided_object(answer) if guided and not answer.tool_calls else {}
    if written.get("rank") is True:
        return Decision(action="recommend", thought=str(written.get("thought")))
    if not answer.tool_calls:
        unreadable = answer.invalid_tool_calls or UNREADABLE in answer.response_metadata
        why = "a tool call with unreadable arguments" if unreadable else "no tool was called"
        if answer.response_metadata.get("finish_reason") == "length":
            why += "; the token limit cut the text"
        return Decision(action="malformed", thought=thought, detail=why)
    call = answer.tool_calls[0]
    if call["name"] == "retrieve_items":
        value = call["args"].get("preference")
        if not isinstance(value, str):
            detail = f"retrieve_items was called with preference = {_short(value)}, not a string"
            return Decision(action="malformed", thought=thought, detail=detail)
        preference, detail_or_none = read_preference(value)
        if preference is None:
            return Decision(action="malformed", thought=thought, detail=detail_or_none)
        return Decision(action="retrieve", thought=thought, preference=preference)
    if call["name"] == "recommend_items":
        value = call["args"].get("numbers")
        if not isinstance(value, list) or not value:
            detail = f"recommend_items was called with numbers = {_short(value)}, not a list of numbers"
            return Decision(action="malformed", thought=thought, detail=detail)
        numbers = tuple(int(number) for number in value if _is_number(number))
        return Decision(action="recommend", thought=thought, numbers=numbers, unread=len(value) - len(numbers))
    unknown = neutralise(repr(call["name"]), 60)
    return Decision(action="malformed", thought=thought, detail=f"there is no tool {unknown}")


def _is_number(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.isdecimal() and len(value) < 7
    )


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"


def tools_regex(allowance: Allowance) -> str:
    """A regular expression for a guided turn: a JSON object with a thought, and a preference or `"rank": true`."""
    ways = []
    if allowance.phrases:
        ways.append(f'"preference": "{phrases_regex(allowance.phrases)}"')
    if allowance.may_rank or not ways:
        ways.append('"rank": true')
    return rf'\{{"thought": "{thought_regex(allowance.phrases)}", ({"|".join(ways)})\}}'


def _guided_object(answer: AIMessage) -> dict[str, Any]:
    try:
        written = json.loads(str(answer.text))
    except ValueError:
        return {}
    return written if isinstance(written, dict) else {}


def as_tool_call(answer: AIMessage) -> AIMessage:
    """Turn a guided retrieval into the tool call that it stands for; a text that was cut stays as it is."""
    written = _guided_object(answer)
    if "preference" not in written:
        return answer
    call = {"name": "retrieve_items", "args": {"preference": written["preference"]}, "id": f"call_{answer.id}"}
    return answer.model_copy(update={"content": str(written.get("thought")), "tool_calls": [call]})


def with_preference(message: AIMessage, preference: str) -> AIMessage:
    """Replace the preference in the first call of a message; what the provider repeats of that call elsewhere goes."""
    retrieving, *others = message.tool_calls
    content: Any = message.content
    if not isinstance(content, str):  # some providers repeat the call among the blocks of the content
        content = [block for block in content if not (isinstance(block, dict) and block.get("type") in _CALL_BLOCKS)]
    return message.model_copy(
        update={
            "content": content,
            "tool_calls": [{**retrieving, "args": {**retrieving["args"], "preference": preference}}, *others],
            "additional_kwargs": {k: v for k, v in message.additional_kwargs.items() if k != "tool_calls"},
            "response_metadata": {k: v for k, v in message.response_metadata.items() if k != "logprobs"},
        }
    )
