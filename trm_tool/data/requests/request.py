"""A request: what a person asked at a moment, and what became of it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any

from deeprec.trm_tool.catalogue.filters import Where, check_where
from deeprec.trm_tool.data.importers.values import parse_time
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.text import plain

MAX_MESSAGE_CHARS = 8_000
"""Characters of a message that are kept: an agent's prompt and a text encoder read at most 2,000."""
MAX_ID_CHARS = 1_000
_MAX_SECONDS = 1e11  # the year 5138; what lies above is milliseconds
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


class RequestFieldError(DataError):
    """A field of a request that cannot be used."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one wish of a message expresses, in the catalogue's phrases and attributes, where that is known.

    Raises:
        DataError: a field cannot be used.
    """

    wanted: tuple[str, ...] = ()
    """Phrases of the catalogue."""
    unwanted: tuple[str, ...] = ()
    """Phrases of the catalogue that the message refuses."""
    where: Where | None = None
    """Bounds on numbers."""

    def __post_init__(self) -> None:
        for name in ("wanted", "unwanted"):
            phrases = getattr(self, name)
            if not isinstance(phrases, list | tuple) or not all(isinstance(each, str) for each in phrases):
                raise RequestFieldError("said", f"holds {_shown(phrases)} as {name}, which is not a list of phrases.")
            object.__setattr__(self, name, tuple(phrases))
        _check_where("said", self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked at a moment: the unit of evaluation and of training.

    Leave-one-out on interactions is the special case with an empty message and one target.

    Raises:
        DataError: a field cannot be used; the message begins with its name.
    """

    conversation: str
    """The conversation that it belongs to. Intervals and folds are made by conversation."""
    turn: int = 0
    """Its position in the conversation, 0-based. A conversation has one request a turn."""
    time: float | None = None
    """When it was asked, in seconds since 1970 (UTC)."""
    person: str | None = None
    """Who asked: an id, such as the user's in the interactions."""
    history: tuple[str, ...] = ()
    """Ids of the items that the person had or named before, oldest first."""
    message: str = ""
    """The person's words so far, on one line without invisible characters, cut at `MAX_MESSAGE_CHARS`."""
    where: Where | None = None
    """Constraints on attributes, where they are known."""
    targets: tuple[str, ...] = ()
    """Ids of the items that answer the request, each once; any number, and none of them in the history."""
    shown: tuple[str, ...] | None = None
    """Ids of the items that the person was shown in answer, best first; None where that is not known."""
    chosen: tuple[str, ...] | None = None
    """Ids of the items that the person then chose or liked; None where that is not known."""
    said: tuple[Said, ...] | None = None
    """What the message expresses, one for each wish; None where that is not known. No agent reads it."""
    source: str = "own"
    """The origin of the request: `redial`, `log`, `traces`, or a name of your own."""
    made: bool = False
    """Whether the message was made from attributes of the targets, and no person wrote it."""

    def __post_init__(self) -> None:
        for name in ("history", "targets", "shown", "chosen"):
            ids = getattr(self, name)
            if ids is not None:
                distinct = ids if name == "history" else dict.fromkeys(ids)
                object.__setattr__(self, name, tuple(_checked_id(name, each) for each in distinct))
        _checked_id("conversation", self.conversation)
        if self.person is not None:
            _checked_id("person", self.person)
        if isinstance(self.turn, bool) or not isinstance(self.turn, int) or not 0 <= self.turn < 2**63:
            raise RequestFieldError("turn", f"is {_shown(self.turn)}, which is not a whole number from 0 on.")
        _check_time(self.time)
        if not isinstance(self.message, str):
            raise RequestFieldError("message", f"is {_shown(self.message)}, which is not text.")
        object.__setattr__(self, "message", plain(self.message, MAX_MESSAGE_CHARS))
        if not isinstance(self.source, str) or not plain(self.source, 80):
            raise RequestFieldError("source", f"is {_shown(self.source)}, which is not a name.")
        object.__setattr__(self, "source", plain(self.source, 80))
        if not isinstance(self.made, bool):
            raise RequestFieldError("made", f"is {_shown(self.made)}, which is neither true nor false.")
        _check_where("where", self.where)
        if self.said is not None and not all(isinstance(wish, Said) for wish in self.said):
            raise RequestFieldError("said", f"is {_shown(self.said)}, which is not a list of wishes.")
        seen = set(self.history).intersection(self.targets)
        if seen:
            item = next(item for item in self.targets if item in seen)
            raise RequestFieldError(
                "targets", f"names item {item[:80]!r}, which is in the history: it is masked and never found."
            )


FIELDS = tuple(field.name for field in fields(Request))
"""Names of the fields, in the order of the file's columns."""


def request_of(values: Mapping[str, Any]) -> Request:
    """A request from the plain values of a file: whole numbers are read as ids, dates as times, missing values as None.

    Raises:
        DataError: a field is unknown, missing or cannot be used; the message begins with its name.
    """
    unknown = next((name for name in values if name not in FIELDS), None)
    if unknown is not None:
        name = plain(str(unknown), 40) or repr(unknown)[:40]
        raise RequestFieldError(name, f"is not a field of a request; the fields are {', '.join(FIELDS)}.")
    given = {name: value for name, value in values.items() if not _is_missing(value)}
    if "conversation" not in given:
        raise RequestFieldError("conversation", "has no value, and every request needs one.")
    for name in ("conversation", "person"):
        if name in given:
            given[name] = _as_id(given[name])
    for name in ("history", "targets", "shown", "chosen"):
        if name in given:
            if not isinstance(given[name], list | tuple):
                raise RequestFieldError(name, f"is {_shown(given[name])}, which is not a list of item ids.")
            given[name] = tuple(map(_as_id, given[name]))
    if "time" in given:
        given["time"] = _seconds(given["time"])
    if "said" in given:
        given["said"] = _wishes(given["said"])
    return Request(**given)


def values_of(request: Request) -> dict[str, Any]:
    """The fields of a request that have a value, in the order of `FIELDS`, with lists in place of tuples."""
    values = {name: getattr(request, name) for name in FIELDS}
    if request.said is not None:
        values["said"] = [
            {"wanted": list(wish.wanted), "unwanted": list(wish.unwanted)}
            | ({"where": wish.where} if wish.where else {})
            for wish in request.said
        ]
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None
    }


def _wishes(value: object) -> tuple[Said, ...]:
    names = [field.name for field in fields(Said)]
    if not isinstance(value, list | tuple) or not all(
        isinstance(each, dict) and set(each) <= set(names) for each in value
    ):
        raise RequestFieldError("said", f"is {_shown(value)}, which is not a list of objects with {', '.join(names)}.")
    return tuple(Said(**{name: each for name, each in wish.items() if each is not None}) for wish in value)


def _check_where(field: str, where: Where | None) -> None:
    if where is not None:
        try:
            check_where(where)
        except ConfigError as error:
            raise RequestFieldError(field, f"cannot be used: {error}") from None


def _check_time(time: object) -> None:
    if time is None:
        return
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time):
        raise RequestFieldError("time", f"is {_shown(time)}, which is neither a finite number of seconds nor a date.")
    if abs(time) > _MAX_SECONDS:
        raise RequestFieldError("time", f"is {_shown(time)}, too large for seconds since 1970; divide milliseconds.")


def _seconds(value: object) -> Any:
    time = parse_time(moment_in_seconds(value))
    return value if time is None else time


def moment_in_seconds(value: object) -> object:
    """A `datetime` or `date` as seconds since 1970, in UTC unless it has a zone; any other value as it is."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return value


def _as_id(value: object) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked_id(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise RequestFieldError(field, f"holds {_shown(value)}, which is not an id.")
    if not value.strip() or value != value.strip():
        raise RequestFieldError(field, f"holds the id {_shown(value)}, which is empty or has white space around it.")
    if len(value) > MAX_ID_CHARS or _UNFIT.search(value):
        why = "holds control characters" if len(value) <= MAX_ID_CHARS else f"has over {MAX_ID_CHARS} characters"
        raise RequestFieldError(field, f"holds the id {_shown(value)}, which {why}.")
    return value


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _shown(value: object) -> str:
    return repr(value)[:80]
