"""Requests to an OpenAI-compatible server: bounded retries, one time limit, answers checked before they are used.

What a request may cost in retries and time is decided here, for the policy and for the loading of adapters alike.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import openai
from openai import AsyncOpenAI, Timeout
from pydantic import BaseModel, ValidationError

from deeprec.agent.policy.http_clients import RedirectRefusedError, make_async_client
from deeprec.agent.policy.server_address import split_base_url
from deeprec.trm_tool.errors import ConfigError, DeepRecError, unlabelled

_logger = logging.getLogger(__name__)
_LONGEST_WAIT_S = 10.0
_WORTH_REPEATING = frozenset({408, 409, 425, 429})
_OVERLOADED = "The server may be overloaded: raise the time limit, or run less at once."
CONNECT_S = 5.0
"""Seconds to reach a server; what it then takes to answer is the request's own limit."""
Answer = TypeVar("Answer", bound=BaseModel)
Result = TypeVar("Result")


class PolicyError(DeepRecError):
    """The policy's server gave no usable answer."""


class PolicyUnavailableError(PolicyError):
    """The server is unavailable, too slow, overloaded, failing, or gives invalid answers, also after the retries."""


class PolicyRejectedError(PolicyError):
    """The server understood the request and refuses it (4xx). The same request would be refused again."""


class PolicyAccessError(PolicyRejectedError):
    """The server refuses the key (401 or 403). Nothing but another key helps, so that no run goes on without it."""


class InvalidAnswerError(Exception):
    """An answer of status 200 whose content cannot be used. A check raises it; the request is sent again."""


class Endpoint:
    """A server's address with its key and limits. It serves any number of event loops, with one connection pool each.

    Args:
        base_url: `http://HOST:PORT`, with or without `/v1`.
        api_key: Else the environment's DEEPREC_API_KEY, else OPENAI_API_KEY, else none.
        timeout_s: Seconds that one request may take.
        max_retries: Further requests after a failed or late first one. The SDK's own retries are off.
        retry_wait_s: Seconds before the first retry; they double each time. A server's Retry-After counts up to 10 s.

    Raises:
        ConfigError: the address is not one of HTTP, a limit is out of its range, or the key cannot be sent.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None, timeout_s: float, max_retries: int, retry_wait_s: float
    ) -> None:
        self.base_url, self.root = split_base_url(base_url)
        if not timeout_s > 0 or max_retries < 0 or retry_wait_s < 0:
            raise ConfigError(
                f"timeout_s is {timeout_s}, max_retries {max_retries}, retry_wait_s {retry_wait_s}; "
                "set a time above 0 and neither of the others below 0."
            )
        self.in_flight = 0
        """Requests that the caller has sent and not yet got an answer to, as the caller counts them."""
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self.retry_wait_s = retry_wait_s
        self._http = make_async_client(base_url)  # with the name and password that may stand in the address
        self._client = AsyncOpenAI(
            base_url=self.base_url, api_key=find_api_key(api_key), max_retries=0, http_client=self._http
        )

    async def ask(
        self,
        url: str,
        body: dict[str, Any] | None,
        answer: type[Answer],
        check: Callable[[Answer], Result],
        *,
        timeout_s: float | None = None,
    ) -> Result:
        """Send `body` to `url` (by GET where it is None), read the answer, and return what `check` makes of it.

        Args:
            url: The whole address.
            body: JSON of a POST.
            answer: The model that the answer is validated with.
            check: Returns what is of use in an answer, or raises InvalidAnswerError.
            timeout_s: Seconds of all requests of this call together; without it each request has its own limit only.

        Raises:
            PolicyUnavailableError: no usable answer in time and within the retries.
            PolicyRejectedError: a 4xx, which the same request would get again.
        """
        return await self._within(url, body, lambda text: check(_parse(text, answer)), timeout_s)

    async def post_text(self, url: str, body: dict[str, Any]) -> str:
        """Send `body` to `url` by POST and return the answer's text unread. Raises as `ask`."""
        return await self._within(url, body, lambda text: text, None)

    async def get_text(self, url: str) -> str:
        """Send a GET to `url` and return the answer's text unread. Raises as `ask`."""
        return await self._within(url, None, lambda text: text, None)

    async def _within(
        self, url: str, body: dict[str, Any] | None, read: Callable[[str], Result], limit_s: float | None
    ) -> Result:
        client, patience = self._client, Timeout(None, connect=CONNECT_S)
        sent: list[float] = []

        async def send() -> Result:
            sent.append(time.monotonic())
            async with asyncio.timeout(self.timeout_s):
                if body is None:
                    text = await client.get(url, cast_to=str, options={"timeout": patience})
                else:
                    text = await client.post(url, cast_to=str, body=body, options={"timeout": patience})
            return read(text)

        try:
            async with asyncio.timeout(limit_s):
                return await self._repeat(url, send)
        except UnicodeEncodeError:
            raise PolicyRejectedError(
                f"Nothing was sent to {url}: the text holds half a character (a lone surrogate). Remove it."
            ) from None
        except TimeoutError:
            raise PolicyUnavailableError(
                f"{url} gave no usable answer within {limit_s:g} s ({_requests(len(sent))}). {_OVERLOADED}"
            ) from None

    async def aclose(self) -> None:
        """Close the connections, those of other running event loops included. A later call opens new ones."""
        await self._http.aclose()

    async def _repeat(self, url: str, send: Callable[[], Awaitable[Result]]) -> Result:
        for count in range(1, self.max_retries + 2):
            wait_s = min(self.retry_wait_s * 2 ** (count - 1), _LONGEST_WAIT_S)
            cause: Exception
            try:
                return await send()
            except openai.APIStatusError as error:
                if error.status_code < 500 and error.status_code not in _WORTH_REPEATING:
                    refused = PolicyAccessError if error.status_code in (401, 403) else PolicyRejectedError
                    raise refused(_refusal(url, error)) from error
                problem, advice, cause = _status_line(error), "See the server's log.", error
                wait_s = max(wait_s, _retry_after_s(error))
            except openai.APIConnectionError as error:
                problem, cause = f"cannot be reached ({_root_cause(error)})", error
                advice = "Start a server with `deeprec llm serve`, or give another address (`--base-url`, `base_url`)."
            except RedirectRefusedError as error:
                raise PolicyRejectedError(f"{url} {error}") from error
            except TimeoutError as error:
                problem, cause = f"gave no usable answer within {self.timeout_s:g} s", error
                advice = _OVERLOADED
            except (InvalidAnswerError, openai.OpenAIError) as error:
                problem, cause = f"gave an invalid answer: {error}", error
                advice = "Check that a vLLM server, and nothing else, answers at this address."
            if count <= self.max_retries:
                _logger.info("%s %s; asking again in %.1f s", url, problem, wait_s)
                await asyncio.sleep(wait_s)
        raise PolicyUnavailableError(f"{url} {problem} ({_requests(count)}). {advice}") from cause


def find_api_key(api_key: str | None) -> str:
    """Find the key: the one given, else DEEPREC_API_KEY, else OPENAI_API_KEY, else a filler for servers without keys.

    Raises:
        ConfigError: no HTTP header can carry the key.
    """
    named = {"api_key": api_key} | {name: os.environ.get(name) for name in ("DEEPREC_API_KEY", "OPENAI_API_KEY")}
    for name, key in named.items():
        if not key:
            continue
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigError(
                f"The API key in {name} has a space, a line break or a character outside ASCII, which cannot be sent. "
                "Copy the key again."
            )
        return key
    return "EMPTY"


def _parse(text: str, answer: type[Answer]) -> Answer:
    try:
        return answer.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise InvalidAnswerError(f"{place}: {unlabelled(first['msg'])}, in {_shorten(text, 80)!r}") from error


def _refusal(url: str, error: openai.APIStatusError) -> str:
    hint = ""
    if error.status_code in (401, 403):
        hint = " Set the server's key in DEEPREC_API_KEY."
    elif error.status_code == 404 and url.endswith("tokenize"):
        hint = " The tagged protocol needs a vLLM server; use the tools protocol with any other."
    return f"{url} {_status_line(error)}{hint}"


def _status_line(error: openai.APIStatusError) -> str:
    body = error.body
    message = (body.get("message") or body.get("detail")) if isinstance(body, dict) else None
    return f"answered {error.status_code}: {_shorten(str(message or error.response.text), 300)}"


def _retry_after_s(error: openai.APIStatusError) -> float:
    try:
        return min(max(float(error.response.headers.get("retry-after", "0")), 0.0), _LONGEST_WAIT_S)
    except ValueError:  # a date
        return 0.0


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _shorten(text: str, limit: int) -> str:
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
