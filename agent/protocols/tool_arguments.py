"""Calls of the two tools as models and providers really write them: odd arguments, odd names, and calls in the text.

The tools are `retrieve_items(preference: str, where: object = {}, limit: int = …)` and `recommend_items(numbers:
list[int])`. What is read stays what the model wrote: nothing is guessed that a person would not read from the same
call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage

from deeprec.trm_tool.bounded_json import json_objects, parse_json
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.text import neutralise

ARGUMENTS = {"retrieve_items": "preference", "recommend_items": "numbers"}
"""Tool -> its argument."""
DESCRIBE_CATALOGUE, PEOPLE_ALSO_CHOSE = LOOK_UPS = ("describe_catalogue", "people_also_chose")
"""The tools that a turn may call before it decides, where they are on offer."""
_NAMES = (*ARGUMENTS, *LOOK_UPS)
MAX_NUMBER = 999_999
"""The largest number that may name a candidate, six digits as in the tagged protocol."""
_NAME_KEYS = ("name", "tool", "tool_name", "function")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "kwargs", "params")
_NUMBER_KEYS = ("number", "item_number", "item", "id")
_NUMBER = re.compile(r"\s*#?(\d{1,6})(?:[.)]?\s*|[.)]\s.*)", re.DOTALL)  # "3", "#3", "3.", "3. Toy Story"
_END_OF_THOUGHT = "</think>"
_BEGIN_OF_THOUGHT = "<think>"
_BEFORE_A_CALL = re.compile(r"(```\w*|<tool_call>|\[TOOL_CALLS\]|[\s\[])*$")
_MAX_DEPTH = 4
_NONE = ("none", "null")
_WHERE_KEYS = ("in", "not_in", "min", "max")
_WHERE_EXAMPLE = '{"NAME": {"in": [VALUE]}} or {"NAME": {"min": NUMBER}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCall:
    """One call of a tool, wherever it stands in a message."""

    name: str
    """The tool's name; as the model wrote it where there is no such tool, empty where the message names none."""
    arguments: Any
    """As the model wrote them, JSON read; None where they are no JSON."""
    id: str | None = None
    start: int | None = None
    """The place in the text where the call begins, for a call that stands there."""


def calls_in(answer: AIMessage) -> list[WrittenCall]:
    """Find the calls of a message, in their order; those in its text only where there are no others."""
    calls = [
        WrittenCall(name=_tool(call["name"], call["args"]), arguments=call["args"], id=call["id"])
        for call in answer.tool_calls
    ]
    for call in answer.invalid_tool_calls:
        arguments = _parsed(call["args"])
        calls.append(WrittenCall(name=_tool(call["name"], arguments), arguments=arguments, id=call["id"]))
    return calls or _calls_in_text(thought_and_text(answer)[1])


def thought_and_text(answer: AIMessage) -> tuple[str | None, str]:
    """Split what a message says into the thought, of a reasoning model or between the tags of one, and the rest."""
    parts = [*_reasoning(answer)]
    before, tag, text = str(answer.text).rpartition(_END_OF_THOUGHT)
    if tag or text.lstrip().startswith(_BEGIN_OF_THOUGHT):  # a thought that was cut has no end
        parts.append((before if tag else text).strip().removeprefix(_BEGIN_OF_THOUGHT))
        text = text if tag else ""
    return "\n\n".join(part.strip() for part in parts if part.strip()) or None, text


def read_written_preference(arguments: Any) -> str | None:
    """The preference that a call names; None where it names none. Several phrases are joined by `; `.

    Constraints in an argument `where`, as `Where` has them or a list of such, become segments before the phrases.
    """
    arguments = _call_arguments(arguments)
    if isinstance(arguments, Mapping) and "limit" in arguments:
        arguments = {name: value for name, value in arguments.items() if name != "limit"}
    wheres = _wheres(arguments)
    if not wheres or not all(isinstance(where, Mapping) for where in wheres):
        return _phrases(_argument(arguments, "preference"))
    segments = [segment for where in wheres for segment in preference_segments(where)]
    others = {name: value for name, value in arguments.items() if name != "where"}
    phrases = _phrases(_argument(others, "preference")) if others else None
    return "; ".join([*segments, *([phrases] if phrases else [])]) or None


def unread_where(arguments: Any) -> str | None:
    """What of a call's argument `where` is no constraint, as a clause for the model; None where all of it is read."""
    for where in _wheres(_call_arguments(arguments)):
        if not isinstance(where, Mapping):
            return f"{_shown(where)} in `where` is no object; write {_WHERE_EXAMPLE}"
        for name, condition in where.items():
            unknown = [key for key in condition if key not in _WHERE_KEYS] if isinstance(condition, Mapping) else []
            if unknown:
                return f"{_shown(unknown[0])} of {_shown(name)} in `where` is unknown; use {', '.join(_WHERE_KEYS)}"
            if (unread := _unread_part(name, condition)) is not None:
                return f"{_shown(unread)} of {_shown(name)} in `where` is no condition; write {_WHERE_EXAMPLE}"
    return None


def _unread_part(name: Any, condition: Any) -> Any:
    """What of a condition on an attribute says nothing that can be read; None where all of it does, or is empty."""
    parts = condition if isinstance(condition, Mapping) else {"in": condition}
    for key, part in parts.items():
        values = [[each] for each in part] if isinstance(part, list) and key in ("in", "not_in") else [part]
        if not all(_is_empty(value) or preference_segments({name: {key: value}}) for value in values):
            return {key: part} if isinstance(condition, Mapping) else condition
    return None


def _wheres(arguments: Any) -> list[Any]:
    """The parts of a call's argument `where`; empty without one, or where it is empty or a word for that."""
    where = _unquoted(arguments.get("where")) if isinstance(arguments, Mapping) else None
    listed = where if isinstance(where, list) else [where]
    return [part for each in listed if not (_is_empty(part := _unquoted(each)) or str(part).strip().lower() in _NONE)]


def _call_arguments(arguments: Any) -> Any:
    """The arguments of a call, also inside a wrapper such as `{"args": {…}}`."""
    arguments = inner = _unquoted(arguments)
    for _ in range(_MAX_DEPTH):
        if not isinstance(inner, Mapping) or not {"preference", "where"}.isdisjoint(inner) or len(inner) != 1:
            break
        [inner] = map(_unquoted, inner.values())
    return inner if isinstance(inner, Mapping) and "where" in inner else arguments


def _shown(value: Any) -> str:
    return neutralise(repr(value), 60)


def asks_for_nothing(arguments: Any) -> bool:
    """Whether a call leaves its preference out or empty, and names nothing else but a limit.

    Empty are None, a text of blanks and semicolons, and a list of these; a `where` is empty without attributes.
    """
    for _ in range(_MAX_DEPTH):
        arguments = _unquoted(arguments)
        if not isinstance(arguments, Mapping):
            return _is_empty(arguments)
        named = {name: value for name, value in arguments.items() if name != "limit" and (name, value) != ("where", {})}
        if len(named) != 1 or not named.keys().isdisjoint(("preference", "where")):
            return all(map(_is_empty, named.values()))
        [arguments] = named.values()  # of the preference under another name, or of a wrapper
    return False


def _is_empty(value: Any) -> bool:
    value = _unquoted(value)
    listed = value if isinstance(value, list) else [value]
    return all(each is None or (isinstance(each, str) and not each.replace(";", " ").strip()) for each in listed)


def read_written_limit(arguments: Any, most: int) -> int | None:
    """How many items a call asks for, the nearest from 1 to `most`; None where it names no number."""
    arguments = _unquoted(arguments)
    value = arguments.get("limit") if isinstance(arguments, Mapping) else None
    try:
        return int(min(most, max(1.0, float(str(value)))))
    except ValueError:  # that of a value which is not a number
        return None


def read_written_numbers(arguments: Any) -> tuple[tuple[int, ...], int] | None:
    """The numbers that a call names, best first, and how many entries name none; None where it has no list."""
    entries = _entries(_argument(arguments, "numbers"))
    if entries is None:
        return None
    numbers = tuple(number for entry in entries if (number := _number(entry)) is not None)
    return numbers, len(entries) - len(numbers)


def _reasoning(answer: AIMessage) -> list[str]:
    """What a reasoning model thought, as providers hand it over apart from the text."""
    kept = answer.additional_kwargs
    found = [kept.get("reasoning_content") or kept.get("reasoning")]
    for block in answer.content if isinstance(answer.content, list) else ():
        if isinstance(block, dict) and block.get("type") in ("reasoning", "reasoning_content", "thinking"):
            found.append(block.get("reasoning") or block.get("thinking") or block.get("reasoning_content"))
            found += block.get("summary") or []
    return [text for part in found if isinstance(text := part.get("text") if isinstance(part, dict) else part, str)]


def _calls_in_text(text: str) -> list[WrittenCall]:
    calls = []
    for start, written in json_objects(text):
        for call in _listed(written):
            name = next((call[key] for key in _NAME_KEYS if isinstance(call.get(key), (str, dict))), None)
            if isinstance(name, dict):  # as OpenAI's API nests it
                call, name = name, name.get("name")
            arguments = next((call[key] for key in _ARGUMENT_KEYS if key in call), call)
            if isinstance(name, str):
                if arguments is call:
                    arguments = {key: value for key, value in call.items() if key not in _NAME_KEYS}
                tool = _tool(name, arguments)
            else:
                tool = next((tool for tool, argument in ARGUMENTS.items() if argument in call or tool in call), "")
                arguments = call.get(tool, call)
            if tool in _NAMES:
                calls.append(WrittenCall(name=tool, arguments=arguments, start=_beginning(text, start)))
    return calls


def _listed(written: dict[str, Any]) -> list[dict[str, Any]]:
    inner = written.get("tool_calls")
    return [call for call in inner if isinstance(call, dict)] if isinstance(inner, list) else [written]


def _beginning(text: str, start: int) -> int:
    """Where the fence or the tag before a call in the text begins."""
    marks = _BEFORE_A_CALL.search(text[max(0, start - 40) : start])
    return start - len(marks.group()) if marks else start


def _tool(name: str | None, arguments: Any) -> str:
    """The tool that is meant: some providers put a namespace before the name, and LangChain loses it with arguments."""
    if name:
        bare = re.split(r"[.:/]", name.strip())[-1].lower()
        return bare if bare in _NAMES else name
    if isinstance(arguments, dict):
        return next((tool for tool, argument in ARGUMENTS.items() if argument in arguments), "")
    entries = _entries(arguments)
    if entries and all(_number(entry) is not None for entry in entries):
        return "recommend_items"
    return "retrieve_items" if _phrases(arguments) else ""


def _argument(arguments: Any, name: str, depth: int = 0) -> Any:
    """The value of the only argument, under its name, another one, or inside a wrapper; the whole where it is bare."""
    arguments = _unquoted(arguments)
    if not isinstance(arguments, Mapping) or depth == _MAX_DEPTH:
        return arguments
    if name in arguments:
        return _unquoted(arguments[name])
    if len(arguments) == 1:
        [value] = arguments.values()
        return _argument(value, name, depth + 1)
    return arguments if depth else None


def _phrases(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        phrases = [str(phrase) for phrase in value if isinstance(phrase, (str, int)) and not isinstance(phrase, bool)]
        return "; ".join(phrases) if len(phrases) == len(value) else None
    return value if isinstance(value, str) else None


def _entries(value: Any) -> list[Any] | None:
    if isinstance(value, str):
        lines = [line for line in value.splitlines() if line.strip()]
        return lines if len(lines) > 1 else [entry for entry in re.split(r"[,;]|\s(?=#?\d)", value) if entry.strip()]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value]
    return value if isinstance(value, list) else None


def _number(entry: Any) -> int | None:
    if isinstance(entry, Mapping):
        entry = next((entry[key] for key in _NUMBER_KEYS if key in entry), None)
    if isinstance(entry, str):
        match = _NUMBER.fullmatch(entry)
        return int(match.group(1)) if match else None
    if isinstance(entry, bool) or not isinstance(entry, (int, float)) or not abs(entry) <= MAX_NUMBER:
        return None
    return int(entry) if entry == int(entry) else None


def _unquoted(value: Any) -> Any:
    """JSON in a string, read; any other value, and a string that is plain text, as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{", '"'):
        parsed = _parsed(value)
        return value if parsed is None else parsed
    return value


def _parsed(text: str | None) -> Any:
    try:
        return parse_json(text or "")
    except ValueError:
        return None
