"""HTTP clients for model servers: their answers are bounded, and they follow no redirect to another origin."""

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai

from deeprec.agent.policy.loop_client import LoopClient
from deeprec.agent.policy.server_address import credentials_in, is_loopback

MAX_ANSWER_BYTES = 64 * 2**20
"""The most bytes of one answer, decompressed. The longest useful ones, token ids of a long prompt, have a few MB."""
# The SDK's own HTTP library, httpx or its successor by the version.
_http: Any = sys.modules[openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]


class AnswerTooLargeError(openai.OpenAIError):
    """An answer is longer than `MAX_ANSWER_BYTES`; the rest of it was not read."""


class RedirectRefusedError(openai.OpenAIError):
    """A server sends the request, with what a person wrote, to another origin. It was not sent there."""


def make_sync_client(base_url: str, *, proxy: str | None = None) -> Any:
    """Make a client of the SDK's HTTP library. Its requests carry the name and password that stand in `base_url`.

    Args:
        base_url: The address of the server.
        proxy: The address of a proxy; not used for this machine's own addresses.
    """
    return openai.DefaultHttpxClient(**_settings(base_url, proxy), event_hooks={"response": [_check]})


def make_async_client(base_url: str, *, proxy: str | None = None) -> LoopClient:
    """Make a client as `make_sync_client` does, for any number of event loops."""
    return LoopClient(**_settings(base_url, proxy), event_hooks={"response": [_check_async]})


def _settings(base_url: str, proxy: str | None) -> dict[str, Any]:
    # A proxy, or one that is named in the environment, cannot reach this machine's own address.
    if is_loopback(base_url):
        return {"auth": credentials_in(base_url), "trust_env": False}
    return {"auth": credentials_in(base_url), "proxy": proxy}


def _check(response: Any) -> None:
    _check_redirect(response)
    response.stream = _BoundedStream(_undecoded(response))


async def _check_async(response: Any) -> None:
    _check_redirect(response)
    response.stream = _BoundedAsyncStream(_undecoded(response))


def _check_redirect(response: Any) -> None:
    if not response.has_redirect_location:
        return
    target = response.url.join(response.headers["location"])
    if _origin(target) != _origin(response.url):
        raise RedirectRefusedError(
            f"sends requests on to another origin, {'://'.join(_origin(target)[:2])}, which was not asked. Name that "
            "address instead if it is meant."
        )


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _undecoded(response: Any) -> Any:
    """Make a response that decompresses the stream of `response`, which is left with plain bytes."""
    encoding = response.headers.pop("content-encoding", None)
    headers = {"content-encoding": encoding} if encoding else {}
    return _http.Response(response.status_code, headers=headers, stream=response.stream)


class _BoundedStream(_http.SyncByteStream):  # type: ignore[misc]  # the library is chosen at run time
    def __init__(self, response: Any) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._response.iter_bytes():
            size = _bounded(size + len(part))
            yield part

    def close(self) -> None:
        self._response.close()


class _BoundedAsyncStream(_http.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, response: Any) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._response.aiter_bytes():
            size = _bounded(size + len(part))
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()


def _bounded(size: int) -> int:
    if size > MAX_ANSWER_BYTES:
        raise AnswerTooLargeError(
            f"the answer has over {MAX_ANSWER_BYTES:,} bytes, the most that is read; the rest was left"
        )
    return size
