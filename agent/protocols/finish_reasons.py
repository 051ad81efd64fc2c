"""Why a chat model stopped before its answer was whole: providers' names for a token limit, a refusal and a filter."""

from __future__ import annotations

from langchain_core.messages import AIMessage

from deeprec.agent.protocols.turn import Stop
from deeprec.trm_tool.text import neutralise

_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason")
_STOPS: dict[str, Stop] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "truncated"),
    "model_context_window_exceeded": "truncated",
    "refusal": "refused",
    **dict.fromkeys(("content_filter", "content_filtered", "safety", "image_safety", "recitation"), "filtered"),
    **dict.fromkeys(("prohibited_content", "blocklist", "spii", "guardrail_intervened", "error_toxic"), "filtered"),
}
"""A provider's word, in small letters -> what stopped the model. Sources: the API references of OpenAI, Anthropic,
Google Gemini, Amazon Bedrock, Mistral, Cohere and Ollama."""


def finish_reason_of(answer: AIMessage) -> str | None:
    """The provider's own word for why the model stopped; None where it gives none."""
    metadata = answer.response_metadata
    found = [metadata.get(key) for key in _KEYS]
    found += [
        _inside(metadata.get("incomplete_details"), "reason"),
        _inside(metadata.get("prompt_feedback"), "block_reason"),
    ]
    return next((reason for reason in found if isinstance(reason, str) and reason), None)


def stop_of(answer: AIMessage) -> tuple[Stop, str] | None:
    """What stopped the model before its answer was whole, and a clause that says so; None where it ended by itself."""
    refusal = _refusal(answer)
    stop = "refused" if refusal else _STOPS.get((finish_reason_of(answer) or "").rpartition(".")[2].lower())
    if stop == "refused":
        said = neutralise(refusal or str(answer.text), 200)
        return stop, f"the model refused to answer: {said}" if said else "the model refused to answer"
    if stop == "filtered":
        return stop, f"a content filter stopped the model ({finish_reason_of(answer)})"
    return (stop, "the token limit cut the text") if stop else None


def _refusal(answer: AIMessage) -> str | None:
    blocks = answer.content if isinstance(answer.content, list) else ()
    found = [answer.additional_kwargs.get("refusal")]
    found += [block.get("refusal") for block in blocks if isinstance(block, dict) and block.get("type") == "refusal"]
    return next((refusal for refusal in found if isinstance(refusal, str) and refusal), None)


def _inside(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None
