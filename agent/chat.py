"""A LangChain chat model for the tools protocol, set up for a vLLM or OpenAI-compatible server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeprec.agent.endpoint import find_api_key, split_base_url

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI


def make_chat_model(
    base_url: str,
    model: str,
    *,
    api_key: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    timeout_s: float = 120.0,
    max_retries: int = 2,
) -> ChatOpenAI:
    """Build the chat model.

    Args:
        base_url: with or without the closing `/v1`.
        model: the name under which the server has it.
        api_key: else the environment's DEEPREC_API_KEY, else OPENAI_API_KEY, else none.
        temperature: of the sampling, 0 to 2.
        top_p: of the sampling, above 0 up to 1.
        timeout_s: the longest that one request may take.
        max_retries: further requests after a connection error, a time-out, 408, 409, 429 or 5xx.
    """
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    return ChatOpenAI(
        base_url=split_base_url(base_url)[0],
        model=model,
        api_key=SecretStr(find_api_key(api_key)),
        temperature=temperature,
        top_p=top_p,
        timeout=timeout_s,
        max_retries=max_retries,
    )
