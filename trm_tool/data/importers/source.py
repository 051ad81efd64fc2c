"""The source of an import: the files of a data set as it was published, and their readers."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from deeprec.trm_tool.data.columns import ColumnKind, ColumnType
from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.items import ItemRow
from deeprec.trm_tool.data.importers.lines import BadRows, Reading
from deeprec.trm_tool.data.importers.values import parse_number, parse_time, text_of, why_no_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFile:
    """The file that describes the items, and its reader."""

    path: Path
    columns: tuple[tuple[str, ColumnType | None], ...]
    """Name and type of each column beside the id; a type of None is found from the values."""
    read: Callable[[Reading], Iterator[ItemRow]]
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    """Column -> kind, where its values do not show it; what the user says goes before."""
    shared: bool = False
    """The file holds the interactions too, with a row for each; columns that vary with them are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Interactions and, where there are any, items: what an importer returns.

    An importer of your own, for `deeprec data import SOURCE --importer my_shop:orders` or `import_data(importer=…)`::

        def orders(folder: Path) -> Source:
            file = folder / "orders.txt"  # person|item|2026-11-28

            def read(reading: Reading) -> Iterator[Event]:
                for line, text in read_lines(file, reading):
                    person, item, day = text.strip().split("|")
                    event = make_event(file.name, line, (person, item, None, day), reading.bad, unrated=True)
                    if event:
                        yield event

            return Source(format="orders", path=file, read=read)
    """

    format: str
    """A name for the note beside the import."""
    path: Path
    """The file of interactions."""
    read: Callable[[Reading], Iterator[Event]]
    items: ItemFile | None = None
    terms: str = "the terms of the files' owner"
    """The terms of use of the data, for the note beside the import."""
    notes: tuple[str, ...] = ()
    """What a person should know about how the files are read, one sentence each."""
    timeless: bool = False
    """The data has no times: the order of its rows stands for that of time."""


def make_event(
    file: str,
    line: int,
    fields: Sequence[object],
    bad: BadRows,
    *,
    unrated: bool = False,
    columns: tuple[str | None, str | None] = (None, None),
) -> Event | None:
    """Make an event of user, item, rating and time stamp; None, and a bad row, when one of them cannot be used.

    With `unrated`, a rating of None is a missing rating and not an error. `columns` names those of user and item in
    errors.
    """
    user = id_of(fields[0], "user", file, line, bad, columns[0])
    item = id_of(fields[1], "item", file, line, bad, columns[1]) if user else None
    if user is None or item is None:
        return None
    rating = math.nan if unrated and fields[2] is None else parse_number(fields[2])
    if rating is None:
        bad.add(
            "rows without a usable rating", file, line, f"has {_shown(fields[2])} as rating, which is not a number."
        )
        return None
    time = parse_time(fields[3])
    if time is None:
        why = f"has {_shown(fields[3])} as time stamp, which is neither a finite number nor a date."
        bad.add("rows without a usable time stamp", file, line, why)
        return None
    return line, user, item, rating, time


_ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d\d", re.IGNORECASE)
"""A long number as spreadsheets show it: different ids became one."""


def id_of(value: object, role: str, file: str, line: int, bad: BadRows, column: str | None = None) -> str | None:
    """An id as text; None, and a bad row, when it cannot be used."""
    if isinstance(value, bytes):
        value = text_of(value)
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and value.is_integer():  # whole numbers beside missing ones, as pandas writes them
        value = int(value)
    name = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    unfit = "was rounded by a spreadsheet; export the column as text" if _ROUNDED.fullmatch(name) else why_no_id(name)
    if name and unfit is None:
        return name
    where = f" in the column {column!r}" if column else ""
    why = f"has the {role} id {_shown(name)}, which {unfit}." if name else f"has no {role} id{where}."
    bad.add(f"rows without a usable {role} id", file, line, why)
    return None


def _shown(value: object) -> str:
    return repr(value)[:80]
