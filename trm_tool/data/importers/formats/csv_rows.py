"""Rows of CSV files, whichever character separates their columns and however they write quotes."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from deeprec.trm_tool.data.importers.lines import MAX_LINE_BYTES, BadRows, Reading, first_line, has_byte, read_lines
from deeprec.trm_tool.errors import ConfigError, DataError

Quotes = Literal["doubled", "backslash", "none"]
"""How a file writes a quote inside a quoted field: as `""` or as `\\"`; or its quotes are plain text."""

_DELIMITERS = (",", "\t", ";", "|")
_OPTIONS: dict[Quotes, dict[str, Any]] = {
    "doubled": {"strict": True},
    "backslash": {"strict": True, "escapechar": "\\"},
    "none": {"quoting": csv.QUOTE_NONE},
}
_SEPARATOR = re.compile(r"\ufeff?sep=(.)", re.IGNORECASE)
"""The line that Excel puts before a header, to say which character separates columns."""
_FEW_COLUMNS, _MANY_LINES = 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvLayout:
    """How a CSV file is written."""

    header: tuple[str, ...]
    """Names of the columns, without white space around them."""
    delimiter: str
    quotes: Quotes = "doubled"
    encoding: str | None = None
    """None is UTF-8, or the encoding of the byte order mark."""
    headless: bool = False
    """The first line is a row already."""


def csv_layout(
    path: Path,
    *,
    delimiter: str | None = None,
    quotes: Quotes | None = None,
    encoding: str | None = None,
    header: Sequence[str] | None = None,
) -> CsvLayout:
    """Find how a CSV file is written; what is given is taken as it is.

    The delimiter is the most frequent of comma, tab, semicolon and bar in the first line. Quotes are read in the way
    that leaves the fewest rows unreadable, which takes one pass over a file that has any, and three where none is left
    without such rows. `header` names the columns of a file whose first line is a row already.

    Raises:
        DataError: the file is empty, has one column, two columns of one name, or more than `header` names.
        ConfigError: the delimiter is not one character.
    """
    delimiter = delimiter or _find_delimiter(path)
    if len(delimiter) != 1:
        raise ConfigError(f"--delimiter is {delimiter!r}. Give one character, such as ';'.")
    layout = CsvLayout(header=(), delimiter=delimiter, quotes=quotes or "doubled", encoding=encoding)
    _, fields = next(_records(path, Reading(), layout), (0, []))
    if not fields:
        raise _empty(path)
    if header is not None and len(header) != len(fields):
        raise DataError(
            f"{path.name}:1 has {len(fields)} fields separated by {delimiter!r}, and --header names {len(header)}. "
            "Name every column, or the --delimiter."
        )
    names = tuple(field.strip() for field in (fields if header is None else header))
    check_distinct(names, path.name)
    layout = replace(layout, header=names, headless=header is not None)
    if quotes is not None or not has_byte(path, b'"'):
        return layout
    best, fewest = layout, _misfits(path, layout)
    for other in ("backslash", "none"):
        if not fewest:
            break
        tried = replace(layout, quotes=other)
        misfits = _misfits(path, tried)
        if misfits < fewest:
            best, fewest = tried, misfits
    return best


def read_csv(
    path: Path,
    reading: Reading,
    *,
    columns: Sequence[str],
    layout: CsvLayout | None = None,
    delimiter: str | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file as the texts of `columns`, each with the line that it begins on.

    A column is found in whatever case the header writes it, and with or without underscores.

    Raises:
        DataError: a column is missing, or a row cannot be parsed, for example because a quote is never closed.
    """
    layout = layout or csv_layout(path, delimiter=delimiter)
    chosen = [_position(name, layout.header, path) for name in columns]
    records = _records(path, reading, layout)
    if not layout.headless:
        next(records)
    for line, fields in records:
        while len(fields) > len(layout.header) and not fields[-1].strip():
            fields.pop()  # a delimiter at the end of every row
        if len(fields) != len(layout.header):
            reading.bad.add(
                "lines with a wrong number of fields",
                path.name,
                line,
                f"has {len(fields)} fields separated by {layout.delimiter!r} where the header has "
                f"{len(layout.header)}.",
            )
            continue
        yield line, [fields[at] for at in chosen]


def check_distinct(names: Sequence[str], file: str) -> None:
    """Raise DataError where two columns have the same name."""
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        raise DataError(f"{file}:1 has two columns called {repeated[0]!r}. Rename one of them.")


def _position(name: str, header: Sequence[str], path: Path) -> int:
    if name in header:
        return header.index(name)
    bare = [each.replace("_", "").casefold() for each in header]
    if bare.count(name.replace("_", "").casefold()) == 1:
        return bare.index(name.replace("_", "").casefold())
    raise DataError(f"{path.name}:1 has no column {name!r}; it has {', '.join(header)[:300]}. Correct the header.")


def _find_delimiter(path: Path) -> str:
    header = first_line(path)
    if not header:
        raise _empty(path)
    if named := _SEPARATOR.fullmatch(header.strip()):
        return named.group(1)
    outside = "".join(header.split('"')[::2]) or header  # a quoted name may hold a comma
    counts = Counter({delimiter: outside.count(delimiter) for delimiter in _DELIMITERS})
    delimiter, count = counts.most_common(1)[0]
    if not count:
        raise DataError(
            f"{path.name}:1 is {header[:80]!r}, in which no comma, tab, semicolon or bar separates columns. Give the "
            "file a header, or name its delimiter with --delimiter."
        )
    return delimiter


def _misfits(path: Path, layout: CsvLayout) -> int:
    """Rows that cannot be read in a layout; without quoting, those that have quotes around a whole field too."""
    bad = BadRows(drop=True)
    around = sum(
        any(len(field) > 1 and field[0] == field[-1] == '"' for field in map(str.strip, fields))
        for _, fields in read_csv(path, Reading(bad), columns=[name for name in layout.header if name], layout=layout)
        if layout.quotes == "none"
    )
    return bad.counts.total() + around


def _records(path: Path, reading: Reading, layout: CsvLayout) -> Iterator[tuple[int, list[str]]]:
    """Fields of each record, the header among them, with the line it begins on; blank lines are skipped.

    Of a record that cannot be read only the first line is lost, where bad rows may be dropped.
    """
    limit = csv.field_size_limit(MAX_LINE_BYTES)
    ahead: list[tuple[int, str]] = []  # lines to read again, the next one last
    taken: list[tuple[int, str]] = []  # lines of the record that is read
    source = read_lines(path, reading, layout.encoding)

    def lines() -> Iterator[str]:
        while line := ahead.pop() if ahead else next(source, None):
            if line[0] == 1 and _SEPARATOR.fullmatch(line[1].strip()):
                continue
            taken.append(line)
            yield line[1]

    def skip_first(kind: str, why: str) -> None:
        reading.bad.add(kind, path.name, taken[0][0], why)
        ahead.extend(reversed(taken[1:]))

    try:
        while True:
            try:
                for fields in csv.reader(lines(), delimiter=layout.delimiter, **_OPTIONS[layout.quotes]):
                    if len(taken) > 1 and _joins_rows([text for _, text in taken], layout):
                        last = taken[-1][0]
                        why = (
                            f"opens a quote that line {last} closes, and the lines between look like rows of their "
                            "own. Close it, or read quotes as plain text with --quotes none."
                        )
                        skip_first("rows that an open quote joins", why)
                        taken.clear()
                        break
                    if any(field.strip() for field in fields):
                        yield taken[0][0], fields
                    taken.clear()
                else:
                    return
            except csv.Error as error:
                why = (
                    f"cannot be parsed as CSV ({error}). Look for a quote that is never closed, or name another "
                    "--delimiter or --quotes."
                )
                skip_first("lines that cannot be parsed as CSV", why)
                taken.clear()
    finally:
        csv.field_size_limit(limit)


def _joins_rows(lines: Sequence[str], layout: CsvLayout) -> bool:
    """Whether the lines of one record look like rows of their own, joined by a quote that was not meant as one."""
    width = len(layout.header)
    if not width or (width <= _FEW_COLUMNS and len(lines) < _MANY_LINES):
        return False  # lines of a description may well have a comma each
    if any(line.count(layout.delimiter) != width - 1 for line in lines):
        return False
    first, *others = (line.partition(layout.delimiter)[0].strip() for line in lines)
    return " " in first or all(other and " " not in other for other in others)


def _empty(path: Path) -> DataError:
    return DataError(f"{path} is empty. Give it a header such as user_id,item_id,timestamp and one row a line.")
