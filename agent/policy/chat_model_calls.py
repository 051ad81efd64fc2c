"""Calls of a LangChain chat model from any event loop, thread or process, whatever its clients are bound to."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from functools import cache, partial
from threading import Lock
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from deeprec.agent.daemon_threads import DaemonThreads
from deeprec.agent.graph.event_loop import is_for_blocking_calls
from deeprec.agent.policy.chat_model_failures import is_unreadable
from deeprec.agent.policy.loop_client import LoopClient
from deeprec.trm_tool import ConfigError

MAX_THREADS = 64
"""Synchronous calls of chat models at once."""
DEFAULT_RETRIES = 2
"""Further calls after an answer that nobody can read, of a model without `max_retries`."""
RETRY_WAIT_S = 0.5
"""Seconds before the first of them; they double each time."""
_log = logging.getLogger(__name__)
_FOREIGN_LOOP = ("Event loop is closed", "is bound to a different event loop", "attached to a different loop")


class ChatModelCalls:
    """A chat model as the tools protocol calls it.

    A model's asynchronous client is bound to the event loop that first used it, and models of one class may share it
    (LangChain's OpenAI models do). So the first loop that calls a model of a class calls it asynchronously; other loops
    and synchronous callers use the model's synchronous client, in a thread. A model of `make_chat_model` has a client
    that serves every loop.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        """Take the chat models of a policy: one, or several in wrappers, the first choice first."""
        self._kinds = {type(model) for model in models}
        self._serves_every_loop = all(
            isinstance(getattr(model, "http_async_client", None), LoopClient) for model in models
        )
        retries = getattr(models[0], "max_retries", None)
        self._retries = retries if isinstance(retries, int) else DEFAULT_RETRIES
        self._is_bound_elsewhere = False
        self._process: int | None = None

    async def call(self, bound: Runnable[Any, Any], messages: Sequence[BaseMessage]) -> object:
        """Call the model; once more, as often as its own `max_retries` says, after an answer that nobody can read.

        Args:
            bound: The model with its tools and settings bound.
            messages: The conversation.

        Raises:
            ConfigError: the model was called before this process was forked.
            Exception: whatever the model raises. A call that is cancelled may go on in its thread.
        """
        for count in range(self._retries):
            try:
                return await self._call(bound, messages)
            except Exception as error:
                if not is_unreadable(error):
                    raise
                wait_s = RETRY_WAIT_S * 2**count
                _log.info("The answer of a chat model cannot be read (%s); asking again in %.1f s", error, wait_s)
                await asyncio.sleep(wait_s)
        return await self._call(bound, messages)

    async def _call(self, bound: Runnable[Any, Any], messages: Sequence[BaseMessage]) -> object:
        if self._serves_every_loop:
            return await bound.ainvoke(list(messages))
        self._check_process()
        if not self._is_bound_elsewhere and _is_home(self._kinds, asyncio.get_running_loop()):
            try:
                return await bound.ainvoke(list(messages))
            except Exception as error:
                if not _is_of_another_loop(error):
                    raise
                self._is_bound_elsewhere = True  # its owner had used it on a loop of theirs
        try:
            return await _threads().run(partial(bound.invoke, list(messages)))
        except NotImplementedError:  # a model that can only be called asynchronously
            return await bound.ainvoke(list(messages))

    def _check_process(self) -> None:
        if self._process is None:
            self._process = os.getpid()
        if self._process != os.getpid():
            names = " or ".join(sorted(kind.__name__ for kind in self._kinds))
            raise ConfigError(
                f"A {names} was called before this process was forked, and its open connections "
                "are the parent's too, so that answers could reach the wrong process. Build the model and the graph "
                "after the fork (gunicorn's post_fork, Celery's worker_process_init), or use make_chat_model."
            )


_homes: WeakKeyDictionary[type, ReferenceType[asyncio.AbstractEventLoop]] = WeakKeyDictionary()
_lock = Lock()


def _is_home(kinds: Iterable[type], loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop is the first that calls models of these classes; the loop of synchronous calls is not one."""
    if is_for_blocking_calls(loop):
        return False
    with _lock:
        return {_homes.setdefault(kind, ref(loop))() for kind in kinds} == {loop}


def _is_of_another_loop(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _FOREIGN_LOOP):
            return True
        error = error.__cause__ or error.__context__
    return False


@cache
def _threads() -> DaemonThreads:
    return DaemonThreads(MAX_THREADS, name="deeprec-chat-model")
