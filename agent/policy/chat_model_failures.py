"""Which errors of a chat model are outages, and which are mistakes that somebody has to correct."""

from __future__ import annotations

import inspect
import json
import sys
import traceback

from langchain_core.language_models import BaseChatModel
from pydantic import ValidationError

from deeprec.trm_tool import DeepRecError

REFUSED_ACCESS = frozenset({401, 403, 404})
"""HTTP statuses of a wrong key, and of a model or an address that is not there."""
_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    DeepRecError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,  # a missing file, for instance; those of the network are outages
    ReferenceError,
    RuntimeError,
    StopAsyncIteration,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
)
_FILES = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def is_outage(error: Exception) -> bool:
    """Whether a run ends without the model because of an error; the error is raised to the caller otherwise.

    Outages are errors of the network, answers with an HTTP status that is not one of a wrong key, model or address,
    answers that nobody can read, and the error classes that other libraries define themselves. Mistakes are the errors
    that Python raises itself, wherever they come from, and bare `Exception`s.
    """
    status = http_status(error)
    if status is not None:
        return status not in REFUSED_ACCESS
    cause: BaseException | None = error
    while cause is not None:
        if _is_of_the_network(cause):
            return True
        cause = cause.__cause__
    if _holds_broken_json(error):
        return True
    if isinstance(error, _MISTAKES) or type(error) is Exception:
        return _is_about_an_answer(error)
    return True


def is_unreadable(error: Exception) -> bool:
    """Whether an error is about a server's answer that nobody can read, such as half of one: asking again may help.

    Requests that get no answer at all are sent again by the model's own client.
    """
    if isinstance(error, ValidationError):  # about what the model wrote, in an answer that could be read
        return False
    return (http_status(error) or 200) < 300 and (_holds_broken_json(error) or _is_about_an_answer(error))


def _holds_broken_json(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, json.JSONDecodeError):
            return True
        error = error.__cause__
    return False


def _is_of_the_network(error: BaseException) -> bool:
    if isinstance(error, OSError):  # TimeoutError and ConnectionError are OSErrors
        return not isinstance(error, _FILES)
    # An error of these clients can only be raised where they are imported already.
    clients = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return any(isinstance(error, client.TransportError) for client in clients)


def http_status(error: BaseException | None) -> int | None:
    """The HTTP status of the answer that an error is about, as clients of HTTP keep it."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and 100 <= status < 600:
                return int(status)
    return None


def _is_about_an_answer(error: Exception) -> bool:
    """Whether an error came up while a server's answer was read: a page instead of JSON, no choice, endless nesting."""
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.name == "_create_chat_result" for frame in frames):
        return True
    if isinstance(error, RecursionError):
        return any(frame.name == "raw_decode" for frame in frames[-2:])  # of Python's reader of JSON
    # LangChain takes the first of the choices that came back, and there is none.
    return isinstance(error, IndexError) and frames[-1].filename == inspect.getfile(BaseChatModel)
