"""LangChain's OpenAI chat model, with what it leaves out of answers: thoughts, and odd arguments of calls."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

from deeprec.trm_tool.bounded_json import parse_json

_REASONING = ("reasoning_content", "reasoning")  # vLLM's name for it by the version


class ServedChatModel(ChatOpenAI):
    """A chat model on an OpenAI-compatible server such as vLLM.

    What a reasoning parser of the server took out of the text stands in `additional_kwargs["reasoning_content"]` of the
    message. Arguments of a call that are another JSON value than an object come as `{"arguments": value}`; LangChain
    would refuse the whole message.
    """

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        written = [getattr(choice, "message", None) for choice in getattr(response, "choices", None) or ()]
        for message in written:
            for call in getattr(message, "tool_calls", None) or ():
                function = getattr(call, "function", None)
                if function is not None:
                    function.arguments = _object_of(function.arguments)
        result = super()._create_chat_result(response, generation_info)
        for generation, message in zip(result.generations, written, strict=False):
            _keep_reasoning(generation.message, getattr(message, "model_extra", None) or {})
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        generated = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        choices = chunk.get("choices")
        if generated is not None and choices:
            _keep_reasoning(generated.message, choices[0].get("delta") or {})
        return generated


def _object_of(arguments: Any) -> Any:
    """Arguments as LangChain reads them: the text of an object. What is not JSON stays, for the model to correct."""
    try:
        value = parse_json(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return json.dumps(value if isinstance(value, dict) else {"arguments": value})


def _keep_reasoning(message: Any, extra: dict[str, Any]) -> None:
    thought = next((extra[name] for name in _REASONING if isinstance(extra.get(name), str)), None)
    if thought:
        message.additional_kwargs["reasoning_content"] = thought
