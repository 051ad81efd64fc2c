"""The tools that a chat model is offered in a turn, and whether it has to call one of them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from deeprec.agent.policy.chat_model_failures import http_status
from deeprec.agent.policy.wrapped_chat_models import WrappedChatModel

_log = logging.getLogger(__name__)
_REFUSALS = frozenset({400, 404, 405, 422, 501})
"""HTTP statuses of servers that do not know `tool_choice`."""
Answer = TypeVar("Answer")


class ToolOffers:
    """Offers of tools to one chat model, each of which has to be taken where the model's server knows that.

    A server that refuses the first request with `tool_choice` gets it again without, and no later one has it.
    """

    def __init__(self, model: BaseChatModel | WrappedChatModel) -> None:
        self._model = model
        self._can_require: bool | None = None

    async def ask(
        self, tools: Sequence[dict[str, Any]], call: Callable[[Runnable[Any, Any]], Awaitable[Answer]]
    ) -> Answer:
        """Call the model with tools bound to it.

        Args:
            tools: Descriptions as OpenAI's API takes them.
            call: Sends a request with the model that it is given.

        Raises:
            Exception: whatever `call` raises, and is not the refusal of `tool_choice`.
        """
        if self._can_require is False:
            return await call(self._model.bind_tools(tools))
        bound, knows_choice = self._required(tools)
        try:
            answer = await call(bound)
        except Exception as error:
            status = http_status(error) or http_status(error.__cause__)
            if self._can_require or status not in _REFUSALS:
                raise
            answer = await call(self._model.bind_tools(tools))
            self._can_require = False
            _log.info("The server answers tool_choice with HTTP %s; the model may also answer without a call", status)
            return answer
        self._can_require = knows_choice
        return answer

    def _required(self, tools: Sequence[dict[str, Any]]) -> tuple[Runnable[Any, Any], bool]:
        """The model with its tools, and whether it has to call one."""
        settings: dict[str, Any] = {"tool_choice": "any"}  # LangChain's word for it, whoever the provider is
        if "parallel_tool_calls" in inspect.signature(self._model.bind_tools).parameters:
            settings["parallel_tool_calls"] = False
        try:
            return self._model.bind_tools(tools, **settings), True
        except (NotImplementedError, TypeError, ValueError):  # a model of LangChain's that has no such choice
            return self._model.bind_tools(tools), False
