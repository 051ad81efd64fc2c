"""Items of an import: they are cleaned one by one and kept on disk until the types of their columns are known.

The catalogue reads a `float` column as a number, `token` as a category, `token_seq` as tags or prose.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from deeprec.trm_tool.data.columns import Column, ColumnType, is_number, kind_of, split_tags, tag_separator
from deeprec.trm_tool.data.importers.values import (
    MAX_PROSE_CHARS,
    TAG_MARK,
    clean,
    is_empty,
    mark_tags,
    parse_price,
    safe_field,
    show_number,
)
from deeprec.trm_tool.errors import DataError

Value = str | float | Sequence[str] | None
"""Text, a number, tags, or None."""
ItemRow = tuple[int, str, Sequence[Value]]
"""Line, item id, one value for each column."""

TITLE = "title"
_SAMPLE = 5000
"""Values from which the type of a column is found; whether all are numbers is found from all."""
_PROSE_WORDS, _TAG_WORDS = 5, 3
"""Average words: at least those of prose, at most those of a tag."""
_JOINED = re.compile(rf"[^\S{TAG_MARK}]|[|;,]")  # the mark itself counts as white space
_LISTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")


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
    """

    def __init__(self, path: Path, columns: Sequence[tuple[str, ColumnType | None]], *, shared: bool = False) -> None:
        self._path = path
        self._columns = [_Observed(name, declared) for name, declared in columns]
        self._agreements = [_Agreement() for _ in columns] if shared else []
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
            if column.name != TITLE and not agreement.follows_item
        )

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
        at_work = [at for at, column in enumerate(self._columns) if column.name not in left_out]
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


class _Agreement:
    """Whether the rows of an item agree on a column more than rows of different items do."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}  # item -> a digest of its first value
        self._numbers: dict[str, float] | None = {}  # item -> its first number; None where other values occur
        self._same = self._compared = 0
        self._squares = 0.0  # of the differences from the first number

    def take(self, item_id: str, value: Value) -> None:
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
        if not self._compared:
            return True
        if self._numbers:
            within = self._squares / self._compared / 2
            return within <= 0.5 * (within + float(np.var(list(self._numbers.values()))))
        items = len(self._first)
        by_chance = sum((count / items) ** 2 for count in Counter(self._first.values()).values())
        return self._same - by_chance * self._compared >= 0.5 * (1 - by_chance) * self._compared


class _Observed:
    """A column, and the type that its values allow."""

    def __init__(self, name: str, declared: ColumnType | None) -> None:
        self.name = name
        self._declared = declared or ("token_seq" if name == TITLE else None)
        if declared is None and name.lower().endswith("price"):
            self._declared = "float"
        self.unreadable = self.cut = 0
        self._sample: list[str] = []
        self._numbers = not name.lower().endswith("id")
        self._bare = True  # whether no tag holds a space or a separator
        self._tags = False
        self._type: ColumnType | None = None
        self._separator: str | None = None  # of tags that came as one text; "[" for lists in brackets

    def take(self, value: Value) -> str:
        """Observe a value, and return its text for the spool."""
        text = self._cleaned(value)
        if text and self._declared is None:
            self._numbers = self._numbers and is_number(text)
            if len(self._sample) < _SAMPLE:
                self._sample.append(text)
        return text

    def _cleaned(self, value: Value) -> str:
        if value is None or (isinstance(value, str) and self.name != TITLE and is_empty(value)):
            return ""
        if self._declared == "float":
            number = parse_price(value)
            self.unreadable += number is None
            return "" if number is None else show_number(number)
        if isinstance(value, float):
            return show_number(value)
        if isinstance(value, str):
            text = clean(value)
            self.cut += len(text) > MAX_PROSE_CHARS
            return clean(text, MAX_PROSE_CHARS)
        text = mark_tags(value)
        self._tags = True
        self._bare = self._bare and not _JOINED.search(text)
        return text

    @property
    def type(self) -> ColumnType:
        """The declared type, or the one that the values allow."""
        if self._type is None:
            self._type = self._declared or self._looks_like()
        return self._type

    def _looks_like(self) -> ColumnType:
        if self._tags:
            return "token_seq"
        if not self._sample or self._numbers:
            return "float" if self._sample else "token"
        bracketed = [value for value in self._sample if value[0] == "[" and value[-1] == "]"]
        if len(bracketed) >= 0.9 * len(self._sample):
            self._tags, self._separator, self._bare = True, "[", False
            return "token_seq"
        as_tags = kind_of(Column(self.name, "token_seq"), self._sample)
        separator = tag_separator(self._sample)
        if as_tags == "tags" and separator != " " and _is_tags(self._sample, separator):
            self._tags, self._separator, self._bare = True, separator, False
            return "token_seq"
        return "token_seq" if as_tags == "text" and _is_prose(self._sample) else "token"

    def show(self, text: str) -> str:
        """A spooled value as a field."""
        if not self._tags or not text:
            return safe_field(text)
        tags: Sequence[str] = text.split(TAG_MARK)
        if self._separator == "[":
            tags = mark_tags(_in_brackets(text)).split(TAG_MARK)
        elif self._separator is not None:
            tags = split_tags(text, self._separator)
        if self._bare:
            return safe_field(" ".join(tags))
        # The bar at the end shows the reader the separator, also where most items have a single tag.
        return safe_field("".join(tag.replace("|", "/") + "|" for tag in tags if tag))


def _is_tags(values: Sequence[str], separator: str) -> bool:
    parts = [part for value in values for part in split_tags(value, separator)]
    return sum(len(part.split()) for part in parts) <= _TAG_WORDS * len(parts)


def _is_prose(values: Sequence[str]) -> bool:
    return sum(len(value.split()) for value in values) >= _PROSE_WORDS * len(values)


def _in_brackets(text: str) -> list[str]:
    quoted = [single or double for single, double in _LISTED.findall(text)]
    return quoted or text.strip("[]").split(",")
