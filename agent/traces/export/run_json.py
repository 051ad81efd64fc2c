"""A run, or a turn of a conversation, as one JSON object and back, without loss: one line of an exported file.

The fields of a line and their types follow from the tables, so that a new column is exported and imported as it is.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StrictInt,
    ValidationError,
    create_model,
)
from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, LargeBinary, String
from sqlalchemy.types import TypeDecorator

from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.export.table_rows import Rows, table_of
from deeprec.agent.traces.records import Action, Kind, Node, Source, Status, TraceStoreError
from deeprec.agent.traces.store.codec import (
    MAX_TOKEN_ID,
    decode_logprobs,
    decode_tokens,
    encode_logprobs,
    encode_tokens,
    storable,
    storable_json,
)
from deeprec.agent.traces.store.rows import conversation_turn_values
from deeprec.agent.traces.store.schema import RunId, UtcDateTime
from deeprec.trm_tool.errors import ConfigError

FORMAT = 3
"""Format of files that are written; older ones are read as well. Format 3 has turns of conversations."""
TURN = "conversation_turn"
"""The one field of a line that holds a turn of a conversation."""
PARTS = ("turns", "retrievals", "retrieved_items", "recommendations", "rewards", "metrics", "cases")
"""Fields of the line, named as the tables are; the run's own columns stand under "run"."""
_TEXT_LISTS = {"history", "items", "phrases", "problems", "shown", "tags", "unenforced"}
_LISTS = {"actions", "messages"}
_TURNS = "conversation_turns"
_WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("runs", "status"): get_args(Status),
    ("runs", "kind"): get_args(Kind),
    ("turns", "node"): get_args(Node),
    ("turns", "action"): get_args(Action),
    ("recommendations", "source"): get_args(Source),
    ("recommendations", "listing"): ("written", "recommended"),
}
_WORD_OF_NUMBER = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DEFAULTS = {"false": False, "0": 0, "'agent'": "agent"}
"""Text of a column's server default -> the value."""


class RunLineError(ValueError):
    """A line that does not hold a run. The message describes the fault, without the line's number."""


def run_lines(rows: Rows) -> Iterator[dict[str, Any]]:
    """The runs of one batch, each as an object of plain JSON values."""
    parts: dict[Any, dict[str, list[Any]]] = defaultdict(lambda: {name: [] for name in PARTS})
    for name in PARTS:
        model = _MODELS[name]
        for row in rows[name]:
            parts[row["run_id"]][name].append(model.model_construct(**row))
    for row in rows["runs"]:
        run = _MODELS["runs"].model_construct(**row)
        yield _Line.model_construct(run=run, **parts[row["run_id"]]).model_dump(mode="json", warnings=False)


def rows_of(line: Any, line_format: int = FORMAT) -> tuple[UUID, Rows]:
    """The rows that an object of `run_lines` stands for; every value is checked.

    Args:
        line: the object.
        line_format: of the file that it stands in.
    Raises:
        RunLineError: something is missing, unknown, of another type or out of range.
    """
    try:
        checked = _Line.model_validate(line)
    except ValidationError as error:
        raise RunLineError(_why(error)) from None
    run = vars(checked.run)
    run_id = run["run_id"]
    rows: Rows = {"runs": [run]}
    for name in PARTS:
        rows[name] = [{**vars(row), "run_id": run_id} for row in getattr(checked, name)]
        keys = [column.name for column in table_of(name).primary_key.columns]
        if len({tuple(row[key] for key in keys) for row in rows[name]}) < len(rows[name]):
            raise RunLineError(f"{name} names one position twice")
    calls = {row["position"] for row in rows["retrievals"]}
    if not {row["position"] for row in rows["retrieved_items"]} <= calls:
        raise RunLineError("retrieved_items names a retrieval that is not there")
    return run_id, _with_columns_of_facts(rows) if line_format == 1 else rows


def turn_line(turn: ConversationTurn) -> dict[str, Any]:
    """A turn of a conversation as an object of plain JSON values."""
    row = _MODELS[_TURNS].model_construct(**conversation_turn_values(turn))
    return {TURN: row.model_dump(mode="json", warnings=False)}


def turn_of(line: Mapping[str, Any]) -> ConversationTurn:
    """The turn that an object of `turn_line` stands for; every value is checked.

    Raises:
        RunLineError: something is missing, unknown, of another type or out of range.
    """
    try:
        row = vars(_TurnLine.model_validate(line).conversation_turn)
        lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
        turn = ConversationTurn(**row | lists)
        conversation_turn_values(turn)
    except ValidationError as error:
        raise RunLineError(_why(error)) from None
    except (ConfigError, TraceStoreError) as error:
        raise RunLineError(str(error).rstrip(".")) from None
    return turn


def same_run(line: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether two objects of `run_lines` are the same run with the same content; a pin is not content."""

    def content(value: Mapping[str, Any]) -> dict[str, Any]:
        run = {name: part for name, part in value["run"].items() if name != "pinned"}
        return {"run": run} | {name: sorted(map(json.dumps, value[name])) for name in PARTS}

    return content(line) == content(stored)


def _with_columns_of_facts(rows: Rows) -> Rows:
    """Format 1 kept metrics and cases among the rewards, and facts about a system in its name (migration 0006)."""
    run, run_id = dict(rows["runs"][0]), rows["runs"][0]["run_id"]
    if run["protocol"] == "none":
        run["kind"] = "scored" if run["parent_id"] is None else "derived"
    system = run["system"] or ""
    if system.endswith(" (oracle)"):
        run |= {"system": system.removesuffix(" (oracle)"), "oracle": True}
    if system.endswith("-shuffled"):
        run["shuffled_of"] = system.removesuffix("-shuffled") or None
    facts: dict[str, Any] = {}
    metrics: list[Mapping[str, Any]] = []
    rewards: list[Mapping[str, Any]] = []
    for row in rows["rewards"]:
        if row["scheme"] == "eval":
            metrics.append({"run_id": run_id, "name": row["component"], "value": row["value"]})
        elif row["scheme"] == "case" and (row["component"] in _FACTS or row["component"].startswith("is: ")):
            facts[row["component"]] = row["value"]
        else:
            rewards.append(row)
    case: Mapping[str, Any] = {
        "run_id": run_id,
        "target_popularity": facts.get("target_popularity"),
        "history_length": int(facts.get("history_length") or 0),
        "other_data": bool(facts.get("other_data")),
        "chosen_on": bool(facts.get("chosen_on")),
        "phrases": sorted(name.removeprefix("is: ") for name in facts if name.startswith("is: ")),
    }
    moved: Rows = {"runs": [run], "metrics": metrics, "cases": [case] if facts else [], "rewards": rewards}
    return rows | moved


_FACTS = frozenset({"target_popularity", "history_length", "other_data", "chosen_on"})


def _model_of(table: str) -> type[BaseModel]:
    """The model of a table's rows; without the run id of a part, which the line's run has, and without derived ids."""
    left_out = {"runs": (), _TURNS: ("turn_id", "conversation_id")}.get(table, ("run_id",))
    columns = [column for column in table_of(table).c if column.name not in left_out]
    return create_model(table, __config__=ConfigDict(extra="forbid"), **{c.name: _field(table, c) for c in columns})


def _field(table: str, column: Column[Any]) -> Any:
    kind, wanted = _kind(table, column)
    field: dict[str, Any] = {"description": wanted}
    if column.nullable:
        return (kind | None, Field(default=None, **field))
    if column.server_default is not None:
        return (kind, Field(default=_DEFAULTS[str(column.server_default.arg)], **field))  # type: ignore[attr-defined]
    return (kind, Field(**field))


def _kind(table: str, column: Column[Any]) -> tuple[Any, str]:
    """The type of a column in a line, and how an error names it."""
    kind = column.type
    if isinstance(kind, LargeBinary):
        if column.name == "logprobs":
            return Annotated[Any, PlainValidator(_pack_logprobs), PlainSerializer(_logprobs)], "a list of numbers"
        return Annotated[Any, PlainValidator(_pack_tokens), PlainSerializer(_tokens)], "a list of token ids"
    if isinstance(kind, RunId):
        return Annotated[Any, PlainValidator(_run_id), PlainSerializer(str)], "a run id"
    if isinstance(kind, UtcDateTime):
        return Annotated[Any, PlainValidator(_time), PlainSerializer(_time_text)], "a time with its zone"
    if isinstance(kind, Boolean):
        return StrictBool, "true or false"
    if isinstance(kind, Integer):
        bits = 64 if isinstance(kind, BigInteger) else 32
        return Annotated[StrictInt, Field(ge=-(2 ** (bits - 1)), lt=2 ** (bits - 1))], f"a whole number of {bits} bits"
    if isinstance(kind, JSON):
        if column.name in _TEXT_LISTS:
            return Annotated[Any, PlainValidator(_texts)], "a list of text"
        if column.name in _LISTS:
            return Annotated[Any, PlainValidator(_json_of(list))], "a list"
        return Annotated[Any, PlainValidator(_json_of(dict))], "an object"
    if isinstance(kind, String):
        if words := _WORDS.get((table, column.name)):
            return Literal[words], f"one of {', '.join(words)}"
        return Annotated[Any, PlainValidator(_text)], "text"
    # NanFloat reads NULL as NaN.
    write = _number_or_none if isinstance(kind, TypeDecorator) else _number_text
    return Annotated[Any, PlainValidator(_number), PlainSerializer(write)], "a number"


def _require(holds: bool) -> None:
    """Fail the validation of a value; the error's text comes from the column (`_why`)."""
    if not holds:
        raise ValueError


def _text(value: Any) -> str:
    _require(isinstance(value, str))
    return storable(value)


def _texts(value: Any) -> list[Any]:
    _require(isinstance(value, list) and all(isinstance(part, str) for part in value))
    return [storable(part) for part in value]


def _json_of(kind: type[list[Any] | dict[str, Any]]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        _require(isinstance(value, kind))
        return storable_json(value)

    return check


def _run_id(value: Any) -> UUID:
    _require(isinstance(value, str))
    return UUID(value)


def _time(value: Any) -> datetime:
    _require(isinstance(value, str))
    time = datetime.fromisoformat(value)
    _require(time.tzinfo is not None)
    return time.astimezone(UTC)


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _number(value: Any) -> float:
    if isinstance(value, str):
        _require(value in _WORD_OF_NUMBER)
        return _WORD_OF_NUMBER[value]
    _require(isinstance(value, int | float) and not isinstance(value, bool))
    try:
        return float(value)
    except OverflowError:
        raise ValueError from None


def _number_text(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _number_or_none(value: float) -> float | str | None:
    return None if math.isnan(value) else _number_text(value)


def _pack_tokens(value: Any) -> bytes:
    _require(isinstance(value, list) and all(type(part) is int and 0 <= part <= MAX_TOKEN_ID for part in value))
    return encode_tokens(value)


def _tokens(data: bytes) -> list[int]:
    ids: list[int] = decode_tokens(data).tolist()
    return ids


def _pack_logprobs(value: Any) -> bytes:
    _require(isinstance(value, list))
    return encode_logprobs([_number(part) for part in value])


def _logprobs(data: bytes) -> list[float | str | None]:
    values = decode_logprobs(data)
    plain: list[float] = values.tolist()
    return list(plain) if np.isfinite(values).all() else [_number_text(value) for value in plain]


def _why(error: ValidationError) -> str:
    """Describe the first fault of a line by its table and column."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = [part for part in fault["loc"] if isinstance(part, str)]
    if not where or where == ["run"]:
        return "it is not a run"
    table = {"run": "runs", TURN: _TURNS}.get(where[0], where[0])
    if where == [TURN]:
        return "it is not a turn of a conversation"
    if len(where) == 1 and table not in PARTS:
        return f"a run has no part {table!r} in this version; a newer one wrote it"
    if len(where) == 1:
        return f"{table} is not a list" if len(fault["loc"]) == 1 else f"a row of {table} is not an object"
    column = where[1]
    if fault["type"] == "extra_forbidden":
        return f"{table} has no column {column!r} in this version; a newer one wrote it"
    if fault["type"] == "missing":
        return f"{table} lacks the column {column!r}"
    wanted = _MODELS[table].model_fields[column].description
    if fault["input"] is None:
        wanted = "there to be left out"
    elif isinstance(fault["input"], list) is False and str(wanted).startswith("a list"):
        wanted = "a list"
    return f"column {column!r} of {table} is {_short(fault['input'])}, not {wanted}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


_MODELS = {table: _model_of(table) for table in ("runs", *PARTS, _TURNS)}
_LINE_FIELDS: dict[str, Any] = {
    "run": (_MODELS["runs"], Field()),
    **{name: (list[_MODELS[name]], Field(default=[])) for name in PARTS},  # type: ignore[valid-type]
}
_Line: Any = create_model("_Line", __config__=ConfigDict(extra="forbid"), **_LINE_FIELDS)
_TURN_FIELDS: dict[str, Any] = {TURN: (_MODELS[_TURNS], Field())}
_TurnLine: Any = create_model("_TurnLine", __config__=ConfigDict(extra="forbid"), **_TURN_FIELDS)
