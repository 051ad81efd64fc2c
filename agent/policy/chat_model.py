"""A LangChain chat model on an OpenAI-compatible server, for the tools protocol."""

from typing import TYPE_CHECKING

from pydantic import SecretStr

from deeprec.agent.policy.openai_endpoint import find_api_key, is_loopback, split_base_url

if TYPE_CHECKING:
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
    """Build the chat model. Nothing is sent yet.

    Args:
        base_url: with or without the closing `/v1`.
        model: the name under which the server has it.
        api_key: else the environment's DEEPREC_API_KEY, else OPENAI_API_KEY, else none.
        temperature: 0 takes the likeliest token each time.
        top_p: keep the likeliest tokens that make up this probability.
        max_tokens: the most tokens of one answer; None leaves it to the server.
        seed: of the sampling.
        timeout_s: of one request; a call takes at most 1 + `max_retries` of them.
        max_retries: further requests after a failed first one. A 4xx other than 408, 409 and 429 is not sent again.
        logprobs: ask for the log-probability of each token, in the message's `response_metadata`. Not every server and
            model takes the question.
    Raises:
        ConfigError: an address that is none, or a key that cannot be sent.
    """
    import openai
    from langchain_openai import ChatOpenAI

    url, _ = split_base_url(base_url)
    # A proxy named in the environment cannot reach this machine's own address.
    local = is_loopback(url)
    return ChatOpenAI(
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
        http_client=openai.DefaultHttpxClient(trust_env=False) if local else None,
        http_async_client=openai.DefaultAsyncHttpxClient(trust_env=False) if local else None,
        use_responses_api=False,
        stream_usage=True,
    )
