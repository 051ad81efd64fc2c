"""A shop's own log of what people asked, as requests: CSV, Parquet or JSON lines with columns found or named."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.importers.lines import BadRows, Reading
from deeprec.trm_tool.data.importers.time_column import order_of
from deeprec.trm_tool.data.importers.values import parse_date_time, parse_time
from deeprec.trm_tool.data.requests.importers.log_columns import LogOptions, Role, read_rows
from deeprec.trm_tool.data.requests.importers.past_items import PastItems, in_seconds
from deeprec.trm_tool.data.requests.request import (
    MAX_MESSAGE_CHARS,
    Request,
    RequestFieldError,
    moment_in_seconds,
    request_of,
)
from deeprec.trm_tool.recommender import CatalogueView
from deeprec.trm_tool.text import plain

SOURCE = "log"
MAX_HISTORY = 200
"""Items of a history that is made of a person's earlier requests, the latest."""
_ID_ROLES: tuple[Role, ...] = ("targets", "shown", "chosen", "history")
_PEOPLE = frozenset({"user", "customer", "person", "human", "client", "shopper", "visitor", "guest", "seeker", "buyer"})


def read_log(
    path: Path,
    options: LogOptions,
    reading: Reading,
    left_out: Counter[str],
    *,
    catalogue: CatalogueView | None = None,
    past: PastItems | None = None,
) -> Iterator[Request]:
    """Read the requests of a shop's log, in order of time where every row has one, otherwise in its own.

    Rows that follow each other with the same conversation, person, time and message are one request with all their
    items. In a conversation the message is the person's words so far; rows without a conversation are one each. Without
    a column of histories, the items that the person took in earlier requests are the history. The log is held in memory
    while it is read.

    Args:
        path: CSV, Parquet or JSON lines; CSV and JSON lines may be packed.
        options: Names of columns, and how the file is read.
        reading: It takes rows that cannot be used, and the progress.
        left_out: It counts rows and items that give no request, by the reason.
        catalogue: It decides whether a cell is one id, where an id may hold `|`, `;` or a comma.
        past: What people had before, which then begins the history; every row needs a person and a time.

    Raises:
        ConfigError: an option names no role.
        DataError: a column is missing, or a row cannot be used.
    """
    entries = list(_entries(path, options, reading, left_out, catalogue))
    if all(entry.time is not None for entry in entries):
        entries.sort(key=lambda entry: entry.time or 0)
    yield from _Requests(path.name, reading, left_out, past, only_last=options.last_message).of(entries)


@dataclass(slots=True, kw_only=True)
class _Entry:
    """What a person wrote once, and what became of it."""

    line: int
    conversation: str | None
    person: str | None
    time: float | None
    turn: Any
    message: str
    where: Any
    history: list[str] | None
    items: dict[str, list[str] | None]
    """`targets`, `shown` and `chosen`."""

    def continues(self, other: "_Entry") -> bool:
        """Whether it has further items of the same words."""
        names = ("conversation", "person", "time", "turn", "message")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def _entries(
    path: Path, options: LogOptions, reading: Reading, left_out: Counter[str], catalogue: CatalogueView | None
) -> Iterator[_Entry]:
    last: _Entry | None = None
    order = options.date_order or _date_order(path, options)
    for line, row in read_rows(path, options, reading):
        if row.get("sender") is not None and str(row["sender"]).strip().lower() not in _PEOPLE:
            left_out["messages that no person wrote"] += 1
            continue
        try:
            entry = _entry(line, row, catalogue, order)
        except RequestFieldError as error:
            reading.bad.add(f"rows with an unusable {error.field}", path.name, line, f"has a problem: {error}")
            continue
        if last is not None and entry.continues(last):
            for name, ids in entry.items.items():
                if ids is not None:
                    last.items[name] = [*(last.items[name] or ()), *ids]
            continue
        if last is not None:
            yield last
        last = entry
    if last is not None:
        yield last


def _entry(line: int, row: Mapping[Role, Any], catalogue: CatalogueView | None, order: DateOrder | None) -> _Entry:
    message, turn = row.get("message"), row.get("turn")
    if message is not None and not isinstance(message, str | int | float):
        raise RequestFieldError("message", f"is {repr(message)[:80]}, which is not text.")
    number = parse_time(turn)
    items: dict[str, list[str] | None] = {name: _ids(name, row.get(name), catalogue) for name in _ID_ROLES}
    return _Entry(
        line=line,
        conversation=_id(row.get("conversation")),
        person=_id(row.get("person")),
        time=_seconds(row.get("time"), order),
        turn=turn if number is None or number != int(number) else int(number),
        message=plain("" if message is None else str(message), MAX_MESSAGE_CHARS),
        where=_where(row.get("where")),
        history=items.pop("history"),
        items=items,
    )


class _Requests:
    """What is known of conversations and people while a log is gone through."""

    def __init__(
        self, file: str, reading: Reading, left_out: Counter[str], past: PastItems | None, *, only_last: bool
    ) -> None:
        self._file, self._reading, self._left_out, self._only_last = file, reading, left_out, only_last
        self._past = past
        self._words: dict[str, str] = defaultdict(str)
        self._turns: Counter[str] = Counter()
        self._taken: dict[str, dict[str, None]] = defaultdict(dict)  # by person, or by a conversation without one
        self._lines: dict[tuple[str, Any], int] = {}

    def of(self, entries: Sequence[_Entry]) -> Iterator[Request]:
        """The requests of a log, in its order."""
        for entry in entries:
            conversation = entry.conversation or f"line {entry.line}"
            message = self._words_so_far(entry)
            turn = self._turns[conversation] if entry.turn is None else entry.turn
            self._turns[conversation] += 1
            taken = self._taken[f"conversation {conversation}" if entry.person is None else f"person {entry.person}"]
            try:
                history = self._history(entry, taken)
            except RequestFieldError as error:
                self._bad(entry, error)
                continue
            targets = list(dict.fromkeys(entry.items["targets"] or entry.items["chosen"] or ()))
            new = [item for item in targets if item not in set(history)]
            taken.update(dict.fromkeys(targets))
            self._left_out["items that the history has already"] += len(targets) - len(new)
            if not new:
                why = "requests whose items the history has already" if targets else "requests without an item"
                self._left_out[why] += 1
                continue
            given = {
                "conversation": conversation,
                "turn": turn,
                "time": entry.time,
                "person": entry.person,
                "history": history,
                "message": message,
                "where": entry.where,
                "targets": new,
                "shown": entry.items["shown"],
                "chosen": new if entry.items["chosen"] is None else entry.items["chosen"],
                "source": SOURCE,
            }
            try:
                request = request_of(given)
            except RequestFieldError as error:
                self._bad(entry, error)
                continue
            first = self._lines.setdefault((conversation, turn), entry.line)
            if first == entry.line:
                yield request
            else:
                why = f"repeats turn {turn} of conversation {conversation[:80]!r} of line {first}."
                self._reading.bad.add("repeated turns of a conversation", self._file, entry.line, why)

    def _history(self, entry: _Entry, taken: Mapping[str, None]) -> list[str]:
        if entry.history is not None:
            return entry.history
        if self._past is None:
            return list(taken)[-MAX_HISTORY:]
        if entry.person is None or entry.time is None:
            raise RequestFieldError(
                "time" if entry.person else "person", "is missing, and with --interactions every row needs it."
            )
        if entry.person not in self._past:
            self._left_out["histories of people whom the interactions lack"] += 1
        had = self._past.before(entry.person, entry.time, MAX_HISTORY)
        return [*had, *(item for item in taken if item not in set(had))][-MAX_HISTORY:]

    def _bad(self, entry: _Entry, error: RequestFieldError) -> None:
        kind, why = f"rows with an unusable {error.field}", f"has a problem: {error}"
        self._reading.bad.add(kind, self._file, entry.line, why)

    def _words_so_far(self, entry: _Entry) -> str:
        if entry.conversation is None or self._only_last:
            return entry.message
        words = f"{self._words[entry.conversation]} {entry.message}".strip()[-MAX_MESSAGE_CHARS:]
        self._words[entry.conversation] = words
        return words


def _id(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer():  # whole numbers beside missing ones, as pandas writes them
        value = int(value)
    return None if value is None else str(value).strip()


def _ids(name: str, value: Any, catalogue: CatalogueView | None) -> list[str] | None:
    """The ids of a cell: one, a list, or a text of several that `|`, `;` or a comma separates."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if catalogue is not None and text in catalogue:
            return [text]
        if text.startswith("["):
            try:
                return _ids(name, parse_json(text), catalogue)
            except ValueError:
                pass  # an id may begin so
        separator = next((mark for mark in ("|", ";", ",") if mark in text), None)
        return [part.strip() for part in text.split(separator) if part.strip()] if separator else [text]
    if isinstance(value, list | tuple):
        return [each for part in value if (each := _id(part))]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestFieldError(name, f"is {repr(value)[:80]}, which is neither an id nor a list of ids.")
    return [str(_id(value))]


def _where(value: Any) -> Any:
    try:
        return parse_json(value) if isinstance(value, str) else value
    except ValueError:
        return value  # refused as constraints


def _date_order(path: Path, options: LogOptions) -> DateOrder | None:
    rows = read_rows(path, options, Reading(BadRows(drop=True)))
    return order_of((row.get("time") for _, row in rows), path.name, "time")


def _seconds(value: Any, order: DateOrder | None) -> float | None:
    if value is None:
        return None
    time = parse_time(moment_in_seconds(value))
    time = parse_date_time(value, order) if time is None else time
    if time is None:
        raise RequestFieldError("time", f"is {repr(value)[:80]}, which is neither a number nor a date.")
    return in_seconds(time)
