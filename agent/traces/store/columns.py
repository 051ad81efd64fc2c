"""Columns of a data frame from the rows of a database, typed once a column and never once a value.

SQLAlchemy's own conversion makes a Python object of every value. Here the driver's values are taken as they come,
in blocks, and each column becomes an array. Text that repeats is kept once. Needs pandas where a frame is built.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import count, islice
from types import ModuleType
from typing import Any, Protocol, get_args
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Select,
    Text,
    cast as sql_cast,
    type_coerce,
)
from sqlalchemy.types import JSON, NullType

from deeprec.agent.traces.records import Action, Kind, LogprobsMode, Node, Source, Status, TraceStoreError
from deeprec.agent.traces.store.codec import decode_logprobs, decode_tokens
from deeprec.agent.traces.store.database import first_line
from deeprec.agent.traces.store.schema import NanFloat, RunId, UtcDateTime
from deeprec.trm_tool.errors import ConfigError

_CATEGORIES: dict[str, Sequence[str]] = {
    "action": get_args(Action),
    "component": (),
    "finish_reason": (),
    "kind": get_args(Kind),
    "listing": ("written", "recommended"),
    "logprobs_mode": get_args(LogprobsMode),
    "node": get_args(Node),
    "protocol": (),
    "scheme": (),
    "source": get_args(Source),
    "status": get_args(Status),
}
"""Columns of few values -> those that are known beforehand."""
_SHARED = frozenset(
    {
        "adapter",
        "adapter_fingerprint",
        "adapter_version",
        "base_fingerprint",
        "conversation",
        "detail",
        "group_id",
        "item_id",
        "name",
        "policy_model",
        "preference",
        "prompt_version",
        "split",
        "shuffled_of",
        "suite",
        "system",
        "target_id",
        "thread_id",
        "tenant",
        "trm_fingerprint",
        "user_id",
    }
)
"""Further columns whose text repeats."""

BLOCK = 500
"""Rows that are held as Python objects at once: few enough to stay in the processor's cache."""


def require_pandas() -> ModuleType:
    """Pandas, or what to install.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Reading traces into data frames needs pandas, which is not installed. "
            "Install it with: pip install 'deeprec-agent[notebooks]'"
        ) from error
    found: ModuleType = pandas
    return found


class Column(Protocol):
    """One column that grows block by block."""

    def extend(self, values: Sequence[Any]) -> None:
        """Take the driver's values of one block."""

    def series(self) -> Any:
        """The column as a data frame takes it."""


class Shared:
    """Text that repeats, each value kept once: `codes` (rows,) point into `names()`, where None is missing."""

    def __init__(self, make: Callable[[Any], Any] = lambda value: value) -> None:
        self._make = make
        self._index: defaultdict[Any, int] = defaultdict(count().__next__)
        self._blocks: list[npt.NDArray[np.int64]] = []
        self._names: list[Any] = []

    def extend(self, values: Sequence[Any]) -> None:
        """Take the driver's values of one block."""
        self._blocks.append(np.fromiter(map(self._index.__getitem__, values), np.int64, len(values)))

    def index_of(self, value: Any) -> int:
        """The code that a value has or would have."""
        return self._index[value]

    @property
    def codes(self) -> npt.NDArray[np.int64]:
        """A number for each row, equal where the values are; a missing value has one too."""
        return np.concatenate(self._blocks) if self._blocks else np.empty(0, np.int64)

    def names(self) -> list[Any]:
        """The value of each code; None for a missing value."""
        new = islice(self._index, len(self._names), None)
        self._names += [None if value is None else self._make(value) for value in new]
        return self._names

    def series(self) -> npt.NDArray[np.object_]:
        """(rows,), objects shared between rows."""
        return as_objects(self.names())[self.codes]


class Category(Shared):
    """A column of few values. The known ones come first, in their order; others that the database holds follow."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        super().__init__()
        for name in known:
            self.index_of(name)

    def series(self) -> Any:
        """A pandas Categorical (rows,)."""
        pandas = require_pandas()
        names = self.names()
        present = [name for name in names if name is not None]
        to_code = np.array([-1 if name is None else present.index(name) for name in names], dtype=np.int64)
        return pandas.Categorical.from_codes(to_code[self.codes] if names else self.codes, present)


class Numbers:
    """Floats, or integers. A missing integer makes the column pandas' nullable one; a missing float is NaN."""

    def __init__(self, dtype: type[np.float64] | type[np.int64] | type[np.bool_], *, nullable: bool) -> None:
        self._dtype, self._nullable = dtype, nullable and dtype is np.int64
        self._blocks: list[npt.NDArray[Any]] = []
        self._missing: list[npt.NDArray[np.bool_]] = []

    def extend(self, values: Sequence[Any]) -> None:
        """Take the driver's values of one block."""
        if self._nullable:
            self._missing.append(np.fromiter((value is None for value in values), np.bool_, len(values)))
            values = [0 if value is None else value for value in values]
        self._blocks.append(np.array(values, dtype=self._dtype))

    def array(self) -> npt.NDArray[Any]:
        """(rows,), a missing integer as 0."""
        return np.concatenate(self._blocks) if self._blocks else np.empty(0, self._dtype)

    def series(self) -> Any:
        """(rows,): float64, int64, bool, or pandas' Int64."""
        if not self._nullable:
            return self.array()
        missing = np.concatenate(self._missing) if self._missing else np.empty(0, np.bool_)
        return require_pandas().arrays.IntegerArray(self.array(), missing)


class Times:
    """Times in UTC, to the microsecond: SQLite's text, or a server's aware times."""

    def __init__(self) -> None:
        self._blocks: list[npt.NDArray[np.datetime64]] = []

    def extend(self, values: Sequence[Any]) -> None:
        """Take the driver's values of one block."""
        plain = [
            value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value for value in values
        ]
        self._blocks.append(np.array(plain, dtype="datetime64[us]"))

    def series(self) -> Any:
        """(rows,), `datetime64[us, UTC]`; a missing time is NaT."""
        pandas = require_pandas()
        times = np.concatenate(self._blocks) if self._blocks else np.empty(0, "datetime64[us]")
        return pandas.Series(times).dt.tz_localize("UTC")


class Objects:
    """Values that do not repeat, made one by one."""

    def __init__(self, make: Callable[[Any], Any] | None = None) -> None:
        self._make = make
        self._values: list[Any] = []

    def extend(self, values: Sequence[Any]) -> None:
        """Take the driver's values of one block."""
        self._values.extend(values if self._make is None else map(self._make, values))

    def series(self) -> npt.NDArray[np.object_]:
        """(rows,), objects."""
        return as_objects(self._values)


def as_objects(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """(n,), whatever the values are: an array of lists must not become a table."""
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def read_columns(
    connection: Connection, chosen: Mapping[str, ColumnElement[Any]], query: Select[Any]
) -> dict[str, Any]:
    """Run one query and type its columns by what the schema says of them.

    Args:
        connection: inside a transaction.
        chosen: name -> column.
        query: what to read them from; the columns that it selects are replaced by `chosen`.
    Returns:
        name -> `Column`, filled.
    Raises:
        TraceStoreError: a value that its column cannot hold; the database was damaged, or written by something else.
    """
    columns = {name: _column_for(name, column) for name, column in chosen.items()}
    query = query.with_only_columns(*(_raw(column).label(name) for name, column in chosen.items()))
    for rows in _blocks(connection, query):
        for (name, column), values in zip(columns.items(), zip(*rows, strict=True), strict=True):
            try:
                column.extend(values)
            except (ValueError, TypeError, OverflowError, AttributeError) as error:
                raise TraceStoreError(
                    f"The trace store has values in the column {name!r} that do not belong there ({error}). "
                    "It was damaged, or written by another program; restore it from a copy."
                ) from error
    return columns


def _id_text(value: UUID | bytes) -> str:
    digits = value.hex() if isinstance(value, bytes) else value.hex  # SQLite's bytes
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _blocks(connection: Connection, query: Select[Any]) -> Iterator[Sequence[Sequence[Any]]]:
    """The driver's own rows, as many at once as are held: SQLAlchemy's would double the time."""
    driver: Any = connection.dialect.dbapi
    with closing(connection.execute(query)) as result:
        try:
            while rows := result.cursor.fetchmany(BLOCK):
                yield rows
        except driver.Error as error:
            raise TraceStoreError(f"The trace store cannot be read: {first_line(error)}.") from error


def _raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as the driver gives it; JSON as its text."""
    return sql_cast(column, Text) if isinstance(column.type, JSON) else type_coerce(column, NullType())


def _column_for(name: str, column: ColumnElement[Any]) -> Column:
    kind, nullable = column.type, bool(getattr(column, "nullable", True))
    if name in _CATEGORIES:
        return Category(_CATEGORIES[name])
    if isinstance(kind, RunId):
        return Shared(_id_text)
    if isinstance(kind, UtcDateTime):
        return Times()
    if isinstance(kind, Boolean):
        return Numbers(np.bool_, nullable=nullable)
    if isinstance(kind, Integer):
        return Numbers(np.int64, nullable=nullable)
    if isinstance(kind, Float | NanFloat):
        return Numbers(np.float64, nullable=nullable)
    if isinstance(kind, JSON):
        return Shared(json.loads)
    if isinstance(kind, LargeBinary):
        return Objects(decode_logprobs if name == "logprobs" else decode_tokens)
    return Shared() if name in _SHARED else Objects()
