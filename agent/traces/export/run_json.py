"""A run as one JSON object and back, without loss: one line of an exported file."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, get_args
from uuid import UUID

import numpy as np
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, LargeBinary, String
from sqlalchemy.types import TypeDecorator

from deeprec.agent.traces.export.table_rows import Rows, table_of
from deeprec.agent.traces.records import Action, Node, Source, Status
from deeprec.agent.traces.store.codec import (
    MAX_TOKEN_ID,
    decode_logprobs,
    decode_tokens,
    encode_logprobs,
    encode_tokens,
    storable,
    storable_json,
)
from deeprec.agent.traces.store.schema import RunId, UtcDateTime

PARTS = ("turns", "retrievals", "retrieved_items", "recommendations", "rewards")
"""Fields of the line, called as the tables are; the run's own columns stand under "run"."""
_LISTS = {"history", "items", "unenforced", "messages"}
_WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("runs", "status"): get_args(Status),
    ("turns", "node"): get_args(Node),
    ("turns", "action"): get_args(Action),
    ("recommendations", "source"): get_args(Source),
    ("recommendations", "listing"): ("written", "recommended"),
}
_ODD = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class WireError(ValueError):
    """A line that is no run: what is wrong with it, without the line's number."""


def run_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    """The runs of one batch, each as an object of plain JSON values."""
    parts: dict[Any, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: {name: [] for name in PARTS})
    for name in PARTS:
        for row in rows[name]:
            parts[row["run_id"]][name].append(_plain_row(name, row))
    for row in rows["runs"]:
        yield {"run": {"run_id": str(row["run_id"]), **_plain_row("runs", row)}, **parts[row["run_id"]]}


def rows_of(line: Any) -> tuple[UUID, Rows]:
    """The rows that an object of `run_lines` stands for; every value is checked.

    Raises:
        WireError: something is missing, unknown, of another type or out of range.
    """
    if not isinstance(line, dict) or not isinstance(line.get("run"), dict):
        raise WireError("it is no run")
    unknown = set(line) - {"run", *PARTS}
    if unknown:
        raise WireError(f"a run has no part {sorted(unknown)[0]!r} in this version; a newer one wrote it")
    run = _row("runs", line["run"])
    rows: Rows = {"runs": [run]}
    for name in PARTS:
        given = line.get(name, [])
        if not isinstance(given, list):
            raise WireError(f"{name} is no list")
        rows[name] = [_row(name, part, run["run_id"]) for part in given]
        keys = [column.name for column in table_of(name).primary_key.columns]
        seen = [tuple(row[key] for key in keys) for row in rows[name]]
        if len(set(seen)) < len(seen):
            raise WireError(f"{name} names one place twice")
    calls = {row["position"] for row in rows["retrievals"]}
    if not {row["position"] for row in rows["retrieved_items"]} <= calls:
        raise WireError("retrieved_items names a retrieval that is not there")
    return run["run_id"], rows


def same_run(line: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether two objects of `run_lines` are the same run with the same content; a pin is no content."""

    def content(value: Mapping[str, Any]) -> dict[str, Any]:
        run = {name: part for name, part in value["run"].items() if name != "pinned"}
        return {"run": run} | {name: sorted(map(json.dumps, value[name])) for name in PARTS}

    return content(line) == content(stored)


def _row(table: str, given: Any, run_id: UUID | None = None) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise WireError(f"a row of {table} is no object")
    columns = table_of(table).c
    unknown = [name for name in given if name not in columns or (run_id is not None and name == "run_id")]
    if unknown:
        raise WireError(f"{table} has no column {unknown[0]!r} in this version; a newer one wrote it")
    row: dict[str, Any] = {} if run_id is None else {"run_id": run_id}
    for column in columns:
        if column.name in row:
            continue
        if column.name in given:
            row[column.name] = _from_json(table, column, given[column.name])
        elif column.nullable:
            row[column.name] = None
        elif column.server_default is None:
            raise WireError(f"{table} lacks the column {column.name!r}")
        else:
            row[column.name] = {"false": False, "0": 0}[str(column.server_default.arg)]  # type: ignore[attr-defined]
    return row


def _plain_row(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row but its run id as plain JSON values."""
    plain = {}
    for name, convert in _converters(table):
        value = row[name]
        plain[name] = value if value is None or convert is None else convert(value)
    return plain


@cache
def _converters(table: str) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """Column -> what makes plain JSON of a value; None where it is plain already."""

    def converter(column: Column[Any]) -> Callable[[Any], Any] | None:
        kind = column.type
        if isinstance(kind, LargeBinary):
            return _logprobs if column.name == "logprobs" else _tokens
        if isinstance(kind, RunId):
            return str
        if isinstance(kind, UtcDateTime):
            return lambda time: time.astimezone(UTC).isoformat()
        if isinstance(kind, Float | TypeDecorator):
            is_missing = (
                None if isinstance(kind, TypeDecorator) else "NaN"
            )  # where NaN is what a missing number reads as
            return lambda value: value if math.isfinite(value) else is_missing if math.isnan(value) else _word(value)
        return None

    return tuple((column.name, converter(column)) for column in table_of(table).c if column.name != "run_id")


def _tokens(data: bytes) -> list[int]:
    ids: list[int] = decode_tokens(data).tolist()
    return ids


def _logprobs(data: bytes) -> list[Any]:
    return _numbers(decode_logprobs(data))


def _numbers(values: np.ndarray[Any, np.dtype[np.float32]]) -> list[Any]:
    plain: list[Any] = values.astype(np.float64).tolist()
    return plain if np.isfinite(values).all() else [v if math.isfinite(v) else _word(v) for v in plain]


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _from_json(table: str, column: Column[Any], value: Any) -> Any:
    def refuse(wanted: str) -> WireError:
        return WireError(f"column {column.name!r} of {table} is {_short(value)}, not {wanted}")

    kind = column.type
    if value is None:
        if not column.nullable:
            raise refuse("there to be left out")
        return None
    if isinstance(kind, Boolean):
        if not isinstance(value, bool):
            raise refuse("true or false")
        return value
    if isinstance(kind, Integer):
        bits = 64 if isinstance(kind, BigInteger) else 32
        if not isinstance(value, int) or isinstance(value, bool) or not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise refuse(f"a whole number of {bits} bits")
        return value
    if isinstance(kind, RunId):
        try:
            return UUID(value)
        except (ValueError, AttributeError, TypeError):
            raise refuse("a run id") from None
    if isinstance(kind, UtcDateTime):
        return _time(value, refuse)
    if isinstance(kind, LargeBinary):
        return _packed(column.name, value, refuse)
    if isinstance(kind, JSON):
        if not isinstance(value, list if column.name in _LISTS else dict):
            raise refuse("a list" if column.name in _LISTS else "an object")
        if column.name in _LISTS - {"messages"} and not all(isinstance(part, str) for part in value):
            raise refuse("a list of text")
        return storable_json(value)
    if isinstance(kind, String):
        if not isinstance(value, str):
            raise refuse("text")
        words = _WORDS.get((table, column.name))
        if words is not None and value not in words:
            raise refuse(f"one of {', '.join(words)}")
        return storable(value)
    if isinstance(kind, Float | TypeDecorator):
        return _number(value, refuse, "a number")
    raise TypeError(f"no way is known to read the column {column.name!r} of {table}")


def _packed(name: str, value: Any, refuse: Any) -> bytes:
    if not isinstance(value, list):
        raise refuse("a list")
    if name == "logprobs":
        return encode_logprobs([_number(part, refuse, "a list of numbers") for part in value])
    if not all(type(part) is int and 0 <= part <= MAX_TOKEN_ID for part in value):
        raise refuse("a list of token ids")
    return encode_tokens(value)


def _number(value: Any, refuse: Callable[[str], WireError], wanted: str) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str) and value in _ODD:
        return _ODD[value]
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(wanted)
    try:
        return float(value)
    except OverflowError:
        raise refuse(wanted) from None


def _time(value: Any, refuse: Callable[[str], WireError]) -> datetime:
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        pass
    raise refuse("a time with its zone")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
