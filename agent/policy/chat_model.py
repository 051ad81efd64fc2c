"""A LangChain chat model on an OpenAI-compatible server, for the tools protocol."""

import os
from typing import TYPE_CHECKING, cast

from pydantic import SecretStr

from deeprec.agent.policy.openai_endpoint import find_api_key
from deeprec.agent.policy.server_address import split_base_url
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_openai import ChatOpenAI


def make_chat_model(
    base_url: str,
    model: str,
    *,
    api_key: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int | None = None,
    seed: int | None = None,
    timeout_s: float = 120.0,
    max_retries: int = 2,
    logprobs: bool = False,
) -> "ChatOpenAI":
    """Build the chat model. Nothing is sent yet. It may be called from any event loop, thread or forked process.

    What a reasoning parser of the server took out of the text stands in `additional_kwargs["reasoning_content"]`.

    Args:
        base_url: With or without the closing `/v1`.
        model: The name under which the server has it.
        api_key: Else the environment's DEEPREC_API_KEY, else OPENAI_API_KEY, else none.
        temperature: 0 takes the likeliest token each time.
        top_p: Share of the probability mass that tokens are drawn from, the likeliest first.
        max_tokens: Tokens of one answer, at most; None leaves the limit to the server.
        seed: Seed of the sampling.
        timeout_s: Seconds of one request; a call sends at most 1 + `max_retries` of them.
        max_retries: Further requests after a failed first one. A 4xx other than 408, 409 and 429 is not sent again.
        logprobs: Whether to ask for the log-probability of each token, in the message's `response_metadata`. Some
            servers and models refuse that.

    Raises:
        ConfigError: the address is not one of HTTP, or the key cannot be sent.
    """
    from deeprec.agent.policy.http_clients import make_async_client, make_sync_client
    from deeprec.agent.policy.served_chat_model import ServedChatModel

    url, _ = split_base_url(base_url)
    proxy = os.environ.get("OPENAI_PROXY") or None
    return ServedChatModel(
        base_url=url,
        model=model,
        api_key=SecretStr(find_api_key(api_key)),
        temperature=temperature,
        top_p=top_p,
        max_completion_tokens=max_tokens,
        seed=seed,
        timeout=timeout_s,
        max_retries=max_retries,
        logprobs=logprobs or None,
        openai_proxy="",  # the clients have it; LangChain refuses both
        http_client=make_sync_client(base_url, proxy=proxy),
        http_async_client=make_async_client(base_url, proxy=proxy),
        use_responses_api=False,
        stream_usage=True,
    )


def adjust_chat_model(
    model: "BaseChatModel",
    *,
    model_name: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
) -> "BaseChatModel":
    """Copy a chat model with another model of its provider, or other sampling; None changes nothing.

    One whose class is chosen by configuration (`init_chat_model`) is configured so, as far as its `configurable_fields`
    allow.

    Raises:
        ConfigError: this class of chat models has no such field.
    """
    fields = getattr(type(model), "model_fields", {})
    name = "model_name" if "model_name" in fields else "model"
    named = {name: model_name, "temperature": temperature, "top_p": top_p}
    update = {field: value for field, value in named.items() if value is not None}
    if not fields:
        return cast("BaseChatModel", model.with_config({"configurable": update}))
    if missing := [field for field in update if field not in fields]:
        raise ConfigError(
            f"A {type(model).__name__} has no field {missing[0]!r}, so that a request cannot set it. Leave it out, "
            "or build the graph with a chat model that has it."
        )
    return model.model_copy(update=update)
