"""OpenAI tool calling over chat completions, with any LangChain chat model.

A run of this protocol has no exact token chain (chat templates re-encode earlier turns), so it serves inference and
inspection; policies are trained with the tagged protocol.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.runnables import Runnable
from pydantic import ValidationError

from deeprec.agent.policy.completion import PolicyUnavailableError
from deeprec.agent.protocols.prompts import TOOLS_CORRECTION, TOOLS_SYSTEM, items_text, person_text
from deeprec.agent.protocols.turn import (
    Allowance,
    Briefing,
    ContextFullError,
    Conversation,
    Decision,
    Turn,
    phrases_regex,
    read_preference,
    thought_regex,
)
from deeprec.agent.traces.records import TurnRecord
from deeprec.agent.traces.store.codec import storable

_log = logging.getLogger(__name__)

_UNREADABLE = "unreadable"
"""Marks a message that stands in for one that LangChain could not file."""
_CALL_BLOCKS = ("tool_use", "tool_call", "function_call")

RETRIEVE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "retrieve_items",
        "description": "Ask the recommender for items that fit the person and a preference.",
        "parameters": {
            "type": "object",
            "properties": {
                "preference": {"type": "string", "description": "A few short phrases separated by ';'."},
            },
            "required": ["preference"],
        },
    },
}
RECOMMEND: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "recommend_items",
        "description": "Hand in the final list.",
        "parameters": {
            "type": "object",
            "properties": {
                "numbers": {
                    "type": "array",
                    "items": {"type": "integer"},
                    "description": "Numbers of different items, the best first.",
                }
            },
            "required": ["numbers"],
        },
    },
}


class ToolsProtocol:
    """Tool calling. A conversation is `{"messages": LangChain messages, "new": how many no turn has recorded yet}`.

    Guided (vLLM only), the model writes its call as text under a regular expression, and it is filed as a tool call:
    that keeps the form even with a model or a chat template that knows nothing of tools.
    """

    name = "tools"
    version = "1"

    def __init__(self, model: BaseChatModel, *, guided: bool = False) -> None:
        self._model = model
        self.guided = guided
        self._settable = {"max_tokens", "seed"} & set(type(model).model_fields)
        self._both = model if guided else model.bind_tools([RETRIEVE, RECOMMEND])
        self._list_only = model if guided else model.bind_tools([RECOMMEND])

    def lineage(self) -> dict[str, Any]:
        """The policy's part of a run's lineage."""
        model = self._model
        name = getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__
        known = ("temperature", "top_p", "max_tokens", "seed")
        sampling = {key: getattr(model, key) for key in known if getattr(model, key, None) is not None}
        return {"policy_model": str(name), "sampling": sampling}

    async def open(self, briefing: Briefing) -> Conversation:
        """Begin a conversation."""
        person = person_text(briefing.history, briefing.message, k=briefing.k)
        messages = [SystemMessage(TOOLS_SYSTEM.format(k=briefing.k)), HumanMessage(person)]
        return {"messages": messages, "new": len(messages)}

    async def reason(self, conversation: Conversation, allowance: Allowance) -> Turn:
        """Let the model think and then search or rank."""
        if self.guided:
            answer, ms = await self._call(
                self._model, conversation["messages"], allowance, regex=_reason_regex(allowance)
            )
            return self._turn(conversation, _as_tool_call(answer), ms)
        answer, ms = await self._call(self._both, conversation["messages"], allowance)
        return self._turn(conversation, answer, ms)

    async def observe(self, conversation: Conversation, items: Sequence[tuple[int, str]]) -> Conversation | None:
        """Answer the tool call with the item list."""
        return _answered(conversation, items_text(items))

    async def correct(self, conversation: Conversation, why: str) -> Conversation | None:
        """Say what was wrong, as the tool's answer where there was a call."""
        return _answered(conversation, TOOLS_CORRECTION.format(why=why))

    async def rank(self, conversation: Conversation, numbers: Sequence[int], k: int, allowance: Allowance) -> Turn:
        """Make the model rank. Guided, it names one of the numbers that are left at a time, so none comes twice."""
        last = conversation["messages"][-1]
        if isinstance(last, AIMessage) and (last.tool_calls or last.invalid_tool_calls):
            conversation = _answered(conversation, "Not carried out: no search is left.")
        conversation = _extend(conversation, HumanMessage(f"Now rank: hand in the numbers of the {k} best items."))
        if not self.guided:
            answer, ms = await self._call(self._list_only, conversation["messages"], allowance)
            return self._turn(conversation, answer, ms)
        left, named, spent, tokens = list(numbers), list[int](), 0.0, 0
        while left and len(named) < k:
            so_far = AIMessage('{"numbers": [' + "".join(f"{number}, " for number in named))
            answer, ms = await self._call(
                self._model,
                [*conversation["messages"], so_far],
                allowance,
                regex=f"({'|'.join(map(str, left))}), ",
                continue_final_message=True,
                add_generation_prompt=False,
            )
            spent += ms
            tokens += _usage(answer)[1]
            match = re.match(r"\s*(\d+)", str(answer.content))
            if match is None or int(match.group(1)) not in left:
                break
            named.append(int(match.group(1)))
            left.remove(named[-1])
        call = {"name": "recommend_items", "args": {"numbers": named}, "id": f"call_{len(conversation['messages'])}"}
        usage = {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}
        return self._turn(conversation, AIMessage("", tool_calls=[call], usage_metadata=usage), spent)

    def replay(self, conversation: Conversation, record: TurnRecord) -> Turn:
        """The turn that a record holds."""
        stored = messages_from_dict(record.messages or [])
        if not stored or not isinstance(stored[-1], AIMessage):
            raise PolicyUnavailableError(
                f"Turn {record.position} was stored without its message; it cannot be replayed."
            )
        # The record holds what the turn added; what of it is in the conversation already is its unrecorded tail.
        added = stored[conversation["new"] : -1]
        return self._turn(_extend(conversation, *added), stored[-1], record.latency_ms)

    async def edit(self, record: TurnRecord, preference: str) -> TurnRecord:
        """The turn with another preference in the arguments of its tool call; its usage stays the one counted."""
        *before, last = messages_from_dict(record.messages or [])
        if not isinstance(last, AIMessage):
            raise PolicyUnavailableError(f"Turn {record.position} was stored without its message; it cannot be edited.")
        searched, *others = last.tool_calls
        content: Any = last.content
        if not isinstance(content, str):  # some providers repeat the call among the blocks of the content
            content = [
                block for block in content if not (isinstance(block, dict) and block.get("type") in _CALL_BLOCKS)
            ]
        edited = last.model_copy(
            update={
                "content": content,
                "tool_calls": [{**searched, "args": {**searched["args"], "preference": preference}}, *others],
                "additional_kwargs": {k: v for k, v in last.additional_kwargs.items() if k != "tool_calls"},
                "response_metadata": {k: v for k, v in last.response_metadata.items() if k != "logprobs"},
            }
        )
        messages = [message_to_dict(message) for message in (*before, edited)]
        return replace(record, preference=preference, messages=messages, latency_ms=0.0)

    def agrees(self, conversation: Conversation, records: Sequence[TurnRecord]) -> bool:
        """Whether the messages are those that the turns added, the last turn's own answer left out."""
        stored = [message for record in records for message in messages_from_dict(record.messages or [])][:-1]
        return _said(stored) == _said(conversation["messages"])

    def _turn(self, conversation: Conversation, answer: AIMessage, latency_ms: float) -> Turn:
        messages: list[BaseMessage] = [*conversation["messages"], answer]
        added = messages[len(conversation["messages"]) - conversation["new"] :]
        prompt_tokens, completion_tokens = _usage(answer)
        return Turn(
            conversation={"messages": messages, "new": 0},
            decision=read_tool_calls(answer, guided=self.guided),
            text=str(answer.text),
            finish_reason=answer.response_metadata.get("finish_reason"),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            latency_ms=latency_ms,
            messages=[message_to_dict(message) for message in added],
        )

    async def _call(
        self,
        model: Runnable[Any, Any],
        messages: Sequence[BaseMessage],
        allowance: Allowance,
        *,
        regex: str | None = None,
        **extra: Any,
    ) -> tuple[AIMessage, float]:
        settings: dict[str, Any] = {"max_tokens": allowance.max_tokens, "seed": allowance.seed}
        settings = {name: settings[name] for name in self._settable if settings[name] is not None}
        if regex is not None:
            settings["extra_body"] = {"structured_outputs": {"regex": regex}, **extra}
        model = model.bind(**settings)
        started = time.perf_counter()
        try:
            answer = await asyncio.wait_for(model.ainvoke(list(messages)), allowance.timeout_s)
        except ValidationError as error:  # arguments that are no JSON object: LangChain cannot file the message
            answer = AIMessage("", response_metadata={_UNREADABLE: error.errors()[0]["msg"]})
        except Exception as error:  # the errors of somebody else's chat model have no common class
            _log.info("The chat model failed", exc_info=error)
            why = str(error).splitlines()[0][:300] if str(error) else "no message"
            if isinstance(error, ContextOverflowError) or "maximum context length" in why:  # vLLM's words
                raise ContextFullError(why) from error
            raise PolicyUnavailableError(f"The chat model failed: {type(error).__name__}: {why}") from error
        if not isinstance(answer, AIMessage):
            raise PolicyUnavailableError(f"The chat model answered with {type(answer).__name__}, not an AIMessage.")
        return answer, (time.perf_counter() - started) * 1000


def _said(messages: Sequence[BaseMessage]) -> list[tuple[str, str]]:
    return [(message.type, storable(str(message.text))) for message in messages]


def _extend(conversation: Conversation, *messages: BaseMessage) -> dict[str, Any]:
    return {"messages": [*conversation["messages"], *messages], "new": conversation["new"] + len(messages)}


def _answered(conversation: Conversation, text: str) -> dict[str, Any]:
    """Every call of the last message gets an answer, as the API demands: the first `text`, the others a refusal."""
    last = conversation["messages"][-1]
    ids = [call["id"] for call in (*last.tool_calls, *last.invalid_tool_calls)] if isinstance(last, AIMessage) else []
    if not ids:
        return _extend(conversation, HumanMessage(text))
    refusal = "Not carried out: one call at a time."
    answers = [ToolMessage(text if at == 0 else refusal, tool_call_id=str(call_id)) for at, call_id in enumerate(ids)]
    return _extend(conversation, *answers)


def read_tool_calls(answer: AIMessage, *, guided: bool = False) -> Decision:
    """Read the first tool call of a message strictly; anything else is malformed, with the reason.

    A guided model may also end its search with a text, the object `{"thought": …, "rank": true}`.
    """
    thought = str(answer.text).strip() or None
    written = _guided_object(answer) if guided and not answer.tool_calls else {}
    if written.get("rank") is True:
        return Decision(action="recommend", thought=str(written.get("thought")))
    if not answer.tool_calls:
        unreadable = answer.invalid_tool_calls or _UNREADABLE in answer.response_metadata
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
    return Decision(action="malformed", thought=thought, detail=f"there is no tool {_short(call['name'])}")


def _is_number(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.isdecimal() and len(value) < 7
    )


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _usage(answer: AIMessage) -> tuple[int, int]:
    usage = answer.usage_metadata
    return (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)


def _reason_regex(allowance: Allowance) -> str:
    """A JSON object with a thought and a preference, or with a thought and the wish to rank."""
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


def _as_tool_call(answer: AIMessage) -> AIMessage:
    """File a guided search as the tool call that it stands for; a text that was cut stays as it is."""
    written = _guided_object(answer)
    if "preference" not in written:
        return answer
    call = {"name": "retrieve_items", "args": {"preference": written["preference"]}, "id": f"call_{answer.id}"}
    return answer.model_copy(update={"content": str(written.get("thought")), "tool_calls": [call]})
