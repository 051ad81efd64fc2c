"""OpenAI tool calling over chat completions, with any LangChain chat model.

A run of this protocol has no exact token chain (chat templates re-encode earlier turns), so it serves inference and
inspection; policies are trained with the tagged protocol.
"""

from __future__ import annotations

import asyncio
import copy
import re
import time
from collections.abc import Collection, Sequence
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
from langgraph.errors import GraphBubbleUp
from pydantic import ValidationError

from deeprec.agent.policy.chat_model import adjust_chat_model
from deeprec.agent.policy.chat_model_calls import ChatModelCalls
from deeprec.agent.policy.chat_model_failures import is_outage
from deeprec.agent.policy.completion import Completion, PolicyUnavailableError
from deeprec.agent.policy.wrapped_chat_models import WrappedChatModel, as_chat_model, change_chat_models, chat_models_in
from deeprec.agent.protocols.finish_reasons import finish_reason_of
from deeprec.agent.protocols.prompts import Prompts
from deeprec.agent.protocols.tool_arguments import DESCRIBE_CATALOGUE, PEOPLE_ALSO_CHOSE
from deeprec.agent.protocols.tool_messages import (
    as_tool_call,
    asked_look_up,
    carried_out,
    make_choices_tool,
    make_describe_tool,
    make_tools,
    read_tool_calls,
    tools_regex,
    unread_message,
    with_kept_numbers,
    with_preference,
    with_readable_arguments,
)
from deeprec.agent.protocols.tool_offers import ToolOffers
from deeprec.agent.protocols.turn import (
    Allowance,
    Briefing,
    ContextFullError,
    Conversation,
    Describe,
    PolicyLineage,
    Remark,
    Turn,
)
from deeprec.agent.traces.records import TurnRecord
from deeprec.agent.traces.store.codec import storable
from deeprec.trm_tool import ConfigError

MAX_LOOK_UPS = 3
"""Answered calls of each look-up (describe_catalogue, people_also_chose) in one run; then it is offered no more."""


class ToolsProtocol:
    """The protocol of tool calls.

    A conversation is `{"messages": LangChain messages, "new": how many of them no turn has recorded yet}`. A guided
    model (vLLM only) writes its call as text under a regular expression, which is then read as a tool call: that holds
    the form even with a model or a chat template that knows nothing of tools.
    """

    name = "tools"
    version = "1"

    def __init__(self, model: Runnable[Any, Any], *, guided: bool = False, prompts: Prompts | None = None) -> None:
        """Make the protocol of a chat model.

        Args:
            model: Any LangChain chat model that can call tools, in LangChain's wrappers too (`with_fallbacks`,
                `with_retry`, `bind`, `with_config`, configurable fields).
            guided: Whether the server holds the model to the format.
            prompts: The texts that the model is shown; the default ones without it.
        """
        self._calls = ChatModelCalls(chat_models_in(model))
        self._prompts = prompts or Prompts()
        self.guided = guided
        self.prompt_version = self._prompts.version
        self.has_card = self._prompts.has_card
        self._use(as_chat_model(model))

    def _use(self, model: BaseChatModel | WrappedChatModel) -> None:
        self._models, self._model, self._offers = chat_models_in(model), model, ToolOffers(model)
        retrieve, recommend = make_tools(self._prompts)
        # A setting that one of the models does not know would be sent to all of them.
        self._settable = {"max_tokens", "seed"}.intersection(
            *(getattr(kind, "model_fields", ()) for kind in map(type, self._models))
        )
        self._both = model if self.guided else model.bind_tools([retrieve, recommend])
        self._list_only = model if self.guided else model.bind_tools([recommend])

    def adjusted(
        self, *, model: str | None = None, temperature: float | None = None, top_p: float | None = None
    ) -> ToolsProtocol:
        """Make the same protocol with another model of the provider, or other sampling, over the same connections."""
        if model is not None and len(self._models) > 1:
            raise ConfigError(
                f"A request names the model {model[:80]!r}, and the policy has {len(self._models)} with fallbacks. "
                "Leave it out, or build the graph with one chat model."
            )
        other = copy.copy(self)
        other._use(
            change_chat_models(
                self._model,
                lambda each: adjust_chat_model(each, model_name=model, temperature=temperature, top_p=top_p),
            )
        )
        return other

    def lineage(self) -> PolicyLineage:
        """The policy's part of a run's lineage."""
        model = self._models[0]
        name = " | ".join(_name_of(model) for model in self._models)
        known = ("temperature", "top_p", "max_tokens", "seed")
        sampling = {key: getattr(model, key) for key in known if getattr(model, key, None) is not None}
        return {"policy_model": name, "sampling": sampling}

    async def open(self, briefing: Briefing) -> Conversation:
        """Begin a conversation."""
        person = self._prompts.opening(briefing)
        system = self._prompts.tools_system(briefing.k, briefing.max_retrievals, may_be_empty=briefing.may_be_empty)
        messages = [SystemMessage(system), HumanMessage(person)]
        return {
            "messages": messages,
            "new": len(messages),
            "k": briefing.k,
            "message": briefing.message,
            "max_retrievals": briefing.max_retrievals,
            "found": 0,
            **briefing.freedoms(),
        }

    async def reason(self, conversation: Conversation, allowance: Allowance) -> Turn:
        """Let the model think and then retrieve or rank."""
        if self.guided:
            answer, ms = await self._call(
                self._model, conversation["messages"], allowance, regex=tools_regex(allowance)
            )
            return self._turn(conversation, as_tool_call(answer), ms)
        spent = 0.0
        while True:
            answers = _look_ups_left(conversation, allowance)
            answer, ms = await self._free_answer(conversation, allowance, answers)
            spent += ms
            asked = asked_look_up(answer, answers, may_be_empty=_may_be_empty(conversation))
            if asked is None:
                return self._turn(conversation, answer, spent)
            at, name, arguments = asked
            text = await answers[name](arguments)
            conversation = self._answered(_extend(conversation, answer), text, at)
            allowance = replace(allowance, max_tokens=max(1, allowance.max_tokens - _usage(answer)[1]))

    async def _free_answer(
        self, conversation: Conversation, allowance: Allowance, look_ups: Collection[str]
    ) -> tuple[AIMessage, float]:
        """What the model answers to the tools that are due, and the milliseconds that it took."""
        more = [_LOOK_UPS[name](self._prompts) for name in look_ups]
        freedoms = _freedoms(conversation)
        if not self._prompts.leads:
            own = bool(more or freedoms)
            model = self._model.bind_tools([*make_tools(self._prompts, **freedoms), *more]) if own else self._both
            return await self._call(model, conversation["messages"], allowance)
        found, most = conversation.get("found", 0), conversation.get("max_retrievals")
        retrieve, recommend = make_tools(self._prompts, k=conversation.get("k"), **freedoms)
        if found and found == most:
            return await self._ask(conversation, allowance, [recommend])
        return await self._ask(conversation, allowance, [retrieve, *([recommend] if found else []), *more])

    async def observe(self, conversation: Conversation, items: Sequence[tuple[int, str]]) -> Conversation | None:
        """Answer the tool call with the item list."""
        return await self.observe_remarked(conversation, items, None)

    async def observe_remarked(
        self, conversation: Conversation, items: Sequence[tuple[int, str]], remark: Remark | None
    ) -> Conversation | None:
        """Answer the tool call with the item list, and with a line about what of the preference was not enforced."""
        found = conversation.get("found", 0) + 1
        is_last = found == conversation.get("max_retrievals")
        after = self._prompts.after_items(conversation.get("message"), k=conversation.get("k", 0), is_last=is_last)
        text = "\n".join(filter(None, (self._prompts.items(items), self._prompts.remark(remark), after)))
        return self._answered(conversation, text) | {"found": found}

    async def correct(self, conversation: Conversation, why: str) -> Conversation | None:
        """Append what is malformed, as the tool's answer where there was a call."""
        has_found = bool(conversation.get("found"))
        text = self._prompts.correction(why, k=conversation.get("k", 0), is_tagged=False, has_found=has_found)
        return self._answered(conversation, text)

    async def rank(self, conversation: Conversation, numbers: Sequence[int], k: int, allowance: Allowance) -> Turn:
        """Let the model rank. A guided one names one of the numbers that are left at a time, so that none repeats."""
        last = conversation["messages"][-1]
        if isinstance(last, AIMessage) and (last.tool_calls or last.invalid_tool_calls):
            conversation = self._answered(conversation, self._prompts.tools_no_retrieval_left)
        conversation = _extend(conversation, HumanMessage(self._prompts.tools_rank.format(k=k)))
        if not self.guided and self._prompts.leads:
            answer, ms = await self._ask(conversation, allowance, make_tools(self._prompts, k=k)[1:])
            return self._turn(conversation, answer, ms)
        if not self.guided:
            answer, ms = await self._call(self._list_only, conversation["messages"], allowance)
            return self._turn(conversation, answer, ms)
        left, named, spent, tokens = list(numbers), list[int](), 0.0, 0
        while left and len(named) < min(k, allowance.most_numbers or k):
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
            allowance.on_number(named[-1])
        call = {"name": "recommend_items", "args": {"numbers": named}, "id": f"call_{len(conversation['messages'])}"}
        usage = {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}
        return self._turn(conversation, AIMessage("", tool_calls=[call], usage_metadata=usage), spent)

    def replay(self, conversation: Conversation, record: TurnRecord) -> Turn:
        """Rebuild a turn from its record."""
        stored = messages_from_dict(record.messages or [])
        if not stored or not isinstance(stored[-1], AIMessage):
            raise PolicyUnavailableError(
                f"Turn {record.position} was stored without its message; it cannot be replayed."
            )
        # The record holds what the turn added; what of it is in the conversation already is its unrecorded tail.
        added = stored[conversation["new"] : -1]
        return self._turn(_extend(conversation, *added), stored[-1], record.latency_ms)

    async def edit(self, record: TurnRecord, preference: str) -> TurnRecord:
        """Replace the preference in the arguments of a turn's tool call; its usage stays as it was counted."""
        *before, last = messages_from_dict(record.messages or [])
        if not isinstance(last, AIMessage):
            raise PolicyUnavailableError(f"Turn {record.position} was stored without its message; it cannot be edited.")
        edited = with_preference(last, preference, was_empty=record.preference == "")
        messages = [message_to_dict(message) for message in (*before, edited)]
        return replace(record, preference=preference, messages=messages, latency_ms=0.0)

    def agrees(self, conversation: Conversation, records: Sequence[TurnRecord]) -> bool:
        """Whether the messages are those that the turns added, without what the last turn wrote and looked up."""
        stored = [message for record in records for message in messages_from_dict(record.messages or [])][:-1]
        here = conversation["messages"]
        looked_up = stored[len(here) :]
        may_be_empty = _may_be_empty(conversation)
        is_own = not looked_up or (
            isinstance(looked_up[0], AIMessage) and asked_look_up(looked_up[0], may_be_empty=may_be_empty) is not None
        )
        return is_own and _texts(stored[: len(here)]) == _texts(here)

    def _turn(self, conversation: Conversation, answer: AIMessage, latency_ms: float) -> Turn:
        messages: list[BaseMessage] = [*conversation["messages"], answer]
        added = messages[len(conversation["messages"]) - conversation["new"] :]
        usages = [_usage(message) for message in added if isinstance(message, AIMessage)]  # the last is the answer's
        return Turn(
            conversation={**conversation, "messages": messages, "new": 0},
            decision=read_tool_calls(answer, guided=self.guided, **_freedoms(conversation)),
            completion=Completion(
                text=str(answer.text),
                finish_reason=finish_reason_of(answer),
                prompt_tokens=usages[-1][0],
                completion_tokens=sum(completion_tokens for _, completion_tokens in usages),
                latency_ms=latency_ms,
            ),
            messages=[message_to_dict(message) for message in added],
        )

    def _answered(self, conversation: Conversation, text: str, followed: int | None = None) -> dict[str, Any]:
        """Every call of the last message gets an answer, as the API demands: the one that is followed `text`, the
        others a refusal. A call in the text is answered by a person's message.

        `followed` is its position, where it is not the one that `read_tool_calls` follows.
        """
        last = conversation["messages"][-1]
        if not isinstance(last, AIMessage) or not (last.tool_calls or last.invalid_tool_calls):
            return _extend(conversation, HumanMessage(text))
        if followed is None:
            followed = carried_out(last, may_be_empty=_may_be_empty(conversation))
        answers = [
            ToolMessage(text if at == followed else self._prompts.tools_one_call, tool_call_id=str(call["id"]))
            for at, call in enumerate(with_readable_arguments(last).tool_calls)
        ]
        return _extend(conversation, *answers)

    async def _ask(
        self, conversation: Conversation, allowance: Allowance, tools: Sequence[dict[str, Any]]
    ) -> tuple[AIMessage, float]:
        """Let the model call one of these tools."""
        messages = conversation["messages"]
        return await self._offers.ask(tools, lambda model: self._call(model, messages, allowance))

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
        sent = [with_readable_arguments(said) if isinstance(said, AIMessage) else said for said in messages]
        started = time.perf_counter()
        try:
            answer = await asyncio.wait_for(self._calls.call(model, sent), allowance.timeout_s)
        except ValidationError as error:  # arguments that are not a JSON object: LangChain cannot build the message
            answer = unread_message(error)
        except GraphBubbleUp:  # an interrupt of LangGraph, not an error
            raise
        except Exception as error:
            if getattr(error, "code", None) == "content_filter":  # the provider refused the prompt
                return AIMessage("", response_metadata={"finish_reason": "content_filter"}), _ms_since(started)
            why = str(error).splitlines()[0][:300] if str(error) else "no message"
            if isinstance(error, ContextOverflowError) or "maximum context length" in why:  # vLLM's words
                raise ContextFullError(why) from error
            if not is_outage(error):
                raise
            raise PolicyUnavailableError(f"The chat model failed: {type(error).__name__}: {why}") from error
        if not isinstance(answer, AIMessage):
            raise PolicyUnavailableError(f"The chat model answered with {type(answer).__name__}, not an AIMessage.")
        return with_kept_numbers(answer), _ms_since(started)


_LOOK_UPS = {DESCRIBE_CATALOGUE: make_describe_tool, PEOPLE_ALSO_CHOSE: make_choices_tool}


def _look_ups_left(conversation: Conversation, allowance: Allowance) -> dict[str, Describe]:
    """Tool -> what answers it, of those that a turn may call before it decides and that are not spent.

    Of a message with several calls one was answered, the first of a tool that was left then.
    """
    answers = {DESCRIBE_CATALOGUE: allowance.describe, PEOPLE_ALSO_CHOSE: allowance.also_chosen}
    left = {name: MAX_LOOK_UPS for name, answer in answers.items() if answer is not None}
    for said in conversation["messages"]:
        if isinstance(said, AIMessage):
            names = [name for name, count in left.items() if count]
            asked = asked_look_up(said, names, may_be_empty=_may_be_empty(conversation))
            if asked is not None:
                left[asked[1]] -= 1
    return {name: answer for name, answer in answers.items() if answer is not None and left[name]}


def _freedoms(conversation: Conversation) -> dict[str, Any]:
    """`Briefing.freedoms` of a conversation."""
    return {name: conversation[name] for name in ("may_be_empty", "max_retrieve_k") if name in conversation}


def _may_be_empty(conversation: Conversation) -> bool:
    return "may_be_empty" in conversation


def _name_of(model: Any) -> str:
    return str(getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _texts(messages: Sequence[BaseMessage]) -> list[tuple[str, str]]:
    return [(message.type, storable(str(message.text))) for message in messages]


def _extend(conversation: Conversation, *messages: BaseMessage) -> dict[str, Any]:
    said = [*conversation["messages"], *messages]
    return {**conversation, "messages": said, "new": conversation["new"] + len(messages)}


def _usage(answer: AIMessage) -> tuple[int, int]:
    usage = answer.usage_metadata
    return (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)
