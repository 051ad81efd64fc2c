"""LangChain's chat-model events for the turns of a model that is not one of LangChain's chat models.

Callbacks, tracers, `astream_events` and message streams then see a turn as they see a call of a chat model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, convert_to_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.runnables.config import ensure_config, get_async_callback_manager_for_config

from deeprec.agent.policy.completion import Completion, SamplingConfig

_NAME = "CompletionPolicy"


class TurnEvents:
    """The events of one turn. Without a callback in the config of the running node nothing is sent."""

    def __init__(self, run: AsyncCallbackManagerForLLMRun | None, model: str) -> None:
        self._run, self._model = run, model

    async def wrote(self, text: str) -> None:
        """Send a part of what the model wrote, as one new token."""
        await self._chunk(AIMessageChunk(content=text, id=self._id))

    async def ended(self, completion: Completion) -> None:
        """Send the usage as the last, empty part, and then the whole turn."""
        if self._run is None:
            return
        usage = UsageMetadata(
            input_tokens=completion.prompt_tokens,
            output_tokens=completion.completion_tokens,
            total_tokens=completion.prompt_tokens + completion.completion_tokens,
        )
        ending = {"model_name": self._model, "finish_reason": completion.finish_reason}
        await self._chunk(
            AIMessageChunk(
                content="", id=self._id, usage_metadata=usage, response_metadata=ending, chunk_position="last"
            )
        )
        message = AIMessage(completion.text, id=self._id, usage_metadata=usage, response_metadata=ending)
        await self._run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]))

    async def failed(self, error: BaseException) -> None:
        """Send the error that ended the turn."""
        if self._run is not None:
            await self._run.on_llm_error(error, response=LLMResult(generations=[]))

    @property
    def _id(self) -> str | None:
        return None if self._run is None else f"lc_run--{self._run.run_id}"

    async def _chunk(self, message: AIMessageChunk) -> None:
        if self._run is not None:
            await self._run.on_llm_new_token(str(message.content), chunk=ChatGenerationChunk(message=message))


@asynccontextmanager
async def turn_events(
    prompt: Sequence[Mapping[str, str]], *, model: str, sampling: SamplingConfig
) -> AsyncIterator[TurnEvents]:
    """Begin the events of a turn; an error inside is sent and raised again.

    Args:
        prompt: What the model has seen and written so far: `role` and `content` of each message.
        model: The name of the served model.
        sampling: How the turn is sampled.
    """
    manager = get_async_callback_manager_for_config(ensure_config())
    if not manager.handlers:
        yield TurnEvents(None, model)
        return
    settings = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
    named = {"ls_provider": "deeprec", "ls_model_name": model, "ls_model_type": "chat"}
    manager.add_metadata(
        {**named, "ls_temperature": sampling.temperature, "ls_max_tokens": sampling.max_tokens}, inherit=False
    )
    [run] = await manager.on_chat_model_start(
        {"lc": 1, "type": "not_implemented", "id": ["deeprec", "agent", _NAME], "name": _NAME},
        [convert_to_messages([dict(message) for message in prompt])],
        name=_NAME,
        invocation_params={"model": model, **settings, "seed": sampling.seed, "_type": "deeprec"},
    )
    events = TurnEvents(run, model)
    try:
        yield events
    except BaseException as error:
        await events.failed(error)
        raise
