"""Items of an import: they are cleaned one by one and kept on disk until the types of their columns are known.

The catalogue reads a `float` column as a number, `token` as a category, `token_seq` as tags or prose.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from deeprec.trm_tool.data.columns import ColumnKind, ColumnType
from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.importers.item_values import TITLE, ObservedColumn, Value
from deeprec.trm_tool.data.importers.values import clean, is_empty, parse_price, safe_field
from deeprec.trm_tool.errors import DataError

ItemRow = tuple[int, str, Sequence[Value]]
"""Line, item id, one value for each column."""


_CODES = ("no", "nr", "code", "id", "key", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnReport:
    """Type and fill of a column that was written."""

    name: str
    type: ColumnType
    filled: int
    """Items that have a value."""
    unreadable: int = 0
    """Values that are not a number, or negative, in a column of prices; they were left empty."""
    cut: int = 0
    """Texts that were cut at `MAX_PROSE_CHARS`."""


class ItemSpool:
    """Cleaned items in a file beside the target, until the types of their columns and the items that stay are known.

    Args:
        path: File of the spool; the caller removes it.
        columns: Name and type of each column; a type of None is found from the values.
        shared: An item has a row for each of its interactions; columns whose values follow the interaction and not the
            item are left out.
        kinds: Column -> the kind that the user says; a column to ignore is left out.
        order: Which of day and month stands first in dates; None finds it column by column.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[tuple[str, ColumnType | None]],
        *,
        shared: bool = False,
        kinds: Mapping[str, ColumnKind] | None = None,
        order: DateOrder | None = None,
    ) -> None:
        self._path = path
        kinds = kinds or {}
        self._columns = [ObservedColumn(name, declared, kinds.get(name), order) for name, declared in columns]
        self._agreements = [Agreement() for _ in columns] if shared else []
        self.lines: dict[str, int] = {}
        """Item id -> the line that it was read from."""
        self.repeats = 0
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="\n")

    def add(self, row: ItemRow) -> None:
        """Store an item; a repeated id is only counted."""
        line, item_id, values = row
        known = item_id in self.lines
        for agreement, value in zip(self._agreements, values, strict=False):
            agreement.take(item_id, value)
        if known:
            self.repeats += 1
            return
        self.lines[item_id] = line
        fields = [column.take(value) for column, value in zip(self._columns, values, strict=True)]
        self._file.write("\t".join([item_id, *fields]) + "\n")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the columns whose values follow the interaction and not the item."""
        return tuple(
            column.name
            for column, agreement in zip(self._columns, self._agreements, strict=False)
            if column.name != TITLE and column.said is None and not agreement.follows_item
        )

    @property
    def kinds(self) -> dict[str, ColumnKind]:
        """Column -> kind, for those whose kind the atomic file does not show: said by the user, or found here.

        Numbers that stand for a column of names beside them (`colour_no` of `colour_name`), and columns without any
        value, are nothing to ask for.
        """
        names = {column.name.lower() for column in self._columns}
        kinds = {column.name: column.said for column in self._columns if column.said is not None}
        for column in self._columns:
            if column.said is None and (column.empty or _stands_for(column.name.lower(), names)):
                kinds[column.name] = "ignore"
        return kinds

    def close(self) -> None:
        """Finish writing; further calls do nothing."""
        self._file.close()

    def remove(self) -> None:
        """Delete the spool."""
        self._path.unlink()

    def write(
        self, target: Path, keep: set[str] | None, also: Sequence[str] = ()
    ) -> tuple[int, tuple[ColumnReport, ...]]:
        """Write the atomic file.

        Args:
            target: The `.item` file.
            keep: Ids of the items that stay; None keeps all.
            also: Ids of items without any value, written last.

        Returns:
            The number of items, and a report of each column.
        """
        self.close()
        left_out = self.left_out
        at_work = [
            at for at, column in enumerate(self._columns) if column.name not in left_out and column.said != "ignore"
        ]
        columns = [self._columns[at] for at in at_work]
        filled = [0] * len(columns)
        count = 0
        with target.open("w", encoding="utf-8", newline="\n") as out:
            header = ["item_id:token", *(f"{column.name}:{column.type}" for column in columns)]
            out.write("\t".join(header) + "\n")
            for item_id, *raw in self._rows():
                if keep is not None and item_id not in keep:
                    continue
                fields = [self._columns[at].show(raw[at]) for at in at_work]
                for at, field in enumerate(fields):
                    filled[at] += bool(field)
                out.write("\t".join([item_id, *fields]) + "\n")
                count += 1
            for item_id in also:
                out.write("\t".join([item_id, *("" for _ in columns)]) + "\n")
                count += 1
        return count, tuple(
            ColumnReport(
                name=column.name, type=column.type, filled=number, unreadable=column.unreadable, cut=column.cut
            )
            for column, number in zip(columns, filled, strict=True)
        )

    def _rows(self) -> Iterator[list[str]]:
        with self._path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n").split("\t")


def header_names(raw: Sequence[str], file: str) -> list[str]:
    """The names of the columns beside the id, as an atomic header can hold them.

    Raises:
        DataError: a column has no name, or two columns would have the same.
    """
    names = [safe_field(clean(name).replace(":", "_")) for name in raw]
    if not all(names):
        raise DataError(f"{file}:1 has a column without a name. Name every column.")
    for name in ("item_id", *names):
        if names.count(name) + (name == "item_id") > 1:
            raise DataError(f"{file}:1 would give two columns called {name!r}. Rename one of them.")
    return names


def _stands_for(name: str, names: set[str]) -> bool:
    """Whether a column of codes has a column of their names beside it."""
    stem, _, last = name.rpartition("_")
    return bool(stem) and last in _CODES and bool(names & {stem, f"{stem}_name", f"{stem}_title"})


class Agreement:
    """Whether the rows of an item, or of a person, agree on a column more than rows of different ones do."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}  # item -> a digest of its first value
        self._numbers: dict[str, float] | None = {}  # item -> its first number; None where other values occur
        self._same = self._compared = 0
        self._squares = 0.0  # of the differences from the first number

    def take(self, item_id: str, value: Value) -> None:
        """Compare a value with the first one of the same item; missing values are left out."""
        if value is None or (isinstance(value, str) and is_empty(value)):
            return
        digest = hash(str(value))
        if self._numbers is not None:
            number = parse_price(value)
            if number is None:
                self._numbers = None
            else:
                self._squares += (number - self._numbers.setdefault(item_id, number)) ** 2
        if item_id in self._first:
            self._compared += 1
            self._same += self._first[item_id] == digest
        else:
            self._first[item_id] = digest

    @property
    def follows_item(self) -> bool:
        """Whether further rows of an item are nearer to its first row than to others: true where there are none.

        Of numbers, at most half of the variance lies within items; of other values, Cohen's kappa is one half at least.
        """
        return self.compared == 0 or self.agrees

    @property
    def compared(self) -> int:
        """Rows that were compared with the first one of the same item."""
        return self._compared

    @property
    def agrees(self) -> bool:
        """Whether what was compared agrees; see `follows_item`."""
        if self._numbers:
            within = self._squares / self._compared / 2
            return within <= 0.5 * (within + float(np.var(list(self._numbers.values()))))
        items = len(self._first)
        by_chance = sum((count / items) ** 2 for count in Counter(self._first.values()).values())
        return self._same - by_chance * self._compared >= 0.5 * (1 - by_chance) * self._compared
