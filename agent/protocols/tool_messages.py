"""The messages of the tools protocol: the tools on offer, how a call is read and edited, and the guided form of one."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, get_args

from langchain_core.messages import AIMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call
from pydantic import ValidationError

from deeprec.agent.protocols.finish_reasons import stop_of
from deeprec.agent.protocols.prompts import Prompts
from deeprec.agent.protocols.tool_arguments import (
    ARGUMENTS,
    DESCRIBE_CATALOGUE,
    LOOK_UPS,
    PEOPLE_ALSO_CHOSE,
    WrittenCall,
    asks_for_nothing,
    calls_in,
    read_written_limit,
    read_written_numbers,
    read_written_preference,
    thought_and_text,
    unread_where,
)
from deeprec.agent.protocols.turn import Allowance, Decision, read_preference, segments_regex, thought_regex
from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.catalogue_tool import DescribeCatalogueInput
from deeprec.trm_tool.choices_tool import PeopleAlsoChoseInput
from deeprec.trm_tool.text import neutralise

UNREADABLE = "unreadable"
"""Key in the metadata of a message that stands in for one that LangChain could not read."""
_CALL_BLOCKS = ("tool_use", "tool_call", "function_call")


_USUAL_PREFERENCE_CHARS = 160
"""Characters of a preference that a server is asked to hold a model to."""


def make_tools(
    prompts: Prompts, *, k: int | None = None, may_be_empty: bool = False, max_retrieve_k: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the tools retrieve_items and recommend_items, as OpenAI's API takes them.

    Args:
        prompts: With the descriptions.
        k: Numbers that a list has at most; with it the arguments have bounds, which servers may enforce.
        may_be_empty: Whether the preference may be left out.
        max_retrieve_k: Items that a call may ask for; without it the argument `limit` is not offered.
    """
    preference: dict[str, Any] = {"type": "string", "description": prompts.preference_argument}
    numbers: dict[str, Any] = {
        "type": "array",
        "items": {"type": "integer"},
        "description": prompts.numbers_argument,
    }
    if k is not None:
        preference |= {"maxLength": _USUAL_PREFERENCE_CHARS}
        numbers |= {"minItems": 1, "maxItems": k}
    arguments = {"preference": preference}
    if prompts.where_argument:
        arguments["where"] = {"type": "object", "description": prompts.where_argument}
    if max_retrieve_k is not None:
        described = prompts.limit_argument.format(most=max_retrieve_k)
        arguments["limit"] = {"type": "integer", "minimum": 1, "maximum": max_retrieve_k, "description": described}
    retrieve = _tool("retrieve_items", prompts.retrieve_tool, arguments)
    if may_be_empty:
        retrieve["function"]["parameters"]["required"] = []
    return retrieve, _tool("recommend_items", prompts.recommend_tool, {"numbers": numbers})


def make_describe_tool(prompts: Prompts) -> dict[str, Any]:
    """Describe the tool describe_catalogue, likewise."""
    fields = DescribeCatalogueInput.model_fields
    arguments = {
        name: {"type": "string", "description": fields[name].description} for name in ("attribute", "contains")
    }
    return _tool(DESCRIBE_CATALOGUE, prompts.describe_tool, arguments)


def make_choices_tool(prompts: Prompts) -> dict[str, Any]:
    """Describe the tool people_also_chose, likewise."""
    fields = PeopleAlsoChoseInput.model_fields
    arguments: dict[str, Any] = {
        name: {"type": "string", "description": fields[name].description} for name in ("how", "item")
    }
    arguments["how"]["enum"] = list(get_args(fields["how"].annotation))
    return _tool(PEOPLE_ALSO_CHOSE, prompts.choices_tool, arguments)


def _tool(name: str, description: str, arguments: dict[str, Any]) -> dict[str, Any]:
    required = [argument for argument in arguments if argument in ARGUMENTS.values()]
    parameters = {"type": "object", "properties": arguments, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def read_tool_calls(
    answer: AIMessage, *, guided: bool = False, may_be_empty: bool = False, max_retrieve_k: int | None = None
) -> Decision:
    """Read what the model decided from the first call of a message that can be read; several lists are one.

    Calls are read as `tool_arguments` finds them, in the text too where there is no other. Anything else is malformed,
    with the reason. A guided model may also end the exploration with a text, the object `{"thought": …, "rank": true}`.

    Args:
        answer: What the model wrote.
        guided: Whether the server held the model to the format.
        may_be_empty: Whether a call without a preference retrieves the recommender's own list.
        max_retrieve_k: Items that a call may ask for; without it no call does.
    """
    thought, text = thought_and_text(answer)
    written = _guided_object(answer) if guided and not answer.tool_calls else {}
    if written.get("rank") is True:
        return Decision(action="recommend", thought=str(written.get("thought")))
    calls = calls_in(answer)
    if calls and calls[0].start is not None:
        text = text[: calls[0].start]
    thought = "\n\n".join(part for part in (thought, text.strip()) if part) or None
    decisions = [
        _decision(call, guided=guided, may_be_empty=may_be_empty, max_retrieve_k=max_retrieve_k) for call in calls
    ] or [_without_a_call(answer)]
    decision = decisions[_carried_out(decisions)]
    if decision.action == "malformed" and (stop := stop_of(answer)):
        kind, clause = stop
        detail = f"{decision.detail}; {clause}" if kind == "truncated" else clause
        decision = replace(decision, detail=detail, stopped=kind)
    if decision.action == "recommend":
        lists = list(dict.fromkeys(other for other in decisions if other.action == "recommend"))
        numbers = tuple(number for other in lists for number in other.numbers)
        decision = replace(decision, numbers=numbers, unread=sum(other.unread for other in lists))
    return replace(decision, thought=thought)


def asked_look_up(
    answer: AIMessage, names: Collection[str] = LOOK_UPS, *, may_be_empty: bool = False
) -> tuple[int, str, Any] | None:
    """The first call of one of these tools that a message makes where none of its calls retrieves or recommends.

    Returns:
        Its position among the calls, its tool, and its arguments as the model wrote them, `{}` where they cannot be
        read.
    """
    calls = calls_in(answer)
    if any(_decision(call, may_be_empty=may_be_empty).action != "malformed" for call in calls):
        return None
    asked = ((at, call.name, call.arguments or {}) for at, call in enumerate(calls) if call.name in names)
    return next(asked, None)


def carried_out(answer: AIMessage, *, may_be_empty: bool = False) -> int:
    """The position, among the calls of a message, of the one that `read_tool_calls` follows; 0 without one."""
    return _carried_out([_decision(call, may_be_empty=may_be_empty) for call in calls_in(answer)])


def _carried_out(decisions: Sequence[Decision]) -> int:
    return next((at for at, decision in enumerate(decisions) if decision.action != "malformed"), 0)


def _without_a_call(answer: AIMessage) -> Decision:
    is_unreadable = UNREADABLE in answer.response_metadata
    why = "a tool call with unreadable arguments" if is_unreadable else "no tool was called"
    return Decision(action="malformed", detail=why)


def _decision(
    call: WrittenCall, *, guided: bool = False, may_be_empty: bool = False, max_retrieve_k: int | None = None
) -> Decision:
    if call.name not in ARGUMENTS:
        return Decision(action="malformed", detail=f"there is no tool {neutralise(repr(call.name), 60)}")
    if call.arguments is None:
        return Decision(action="malformed", detail="a tool call with unreadable arguments")
    if call.name == "retrieve_items":
        if (unread := unread_where(call.arguments)) is not None:
            return Decision(action="malformed", detail=f"{_called_with(call)}: {unread}")
        value = read_written_preference(call.arguments)
        if may_be_empty and asks_for_nothing(call.arguments):
            value = ""
        elif value is None or (may_be_empty and read_preference(value, cut=True, may_be_empty=True)[0] == ""):
            return Decision(action="malformed", detail=f"{_called_with(call)}, without a preference in words")
        preference, why = read_preference(value, cut=True, may_be_empty=may_be_empty)
        if preference is None:
            return Decision(action="malformed", detail=why)
        limit = None if max_retrieve_k is None else read_written_limit(call.arguments, max_retrieve_k)
        return Decision(action="retrieve", preference=preference, limit=limit, detail=why)
    found = read_written_numbers(call.arguments)
    if found is None or not (found[0] or guided):
        return Decision(action="malformed", detail=f"{_called_with(call)}, without a number of an item")
    return Decision(action="recommend", numbers=found[0], unread=found[1])


def _called_with(call: WrittenCall) -> str:
    return f"{call.name} was called with {neutralise(repr(call.arguments), 80)}"


def tools_regex(allowance: Allowance) -> str:
    """A regular expression for a guided turn: a JSON object with a thought, and a preference or `"rank": true`."""
    ways = []
    allowance = replace(
        allowance,
        phrases=[_inside_json(phrase) for phrase in allowance.phrases],
        bounds=[_inside_json(name) for name in allowance.bounds],
    )
    if allowance.phrases:
        ways.append(f'"preference": "{segments_regex(allowance)}"')
    if allowance.may_rank or not ways:
        ways.append('"rank": true')
    return rf'\{{"thought": "{thought_regex(allowance)}", ({"|".join(ways)})\}}'


def _inside_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _guided_object(answer: AIMessage) -> dict[str, Any]:
    try:
        written = parse_json(str(answer.text))
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


def with_preference(message: AIMessage, preference: str, *, was_empty: bool = False) -> AIMessage:
    """Replace the preference in the call that was carried out; what the provider repeats of it elsewhere goes."""
    if not (message.tool_calls or message.invalid_tool_calls):
        return _with_text_preference(message, preference)
    at = carried_out(message, may_be_empty=was_empty)
    message = with_readable_arguments(message)
    calls = list(message.tool_calls)
    others = calls[at]["args"] if was_empty or "preference" in calls[at]["args"] else {}
    others = {name: value for name, value in others.items() if name != "where"}  # the edited preference has it all
    calls[at] = {**calls[at], "name": "retrieve_items", "args": {**others, "preference": preference}}
    content: Any = message.content
    if not isinstance(content, str):  # some providers repeat the call among the blocks of the content
        content = [block for block in content if not (isinstance(block, dict) and block.get("type") in _CALL_BLOCKS)]
    return message.model_copy(
        update={
            "content": content,
            "tool_calls": calls,
            "additional_kwargs": {k: v for k, v in message.additional_kwargs.items() if k != "tool_calls"},
            "response_metadata": {k: v for k, v in message.response_metadata.items() if k != "logprobs"},
        }
    )


def _with_text_preference(message: AIMessage, preference: str) -> AIMessage:
    text = str(message.text)
    call = json.dumps({"name": "retrieve_items", "arguments": {"preference": preference}}, ensure_ascii=False)
    [written, *_] = calls_in(message)
    start = len(text) - len(thought_and_text(message)[1]) + (written.start or 0)
    metadata = {k: v for k, v in message.response_metadata.items() if k != "logprobs"}
    before = f"{text[:start].rstrip()}\n".lstrip()
    return message.model_copy(update={"content": f"{before}{call}", "response_metadata": metadata})


def with_readable_arguments(message: AIMessage) -> AIMessage:
    """A message whose calls all have a name, an object of arguments and an id, as servers demand of what they wrote."""
    if not message.invalid_tool_calls and all(call["id"] for call in message.tool_calls):
        return message
    read = [(call["name"], call["args"], call["id"]) for call in message.tool_calls]
    read += [
        (call["name"] or "unknown", {"arguments": call["args"]}, call["id"]) for call in message.invalid_tool_calls
    ]
    calls = [tool_call(name=name, args=args, id=given or f"call_{at}") for at, (name, args, given) in enumerate(read)]
    kept = {k: v for k, v in message.additional_kwargs.items() if k != "tool_calls"}
    return message.model_copy(update={"tool_calls": calls, "invalid_tool_calls": [], "additional_kwargs": kept})


def with_kept_numbers(message: AIMessage) -> AIMessage:
    """A message that holds no number beyond 64 bits, in calls or content, which no checkpoint can hold: it is text."""
    calls = [{**call, "args": _kept(call["args"])} for call in message.tool_calls]
    content = _kept(message.content)  # some providers repeat the call among the blocks of the content
    if (calls, content) == (message.tool_calls, message.content):
        return message
    return message.model_copy(update={"tool_calls": calls, "content": content})


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _kept(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_kept(each) for each in value]
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def unread_message(error: ValidationError) -> AIMessage:
    """The message for an answer whose calls LangChain cannot keep: arguments that are another value than an object.

    What the model wrote as arguments is all that is left of it.
    """
    errors = [found for found in error.errors() if found["loc"][:1] in (("tool_calls",), ("invalid_tool_calls",))]
    written = [json.dumps(found["input"]) for found in errors]
    calls = [invalid_tool_call(name=None, args=text, id=f"call_{at}", error="") for at, text in enumerate(written)]
    return AIMessage("", invalid_tool_calls=calls, response_metadata={UNREADABLE: error.errors()[0]["msg"]})
