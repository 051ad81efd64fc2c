"""The columns of a shop's log of what people asked: found by their usual names, or named by the user."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.importers.lines import Reading, bare_suffix
from deeprec.trm_tool.data.importers.tables import open_table
from deeprec.trm_tool.data.importers.values import is_empty
from deeprec.trm_tool.data.requests.parquet_records import read_records
from deeprec.trm_tool.data.requests.request_file import JSON_SUFFIXES, is_parquet, read_json_lines
from deeprec.trm_tool.errors import ConfigError, DataError

Role = Literal[
    "conversation", "turn", "time", "person", "message", "targets", "shown", "chosen", "history", "where", "sender"
]
ROLES: tuple[Role, ...] = get_args(Role)
_KNOWN: Mapping[Role, tuple[str, ...]] = {
    "conversation": (
        *("conversation", "conversation_id", "session_id", "session", "chat_id", "dialogue_id", "thread_id"),
        *("search_id", "query_id", "request_id"),
    ),
    "turn": ("turn", "turn_id", "message_index"),
    "time": ("time", "timestamp", "datetime", "date", "created_at", "asked_at", "searched_at", "ts"),
    "person": ("person", "user_id", "user", "uid", "customer_id", "customer", "visitor_id", "shopper_id", "client_id"),
    "message": (
        *("message", "query", "search_query", "search_term", "search", "question", "request", "utterance", "text"),
        *("keywords", "content", "words"),
    ),
    "targets": (
        *("targets", "target", "item_id", "item", "items", "product_id", "product", "products", "sku", "asin"),
        *("movie_id", "book_id", "bought", "purchased", "clicked", "clicked_item"),
    ),
    "shown": ("shown", "results", "impressions", "displayed", "recommended", "candidates"),
    "chosen": ("chosen", "chosen_item", "choice"),
    "history": ("history", "past_items", "previous_items"),
    "where": ("where", "filters", "constraints"),
    "sender": ("sender", "role", "speaker", "author"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How a shop's log is read. What is left out is found."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role -> name of its column."""
    delimiter: str | None = None
    encoding: str | None = None
    last_message: bool = False
    """Whether the message is what was written last, as in a search box, and not all of the conversation's words."""
    date_order: DateOrder | None = None
    """Which of day and month stands first in dates such as 1/2/2020; None finds it in the log."""


def read_rows(path: Path, options: LogOptions, reading: Reading) -> Iterator[tuple[int, dict[Role, Any]]]:
    """Read a log as rows by role, each with its line; empty cells are None.

    Raises:
        ConfigError: an option names no role.
        DataError: a named column is missing, none is known for messages or items, or the file cannot be read.
    """
    for role in options.columns:
        if role not in ROLES:
            raise ConfigError(f"--column {role[:40]}=… names no role of a column. Choose one of {', '.join(ROLES)}.")
    if bare_suffix(path) in JSON_SUFFIXES:
        yield from _of_records(_json_records(path, options, reading), options, path.name)
        return
    if is_parquet(path):
        yield from _of_records(read_records(path, reading), options, path.name)
        return
    table = open_table(path, delimiter=options.delimiter, encoding=options.encoding)
    chosen = _choose(table.names, options, path.name)
    columns = list(dict.fromkeys(chosen.values()))
    for line, cells in table.read(reading, columns):
        row = dict(zip(columns, cells, strict=True))
        yield line, {role: _cell(row[name]) for role, name in chosen.items()}


def _json_records(path: Path, options: LogOptions, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, row in read_json_lines(path, reading, options.encoding):
        if isinstance(row, dict):
            yield line, row
        else:
            reading.bad.add("lines that are not JSON objects", path.name, line, "is not an object with named fields.")


def _of_records(
    records: Iterable[tuple[int, dict[str, Any]]], options: LogOptions, file: str
) -> Iterator[tuple[int, dict[Role, Any]]]:
    chosen: dict[Role, str] | None = None
    for line, row in records:
        if chosen is None or not set(chosen.values()) & set(row):
            chosen = _choose(list(row), options, f"{file}:{line}")
        else:  # later records may have fields that the first one lacks
            chosen |= {role: name for role, name in _found(list(row)).items() if role not in chosen}
        yield line, {role: _cell(row.get(name)) for role, name in chosen.items()}


def _choose(names: Sequence[str], options: LogOptions, file: str) -> dict[Role, str]:
    """Role -> column.

    Raises:
        DataError: a named column is missing, or none has messages or items.
    """
    for role, name in options.columns.items():
        if name not in names:
            has = ", ".join(names)[:300]
            raise DataError(f"{file} has no column {name[:80]!r}; it has {has}. Correct --column {role}=….")
    chosen = _found([name for name in names if name not in options.columns.values()])
    chosen |= {role: options.columns[role] for role in ROLES if role in options.columns}
    for role, also in (("message", "message"), ("targets", "chosen")):
        if role not in chosen and also not in chosen:
            has = ", ".join(names)[:300]
            raise DataError(
                f"{file} has no column of {role} that is known by name; it has {has}. Name it with --column {role}=…."
            )
    return chosen


def _found(names: Sequence[str]) -> dict[Role, str]:
    spelled = {re.sub(r"[\s\-.]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower(): name for name in names}
    found = {role: next((spelled[name] for name in known if name in spelled), None) for role, known in _KNOWN.items()}
    return {role: name for role, name in found.items() if name is not None}


def _cell(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    return None if isinstance(value, str) and is_empty(value) else value
