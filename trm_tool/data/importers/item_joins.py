"""Further columns of items from other tables: plots, people, tags that users gave."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from deeprec.trm_tool.data.importers.item_values import TITLE, Value
from deeprec.trm_tool.data.importers.items import ItemRow, header_names
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.own_tables import cell_value, find_column
from deeprec.trm_tool.data.importers.source import ItemFile
from deeprec.trm_tool.data.importers.tables import Table, open_table
from deeprec.trm_tool.data.importers.values import is_empty, split_title
from deeprec.trm_tool.errors import ConfigError, DataError

MAX_TAGS = 30
"""Values of one item that several rows of a joined table give, the most frequent first."""
_YEAR = "release_year"
_KEYS = {"file", "on", "columns", "encoding", "delimiter"}
_NUMBER = re.compile(r"(?:tt)?0*(\d+)")
_FORM = "FILE or file=FILE,on=ITEM_COLUMN:FILE_COLUMN,columns=A+B,encoding=latin-1,delimiter=;"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemJoin:
    """A table whose columns describe items, beside the file of items."""

    file: Path
    item_column: str | None = None
    """Column of the items that the rows are matched by; None is the item's id. Tables that were joined before count."""
    file_column: str | None = None
    """Column of the file that holds the same; None is one that is known by name."""
    columns: tuple[str, ...] = ()
    """Columns to take, in this order; none takes all that belong neither to a person nor to an interaction."""
    encoding: str | None = None
    """Encoding of CSV; None is UTF-8."""
    delimiter: str | None = None
    """The character between the columns of CSV; None finds it."""

    @classmethod
    def parse(cls, text: str) -> "ItemJoin":
        """Read an option: `tags.csv`, or `file=info.json,on=imdbId:imdb_id,columns=plot+star`.

        Raises:
            ConfigError: it has another form.
        """
        fields = next(csv.reader([text]), [])
        if len(fields) == 1 and not fields[0].startswith("file="):
            return cls(file=Path(fields[0]))
        named = dict(part.split("=", 1) for part in fields if "=" in part)
        if len(named) < len(fields) or not {"file"} <= set(named) <= _KEYS or not named["file"]:
            raise ConfigError(f"--join {text[:100]!r} is not {_FORM}.")
        item_column, _, file_column = named.get("on", "").partition(":")
        return cls(
            file=Path(named["file"]),
            item_column=item_column or None,
            file_column=file_column or item_column or None,
            columns=tuple(filter(None, named.get("columns", "").split("+"))),
            encoding=named.get("encoding") or None,
            delimiter=named.get("delimiter") or None,
        )


@dataclass(slots=True)
class JoinCount:
    """How many items a joined table described."""

    file: str
    columns: tuple[str, ...]
    keys: int
    """Different items that the table describes."""
    matched: int = 0

    def __str__(self) -> str:
        return f"{self.file}: {', '.join(self.columns)} joined to {self.matched} items ({self.keys} in the file)."


def join_items(items: ItemFile, join: ItemJoin, reading: Reading) -> tuple[ItemFile, JoinCount]:
    """Add the columns of a table to the file of items.

    Rows are matched by text; numbers match whatever zeros stand before them, and so do IMDb's (`tt0114709` and
    `114709`). Titles match without case and punctuation, and by year where both have one. Where several rows of the
    table describe one item, a column's different values become tags.

    Args:
        items: The file of items.
        join: The table and its columns; it is held in memory.
        reading: It takes bad rows and the progress of the table.

    Returns:
        The file of items with the new columns behind its own, and the counts, which fill while the items are read.

    Raises:
        DataError: the file or one of its columns is missing, or no row names an item.
    """
    names = [name for name, _ in items.columns]
    if join.item_column is not None and join.item_column not in names:
        raise DataError(
            f"{items.path.name} has no column {join.item_column!r} to join {join.file.name} on; it has "
            f"{', '.join(names)}. Name one of these, or join a table that has it first."
        )
    table = open_table(join.file, encoding=join.encoding, delimiter=join.delimiter)
    key, wanted = _columns(table, join)
    by_title = join.item_column == TITLE
    described = _read(table, key, wanted, by_title, reading)
    if not any(described):
        raise DataError(f"{join.file} has no row that describes an item. Check the column {key!r}.")
    added = header_names(wanted, join.file.name)
    if clash := next((name for name in added if name in names), None):
        raise DataError(
            f"{join.file.name} and {items.path.name} both have a column {clash!r}. Name others with columns=."
        )
    count = JoinCount(file=join.file.name, columns=tuple(added), keys=len(set[str]().union(*described)))
    at = None if join.item_column is None else names.index(join.item_column)
    year_at = names.index(_YEAR) if by_title and _YEAR in names else None
    joined = replace(
        items,
        columns=(*items.columns, *((name, None) for name in added)),
        read=partial(_read_joined, items, described, count, at, year_at),
    )
    return joined, count


def _columns(table: Table, join: ItemJoin) -> tuple[str, list[str]]:
    """The column of the key, and those that are taken."""
    names = list(table.names)
    for name in (*filter(None, [join.file_column]), *join.columns):
        if name not in names:
            raise DataError(f"{table.path.name} has no column {name!r}; it has {', '.join(names)}. Name one of these.")
    key = join.file_column or names[find_column(names, None, "item", table.path.name) or 0]
    foreign = {key}
    for role in ("user", "time"):
        try:
            foreign.add(names[find_column(names, None, role, table.path.name) or 0])
        except DataError:
            continue
    wanted = list(join.columns) or [name for name in names if name not in foreign]
    if not wanted:
        raise DataError(f"{table.path.name} has no column beside {', '.join(sorted(foreign))}. Nothing can be joined.")
    return key, wanted


def _read(table: Table, key: str, wanted: Sequence[str], by_title: bool, reading: Reading) -> list[dict[str, Value]]:
    """The values of the table: one mapping of key to value for each column."""
    first: list[dict[str, Value]] = [{} for _ in wanted]
    tags: list[dict[str, Counter[str]]] = [{} for _ in wanted]  # only of keys whose rows differ
    for _, (raw_key, *cells) in table.read(reading, [key, *wanted]):
        name = _title_key(*split_title(str(raw_key))) if by_title else _key(raw_key)
        for at, cell in enumerate(cells if name else ()):
            value = cell_value(cell)
            if value is None or (isinstance(value, str) and is_empty(value)):
                continue
            known = first[at].setdefault(name, value)
            if known != value or name in tags[at]:
                tags[at].setdefault(name, Counter(_parts(known))).update(_parts(value))
    for values, counts in zip(first, tags, strict=True):
        if counts:  # one item with several values makes the column one of tags
            values |= {name: _parts(value) for name, value in values.items() if name not in counts}
            values |= {name: [tag for tag, _ in own.most_common(MAX_TAGS)] for name, own in counts.items()}
    return first


def _parts(value: Value) -> list[str]:
    return [str(value)] if isinstance(value, str | float) or value is None else list(value)


def _read_joined(
    items: ItemFile,
    described: Sequence[Mapping[str, Value]],
    count: JoinCount,
    at: int | None,
    year_at: int | None,
    reading: Reading,
) -> Iterator[ItemRow]:
    for line, item_id, values in items.read(reading):
        if at is not None and items.columns[at][0] == TITLE:
            year = None if year_at is None else values[year_at]
            title, in_title = split_title(str(values[at]))
            name = _title_key(title, year if isinstance(year, float) else in_title)
        else:
            name = _key(item_id if at is None else values[at])
        found = [column.get(name) for column in described]
        count.matched += any(value is not None for value in found)
        yield line, item_id, [*values, *found]


def _key(value: object) -> str:
    """A key as it is compared."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value if value is not None else "").strip().casefold()
    number = _NUMBER.fullmatch(text)
    return number.group(1) if number else text


def _title_key(title: str, year: float | None) -> str:
    bare = re.sub(r"[\W_]+", "", title.casefold())
    return f"{bare} {year:.0f}" if bare and year is not None else bare
