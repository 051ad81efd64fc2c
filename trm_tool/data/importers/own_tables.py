"""A shop's own tables: CSV or Parquet, with columns found by name or named by the user."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from deeprec.trm_tool.data.atomic_files import DETECT
from deeprec.trm_tool.data.columns import Column, ColumnNames, choose, choose_event
from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.importers.formats.csv_rows import Quotes
from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.item_values import TITLE, Value
from deeprec.trm_tool.data.importers.items import ItemRow, header_names
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.nested_values import flat_value, parse_nested
from deeprec.trm_tool.data.importers.source import ItemFile, Source, id_of, make_event
from deeprec.trm_tool.data.importers.tables import PARQUET, Table, open_table
from deeprec.trm_tool.data.importers.values import is_empty, text_of
from deeprec.trm_tool.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
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
    quotes: Quotes | None = None
    """How CSV writes quotes inside quoted fields."""
    date_order: DateOrder | None = None
    """Which of day and month stands first in dates such as 1/2/2020."""


def tables(interactions: Path, items: Path | None, options: TableOptions) -> Source:
    """The source of a shop's own tables.

    Raises:
        DataError: a file has no column for the user, the item or the time.
    """
    table = _open(interactions, options)
    names, columns = table.names, options.columns
    user, item, time = choose_event(names, columns, interactions.name, find_column)
    rating = _find_rating(names, options.rating, interactions.name)
    wanted = [names[at] for at in (user, item, time, rating) if at is not None]
    described, notes = _items(items, options, interactions, wanted) if items is not None else (None, ())
    return Source(
        format=table.format,
        path=interactions,
        read=lambda reading: _read_events(table, wanted, reading),
        items=described,
        notes=(*table.notes, *notes),
    )


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name."""
    return path.suffix.lower() in PARQUET


def _open(path: Path, options: TableOptions) -> Table:
    return open_table(path, delimiter=options.delimiter, quotes=options.quotes, encoding=options.encoding)


def _items(
    path: Path, options: TableOptions, interactions: Path, roles: Sequence[str]
) -> tuple[ItemFile, tuple[str, ...]]:
    """The table of items. What describes a person or an interaction is left out: `roles` are the columns of those."""
    table = _open(path, options)
    names, shared = table.names, path.samefile(interactions)
    in_header = options.columns.item if options.columns.item in names else None
    id_at = find_column(names, in_header, "item", path.name) or 0
    title_at = find_column(names, options.columns.title, "title", path.name)
    person, _, *others = roles
    foreign = [name for name in ((person, *others) if shared else (person,)) if name in names]
    foreign = [name for name in foreign if name not in options.columns.kinds]
    order = [names[at] for at in dict.fromkeys((title_at, *range(len(names)))) if at is not None and at != id_at]
    wanted = [name for name in order if name not in foreign]
    title = None if title_at is None else names[title_at]
    title_to = wanted.index(title) if title in wanted else None
    columns = header_names([TITLE if name == title else name for name in wanted], path.name)
    notes = [] if shared else list(table.notes)
    if foreign:
        notes.append(f"{path.name}: {', '.join(foreign)} belong to a person or an interaction, and are left out.")
    return ItemFile(
        path=path,
        columns=tuple((name, None) for name in columns),
        read=lambda reading: _read_items(table, [names[id_at], *wanted], title_to, reading),
        shared=shared,
    ), tuple(notes)


def _read_events(table: Table, wanted: Sequence[str], reading: Reading) -> Iterator[Event]:
    for line, (user, item, time, *rest) in table.read(reading, wanted):
        rating = rest[0] if rest and not (isinstance(rest[0], str) and is_empty(rest[0])) else None
        if isinstance(rating, float) and rating != rating:  # a missing value of pandas
            rating = None
        event = make_event(table.path.name, line, (user, item, rating, time), reading.bad, unrated=True)
        if event:
            yield event


def _read_items(table: Table, wanted: Sequence[str], title_at: int | None, reading: Reading) -> Iterator[ItemRow]:
    for line, (raw_id, *values) in table.read(reading, wanted):
        item_id = id_of(raw_id, "item", table.path.name, line, reading.bad)
        if item_id is not None:
            # the title "[1]" is text
            yield line, item_id, [cell_value(value, nested=at != title_at) for at, value in enumerate(values)]


def cell_value(value: object, *, nested: bool = True) -> Value:
    """A cell as an item's value: NaN and infinity are missing; numbers, text and lists stay; the rest becomes text.

    With `nested`, the text of a list or a record is read as one. A vector of numbers and bytes that are no text are
    missing values.
    """
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bytes):
        return text_of(value)
    if isinstance(value, str):
        parsed = parse_nested(value) if nested else None
        return value if parsed is None else flat_value(parsed)
    if isinstance(value, (list, tuple, dict)):
        return None if value and all(isinstance(part, float) for part in value) else flat_value(value)
    return value if isinstance(value, float) else str(value)


def find_column(
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
