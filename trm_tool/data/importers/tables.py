"""CSV and Parquet tables are read as rows of chosen columns."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeprec.trm_tool.data.importers.lines import MAX_LINE_BYTES, Reading, first_line, read_lines
from deeprec.trm_tool.errors import ConfigError, DataError, reason_of

_DELIMITERS = (",", "\t", ";", "|")
_BATCH_ROWS = 2**15


def csv_delimiter(path: Path) -> str:
    """The delimiter: whichever of comma, tab, semicolon and bar is most frequent in the header."""
    header = first_line(path)
    if not header:
        raise DataError(f"{path} is empty. Give it a header such as user_id,item_id,timestamp and one row a line.")
    counts = Counter({delimiter: header.count(delimiter) for delimiter in _DELIMITERS})
    delimiter, count = counts.most_common(1)[0]
    if not count:
        raise DataError(
            f"{path.name}:1 is {header[:80]!r}, in which no comma, tab, semicolon or bar separates columns. Give the "
            "file a header, or name its delimiter with --delimiter."
        )
    return delimiter


def csv_header(path: Path, reading: Reading, *, delimiter: str | None = None, encoding: str | None = None) -> list[str]:
    """Names of the columns of a CSV file, without white space around them.

    Raises:
        DataError: the file is empty, or two columns have the same name.
    """
    delimiter = delimiter or csv_delimiter(path)
    for _, fields in _records(path, reading, delimiter, encoding):
        names = [field.strip() for field in fields]
        _check_distinct(names, path.name)
        return names
    raise DataError(f"{path} is empty. Give it a header such as user_id,item_id,timestamp and one row a line.")


def read_csv(
    path: Path,
    reading: Reading,
    *,
    columns: Sequence[str],
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file as the texts of `columns`, each with the line that it begins on.

    Raises:
        DataError: a column is missing, or the file cannot be parsed, for example because a quote is never closed.
    """
    delimiter = delimiter or csv_delimiter(path)
    header = csv_header(path, reading, delimiter=delimiter, encoding=encoding)
    for name in columns:
        if name not in header:
            has = ", ".join(header)[:300]
            raise DataError(f"{path.name}:1 has no column {name!r}; it has {has}. Correct the header.")
    chosen = [header.index(name) for name in columns]
    records = _records(path, reading, delimiter, encoding)
    next(records)
    for line, fields in records:
        if len(fields) != len(header):
            reading.bad.add(
                "lines with a wrong number of fields",
                path.name,
                line,
                f"has {len(fields)} fields separated by {delimiter!r} where the header has {len(header)}.",
            )
            continue
        yield line, [fields[at] for at in chosen]


def _records(path: Path, reading: Reading, delimiter: str, encoding: str | None) -> Iterator[tuple[int, list[str]]]:
    """Fields of each record, the header among them, with the line it begins on; blank lines are skipped."""
    if len(delimiter) != 1:
        raise ConfigError(f"--delimiter is {delimiter!r}. Give one character, such as ';'.")
    limit = csv.field_size_limit(MAX_LINE_BYTES)
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for number, text in read_lines(path, reading, encoding):
            last = number
            yield text

    begins = 1
    try:
        for fields in csv.reader(lines(), delimiter=delimiter, strict=True):
            if any(field.strip() for field in fields):
                yield begins, fields
            begins = last + 1
    except csv.Error as error:
        raise DataError(
            f"{path.name}:{begins} cannot be parsed as CSV ({error}). Look for a quote that is never closed, or name "
            "another --delimiter."
        ) from None
    finally:
        csv.field_size_limit(limit)


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file.

    Raises:
        DataError: the file is not readable Parquet, or two columns have the same name.
    """
    with _open_parquet(path, lambda: 0) as file:
        names = list(file.schema_arrow.names)
    _check_distinct(names, path.name)
    return names


def read_parquet(path: Path, reading: Reading, *, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """Rows of a Parquet file as Python values of `columns`, each with its 1-based number.

    Time stamps are whole numbers in their own unit, dates are days.
    """
    number = 0
    with _open_parquet(path, lambda: number) as file:
        rows, size = max(file.metadata.num_rows, 1), path.stat().st_size
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
            if reading.on_bytes:
                reading.on_bytes(size * number // rows)
            for row in zip(*(_as_values(batch.column(name)) for name in columns), strict=True):
                number += 1
                yield number, list(row)


def _as_values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_date(column.type):
        return column.cast(pa.date32()).cast(pa.int32()).to_pylist()  # type: ignore[no-any-return]
    return column.to_pylist()  # type: ignore[no-any-return]


def _check_distinct(names: Sequence[str], file: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{file}:1 has two columns called {repeated[0]!r}. Rename one of them.")


@contextmanager
def _open_parquet(path: Path, at: Callable[[], int]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Name a Parquet file.") from None
    except (pa.ArrowException, OSError) as error:
        where = f"is damaged after row {at()}" if at() else "is not a readable Parquet file"
        raise DataError(f"{path} {where} ({reason_of(error)}). Copy it again.") from None
