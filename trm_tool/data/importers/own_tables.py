"""A shop's own tables of any format, with columns found by name or named by the user."""

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Literal

from deeprec.trm_tool.data.atomic_files import DETECT
from deeprec.trm_tool.data.columns import Column, ColumnNames, choose, choose_event, is_number
from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.importers.formats.csv_rows import Quotes
from deeprec.trm_tool.data.importers.interaction_table import (
    InteractionColumns,
    Meanings,
    has_whole_ids,
    is_of_texts,
    plain_id,
    read_interactions,
    sample,
)
from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.item_values import TITLE, Value
from deeprec.trm_tool.data.importers.items import Agreement, ItemRow, header_names
from deeprec.trm_tool.data.importers.lines import BadRows, Reading
from deeprec.trm_tool.data.importers.nested_values import flat_value, parse_nested
from deeprec.trm_tool.data.importers.source import ItemFile, Source, id_of
from deeprec.trm_tool.data.importers.tables import Table, open_table
from deeprec.trm_tool.data.importers.time_column import TimeColumn, order_of
from deeprec.trm_tool.data.importers.values import text_of
from deeprec.trm_tool.errors import ConfigError, DataError

_RATING = ("rating", "stars", "score", "overall", "book_rating", "user_rating", "bewertung")
_EVENT = ("event", "event_type", "behavior", "behaviour", "behavior_type", "action", "action_type", "interaction_type")
_QUANTITY = ("quantity", "qty", "menge")
_KEYS = ("id", "key", "nr")
"""Names of the items' own key, where nothing better is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How a shop's own tables are read. An option of None is detected."""

    columns: ColumnNames = DETECT
    item_key: str | None = None
    """The item's id in the file of items, where it has another name than in the interactions."""
    rating: str | None = None
    """Name of the column of ratings."""
    event: str | None = None
    """Name of the column of kinds of events, such as view or purchase."""
    meanings: Meanings = field(default_factory=Meanings)
    """What texts in the columns of ratings and events mean."""
    order_by_file: bool = False
    """The interactions have no times, and the order of the rows is that of time."""
    delimiter: str | None = None
    """The character between the columns of CSV."""
    encoding: str | None = None
    quotes: Quotes | None = None
    """How CSV writes quotes inside quoted fields."""
    header: tuple[str, ...] | None = None
    """Names of the columns of interactions, where their CSV has no header."""
    items_header: tuple[str, ...] | None = None
    """Names of the columns of items, where their CSV has no header."""
    date_order: DateOrder | None = None
    """Which of day and month stands first in dates such as 1/2/2020."""


def tables(interactions: Path, items: Path | None, options: TableOptions) -> Source:
    """The source of a shop's own tables.

    Raises:
        DataError: a file has no column for the user, the item or the time.
    """
    table = _open(interactions, options, options.header, stamps=True)
    columns, notes = _roles(table, options)
    order = options.date_order
    if order is None and columns.time is not None:
        values = (value for _, (value,) in table.read(Reading(BadRows(drop=True)), [columns.time]))
        order = order_of(values, interactions.name, columns.time)
    described, more = _items(items, options, columns, interactions) if items is not None else (None, [])

    def read(reading: Reading) -> Iterator[Event]:
        times = None if columns.time is None else TimeColumn(interactions.name, columns.time, order)
        return read_interactions(table, columns, options.meanings, times, reading)

    return Source(
        format=table.format,
        path=interactions,
        read=read,
        items=described,
        notes=(*table.notes, *notes, *more),
        timeless=columns.time is None,
    )


def _open(path: Path, options: TableOptions, header: Sequence[str] | None, *, stamps: bool = False) -> Table:
    return open_table(
        path,
        delimiter=options.delimiter,
        quotes=options.quotes,
        encoding=options.encoding,
        header=header,
        stamps=stamps,
    )


def _roles(table: Table, options: TableOptions) -> tuple[InteractionColumns, list[str]]:
    names, file, notes = table.names, table.path.name, list[str]()
    wanted, order_by_file = options.columns, options.order_by_file
    if order_by_file and wanted.time is not None:
        raise ConfigError("--order-by-file and --time-column were both given. Leave one of them out.")
    try:
        at = choose_event(names, wanted, file, partial(find_column, by_file=order_by_file))
    except DataError as error:
        raise DataError(f"{error}{_perhaps_headless(names)}") from None
    user, item, time = (names[index] for index in at)
    if order_by_file:
        notes.append(f"{file}: the order of the rows stands for time, as --order-by-file says; no times are read.")
    rating = _named(names, options.rating, _RATING, file, "--rating-column")
    if rating and options.rating is None and is_of_texts(table, rating, options.meanings.ratings):
        seen = list(dict.fromkeys(str(value).strip() for value in sample(table, rating)))[:8]
        notes.append(
            f"{file}: the column {rating!r} holds texts ({', '.join(map(repr, seen))}) and is left out. Say what they "
            f"are worth with --rating-value {quote(f'{seen[0]}=5')} and so on."
        )
        rating = None
    event = _named(names, options.event, _EVENT, file, "--event-column")
    if options.meanings.events and event is None:
        raise DataError(f"{file}:1 has no column of events; it has {', '.join(names)}. Name it with --event-column.")
    quantity = _named(names, None, _QUANTITY, file, "")
    columns = InteractionColumns(
        user=user,
        item=item,
        time=None if order_by_file else time,
        rating=rating,
        event=event,
        quantity=None if quantity == rating else quantity,
    )
    return columns, notes


def _perhaps_headless(names: Sequence[str]) -> str:
    """What to do where the first line looks like a row."""
    if sum(map(is_number, names)) < 1:
        return ""
    return (
        " The first line looks like a row: if the file has no header, name its columns in their order, such as "
        "--header user_id,item_id,rating,timestamp."
    )


def item_table(path: Path, options: TableOptions) -> ItemFile:
    """A table of items alone, such as one to add to a catalogue.

    Raises:
        DataError: the file has no column for the item's id.
    """
    item = options.columns.item
    return _items(
        path, replace(options, item_key=options.item_key or item), InteractionColumns(user="", item="", time=None)
    )[0]


def _items(
    path: Path, options: TableOptions, roles: InteractionColumns, interactions: Path | None = None
) -> tuple[ItemFile, list[str]]:
    """The table of items. What describes a person or an interaction is left out."""
    shared = interactions is not None and path.samefile(interactions)
    table = _open(path, options, options.header if shared else options.items_header)
    names, id_name = table.names, _key(table.names, options, roles, path.name)
    title_at = find_column(names, options.columns.title, "title", path.name)
    title = None if title_at is None or names[title_at] == id_name else names[title_at]
    foreign = [name for name in (roles.of_interactions if shared else (roles.user,)) if name in names]
    foreign = [name for name in foreign if name not in options.columns.kinds and name not in (id_name, title)]
    order = [name for name in dict.fromkeys((title, *names)) if name is not None and name != id_name]
    wanted = [name for name in order if name not in foreign]
    columns = header_names([TITLE if name == title else name for name in wanted], path.name)
    notes = [] if shared else list(table.notes)
    personal = _personal(table, id_name, roles.user, wanted) if shared else []
    personal = [name for name in personal if name != title and name not in options.columns.kinds]
    if personal:
        wanted = [name for name in wanted if name not in personal]
        columns = header_names([TITLE if name == title else name for name in wanted], path.name)
        notes.append(
            f"{path.name}: {', '.join(personal)} follow the person, and no item shows that they describe it: they are "
            "left out. Keep one with --attribute NAME=KIND."
        )
    if foreign:
        notes.append(f"{path.name}: {', '.join(foreign)} belong to a person or an interaction, and are left out.")
    return ItemFile(
        path=path,
        columns=tuple((name, None) for name in columns),
        read=lambda reading: _read_items(table, id_name, wanted, wanted.index(title) if title else None, reading),
        shared=shared,
    ), notes


def _personal(table: Table, item: str, user: str, wanted: Sequence[str]) -> list[str]:
    """Columns whose values are those of the person, where rows of one item do not show that they describe the item."""
    by_person, by_item = [Agreement() for _ in wanted], [Agreement() for _ in wanted]
    for _, (item_id, person, *cells) in table.read(Reading(BadRows(drop=True)), [item, user, *wanted]):
        for at, cell in enumerate(cells):
            value = cell_value(cell)
            by_person[at].take(str(person), value)
            by_item[at].take(str(item_id), value)
    return [
        name
        for name, people, items in zip(wanted, by_person, by_item, strict=True)
        if people.compared > items.compared and people.agrees and not (items.compared and items.agrees)
    ]


def _key(names: Sequence[str], options: TableOptions, roles: InteractionColumns, file: str) -> str:
    """The name of the items' id: the one that is named, that of the interactions, a usual one, or `id`."""
    if options.item_key is not None:
        if options.item_key not in names:
            has = ", ".join(names)
            raise DataError(f"{file}:1 has no column {options.item_key!r}; it has {has}. Correct --item-key.")
        return options.item_key
    if roles.item in names:
        return roles.item
    try:
        return names[find_column(names, None, "item", file) or 0]
    except DataError:
        lowered = [name.lower() for name in names]
        found = next((names[lowered.index(key)] for key in _KEYS if key in lowered), None)
        if found is not None:
            return found
        raise DataError(
            f"{file}:1 has no column of item ids that is known by name; it has {', '.join(names)}. Name it with "
            "--item-key."
        ) from None


def _read_items(
    table: Table, id_name: str, wanted: Sequence[str], title_at: int | None, reading: Reading
) -> Iterator[ItemRow]:
    plain = has_whole_ids(table, id_name)
    for line, (raw_id, *values) in table.read(reading, [id_name, *wanted]):
        item_id = id_of(plain_id(raw_id) if plain else raw_id, "item", table.path.name, line, reading.bad)
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
        text = html.unescape(value) if "&" in value else value
        parsed = parse_nested(text) if nested else None
        return text if parsed is None else flat_value(parsed)
    if isinstance(value, (list, tuple, dict)):
        return None if value and all(isinstance(part, float) for part in value) else flat_value(value)
    return value if isinstance(value, float) else str(value)


def find_column(
    names: Sequence[str],
    named: str | None,
    role: Literal["user", "item", "time", "title"],
    file: str,
    *,
    by_file: bool = False,
) -> int | None:
    """Index of the column for a role: the one named, or one whose name is known, in whatever case it is written."""
    if by_file and role == "time":
        return 0
    if named is None:
        try:
            return choose([Column(_snake(name), "token") for name in names], None, role, file)
        except DataError:
            pass  # raised below with the names as they are written
    try:
        return choose([Column(name, "token") for name in names], named, role, file)
    except DataError as error:
        if role != "time" or named is not None:
            raise
        raise DataError(f"{error} If the file has no times, --order-by-file takes the order of its rows.") from None


def _named(names: Sequence[str], named: str | None, known: Sequence[str], file: str, option: str) -> str | None:
    """The column that the user names, or one whose name is known, or None."""
    if named is not None:
        if named not in names:
            has = ", ".join(names)
            raise DataError(f"{file}:1 has no column {named!r}; it has {has}. Name one of these with {option}.")
        return named
    spelled = [_snake(name) for name in names]
    return next((names[spelled.index(name)] for name in known if name in spelled), None)


def _snake(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()
