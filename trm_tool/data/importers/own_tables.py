"""A shop's own tables: CSV or Parquet, with columns found by name or named by the user."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deeprec.trm_tool.data.atomic_files import DETECT
from deeprec.trm_tool.data.columns import Column, ColumnNames, ColumnType, choose, choose_event
from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.items import TITLE, ItemRow, Value, header_names
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.source import ItemFile, Source, id_of, make_event
from deeprec.trm_tool.data.importers.tables import csv_header, parquet_columns, read_csv, read_parquet
from deeprec.trm_tool.data.importers.values import is_empty
from deeprec.trm_tool.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
_PARQUET = (".parquet", ".pq")
_RATING = ("rating", "stars", "score", "overall")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How a shop's own tables are read. An option of None is detected."""

    columns: ColumnNames = DETECT
    rating: str | None = None
    """Name of the column of ratings."""
    delimiter: str | None = None
    """The character between the columns of CSV."""
    encoding: str | None = None


def tables(interactions: Path, items: Path | None, options: TableOptions) -> Source:
    """The source of a shop's own tables.

    Raises:
        DataError: a file has no column for the user, the item or the time.
    """
    names = _columns_of(interactions, options)
    file, columns = interactions.name, options.columns
    user, item, time = choose_event(names, columns, file, _find)
    rating = _find_rating(names, options.rating, file)
    wanted = [names[at] for at in (user, item, time, rating) if at is not None]
    return Source(
        format="parquet" if is_parquet(interactions) else "csv",
        path=interactions,
        read=lambda reading: _read_events(interactions, wanted, options, reading),
        items=None if items is None else _items(items, options),
    )


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name."""
    return path.suffix.lower() in _PARQUET


def _items(path: Path, options: TableOptions) -> ItemFile:
    names = _columns_of(path, options)
    in_header = options.columns.item if options.columns.item in names else None
    id_at = _find(names, in_header, "item", path.name)
    title_at = _find(names, options.columns.title, "title", path.name)
    order = [at for at in (title_at, *range(len(names))) if at is not None]
    order = [at for at in dict.fromkeys(order) if at != id_at]
    columns = header_names([TITLE if at == title_at else names[at] for at in order], path.name)
    wanted = [names[at] for at in (id_at, *order) if at is not None]
    typed: tuple[tuple[str, ColumnType | None], ...] = tuple((name, None) for name in columns)
    return ItemFile(path=path, columns=typed, read=lambda reading: _read_items(path, wanted, options, reading))


def _read_events(path: Path, wanted: Sequence[str], options: TableOptions, reading: Reading) -> Iterator[Event]:
    for line, (user, item, time, *rest) in _rows(path, wanted, options, reading):
        rating = rest[0] if rest and not (isinstance(rest[0], str) and is_empty(rest[0])) else None
        if isinstance(rating, float) and rating != rating:  # a missing value of pandas
            rating = None
        event = make_event(path.name, line, (user, item, rating, time), reading.bad, unrated=True)
        if event:
            yield event


def _read_items(path: Path, wanted: Sequence[str], options: TableOptions, reading: Reading) -> Iterator[ItemRow]:
    for line, (raw_id, *values) in _rows(path, wanted, options, reading):
        item_id = id_of(raw_id, "item", path.name, line, reading.bad)
        if item_id is not None:
            yield line, item_id, [cell_value(value) for value in values]


def _rows(
    path: Path, wanted: Sequence[str], options: TableOptions, reading: Reading
) -> Iterator[tuple[int, Sequence[Any]]]:
    if is_parquet(path):
        return read_parquet(path, reading, columns=wanted)
    return read_csv(path, reading, columns=wanted, delimiter=options.delimiter, encoding=options.encoding)


def cell_value(value: object) -> Value:
    """A cell as an item's value: NaN and infinity are missing; numbers, text and lists stay; the rest becomes text."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, (str, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [part if isinstance(part, str) else str(part) for part in value if part is not None]
    return str(value)


def _columns_of(path: Path, options: TableOptions) -> list[str]:
    if is_parquet(path):
        return parquet_columns(path)
    return csv_header(path, Reading(), delimiter=options.delimiter, encoding=options.encoding)


def _find(
    names: Sequence[str], named: str | None, role: Literal["user", "item", "time", "title"], file: str
) -> int | None:
    """Index of the column for a role: the one named, or one whose name is known, in whatever case it is written."""
    if named is None:
        try:
            return choose([Column(_snake(name), "token") for name in names], None, role, file)
        except DataError:
            pass  # raised below with the names as they are written
    return choose([Column(name, "token") for name in names], named, role, file)


def _find_rating(names: Sequence[str], named: str | None, file: str) -> int | None:
    if named is not None and named not in names:
        raise DataError(
            f"{file}:1 has no column {named!r}; it has {', '.join(names)}. Name one of these with --rating-column."
        )
    if named is not None:
        return list(names).index(named)
    spelled = [_snake(name) for name in names]
    return next((spelled.index(name) for name in _RATING if name in spelled), None)


def _snake(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()
