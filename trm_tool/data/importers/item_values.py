"""One column of imported items: its values are observed as they pass, and written once its kind is known."""

import re
from collections.abc import Sequence

from deeprec.trm_tool.data.column_kinds import kind_of
from deeprec.trm_tool.data.columns import Column, ColumnKind, ColumnType, is_number, split_tags, tag_separator
from deeprec.trm_tool.data.dates import DateOrder, find_order, is_day, iso_day
from deeprec.trm_tool.data.importers.values import (
    MAX_PROSE_CHARS,
    TAG_MARK,
    clean,
    decimal_mark,
    has_currency,
    is_empty,
    mark_tags,
    parse_amount,
    parse_price,
    safe_field,
    show_number,
)
from deeprec.trm_tool.errors import DataError

Value = str | float | Sequence[str] | None
"""Text, a number, tags, or None."""

TITLE = "title"
_SAMPLE = 5000
"""Values from which the type of a column is found; whether all are numbers is found from all."""
_PROSE_WORDS, _TAG_WORDS = 5, 3
"""Average words: at least those of prose, at most those of a tag."""
_JOINED = re.compile(rf"[^\S{TAG_MARK}]|[|;,]")  # the mark itself counts as white space
_LISTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
_PRICE_NAMES = ("price", "preis", "prix", "precio", "prezzo", "prijs", "cena")
_TYPES: dict[ColumnKind, ColumnType] = {
    "category": "token",
    "tags": "token_seq",
    "text": "token_seq",
    "number": "float",
    "date": "token",
}


class ObservedColumn:
    """A column, and the type that its values allow.

    Args:
        name: Its name in the atomic file.
        declared: The type that the format gives it; None finds it from the values.
        kind: The kind that the user says.
        order: Which of day and month stands first in dates; None finds it from the values.
    """

    def __init__(
        self, name: str, declared: ColumnType | None, kind: ColumnKind | None = None, order: DateOrder | None = None
    ) -> None:
        self.name, self.said = name, kind
        self._declared = declared or ("token_seq" if name == TITLE else None)
        if declared is None and name.lower().endswith(_PRICE_NAMES):
            self._declared = "float"
        if kind is not None:
            self._declared = _TYPES.get(kind, self._declared)
        self.unreadable = self.cut = 0
        self._sample: list[str] = []
        self._numbers = not name.lower().endswith("id")
        self._bare = True  # whether no tag holds a space or a separator
        self._tags = False
        self._dates = kind == "date"
        self._order = order
        self._type: ColumnType | None = None
        self._separator: str | None = None  # of tags that came as one text; "[" for lists in brackets
        self._mark: str | None = None  # the decimal mark of numbers that are not plain ones

    def take(self, value: Value) -> str:
        """Observe a value, and return its text for the spool."""
        text = self._cleaned(value)
        if text:
            self._numbers = self._numbers and is_number(text)
            if len(self._sample) < _SAMPLE:
                self._sample.append(text)
        return text

    def _cleaned(self, value: Value) -> str:
        if value is None or (isinstance(value, str) and self.name != TITLE and is_empty(value)):
            return ""
        if isinstance(value, (int, float)):
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
    def empty(self) -> bool:
        """Whether no item has a value."""
        return not self._sample

    @property
    def type(self) -> ColumnType:
        """The declared type, or the one that the values allow.

        Raises:
            DataError: the user says that these are dates, and none shows whether day or month stands first.
        """
        if self._type is None:
            self._type = self._settled()
        return self._type

    def _settled(self) -> ColumnType:
        if self.said == "tags" and not self._tags:
            self._take_apart(_separator_of(self._sample))
        elif self.said is not None and self.said != "tags":
            self._tags = False
        if self._dates or (self._declared is None and self._hold_dates()):
            self._settle_order()
            return "token"
        if self._declared is not None:
            self._mark = decimal_mark(self._sample) if self._declared == "float" else None
            return self._declared
        return self._looks_like()

    def _looks_like(self) -> ColumnType:
        if self._tags:
            return "token_seq"
        if not self._sample or self._numbers:
            return "float" if self._sample else "token"
        if _are_prices(self._sample):
            self._mark = decimal_mark(self._sample)
            return "float"
        bracketed = [value for value in self._sample if value[0] == "[" and value[-1] == "]"]
        if len(bracketed) >= 0.9 * len(self._sample):
            self._take_apart("[")
            return "token_seq"
        as_tags = kind_of(Column(self.name, "token_seq"), self._sample)
        separator = tag_separator(self._sample)
        if as_tags == "tags" and separator != " " and _is_tags(self._sample, separator):
            self._take_apart(separator)
            return "token_seq"
        return "token_seq" if as_tags == "text" and _is_prose(self._sample) else "token"

    def _take_apart(self, separator: str) -> None:
        self._tags, self._separator, self._bare = True, separator, False

    def _hold_dates(self) -> bool:
        if self._tags or self._numbers or not self._sample:
            return False
        days = sum(map(is_day, self._sample)) >= 0.95 * len(self._sample)
        return days and (self._order is not None or find_order(self._sample) != "unknown")

    def _settle_order(self) -> None:
        self._dates = True
        found = self._order or find_order(self._sample)
        if found == "unknown":
            raise DataError(
                f"The column {self.name!r} has dates such as {self._sample[0][:20]!r}, and none of them shows whether "
                "day or month stands first. Say it with --date-order day-first or month-first."
            )
        self._order = None if found == "any" else found

    def show(self, text: str) -> str:
        """A spooled value as a field."""
        kind = self.type
        if not text:
            return ""
        if self._dates:
            return self._or_unreadable(iso_day(text, self._order))
        if kind == "float" and not (self._numbers and self._declared is None):
            number = parse_amount(text, self._mark) if self.said else None
            number = parse_price(text, self._mark) if number is None else number
            if number is None and is_number(text) and (self.said or float(text) >= 0):  # 1e+20
                number = float(text)
            return self._or_unreadable(None if number is None else show_number(number))
        if not self._tags:
            return safe_field(text.replace(TAG_MARK, ", "))
        tags: Sequence[str] = text.split(TAG_MARK)
        if self._separator == "[":
            tags = mark_tags(_in_brackets(text)).split(TAG_MARK)
        elif self._separator is not None:
            tags = split_tags(text, self._separator)
        if self._bare:
            return safe_field(" ".join(tags))
        # The bar at the end shows the reader the separator, also where most items have a single tag.
        return safe_field("".join(tag.replace("|", "/") + "|" for tag in tags if tag))

    def _or_unreadable(self, text: str | None) -> str:
        self.unreadable += text is None
        return text or ""


def _separator_of(values: Sequence[str]) -> str:
    """The separator of values that the user calls tags: the first of bar, semicolon and comma that occurs, or none."""
    return next((mark for mark in "|;," if any(mark in value for value in values)), "\t")


def _is_tags(values: Sequence[str], separator: str) -> bool:
    parts = [part for value in values for part in split_tags(value, separator)]
    # A comma also stands inside names of groups, such as "Toys, Games": their parts occur together only.
    if separator == "," and len(set(parts)) > len(set(values)):
        return False
    return sum(len(part.split()) for part in parts) <= _TAG_WORDS * len(parts)


def _is_prose(values: Sequence[str]) -> bool:
    return sum(len(value.split()) for value in values) >= _PROSE_WORDS * len(values)


def _are_prices(values: Sequence[str]) -> bool:
    signs = sum(map(has_currency, values))
    return 2 * signs >= len(values) and sum(parse_price(v) is not None for v in values) >= 0.95 * len(values)


def _in_brackets(text: str) -> list[str]:
    quoted = [single or double for single, double in _LISTED.findall(text)]
    return quoted or text.strip("[]").split(",")
