"""Tables of any format: the names of their columns, and their rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.trm_tool.data.importers.formats.csv_rows import Quotes, csv_layout, read_csv
from deeprec.trm_tool.data.importers.formats.json_document import document_rows, read_json_document
from deeprec.trm_tool.data.importers.formats.parquet_rows import parquet_columns, read_parquet
from deeprec.trm_tool.data.importers.lines import Reading

PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table in a file."""

    path: Path
    format: str
    names: tuple[str, ...]
    read: Callable[[Reading, Sequence[str]], Iterator[tuple[int, Sequence[Any]]]]
    """A function of the columns that are wanted; it yields the line of each row and its values."""
    notes: tuple[str, ...] = ()
    """What a person should know about how the file is read, one sentence each."""


def open_table(
    path: Path, *, delimiter: str | None = None, quotes: Quotes | None = None, encoding: str | None = None
) -> Table:
    """Open a table by the suffix of its file; the options are those of CSV, and None is found from the file.

    Raises:
        DataError: the file has no columns that can be read.
    """
    if path.suffix.lower() in PARQUET:
        return Table(
            path=path,
            format="parquet",
            names=tuple(parquet_columns(path)),
            read=lambda reading, columns: read_parquet(path, reading, columns=columns),
        )
    if path.suffix.lower() == ".json":
        names, rows = read_json_document(path)
        return Table(
            path=path,
            format="json",
            names=names,
            read=lambda reading, columns: document_rows(rows, columns),
        )
    layout = csv_layout(path, delimiter=delimiter, quotes=quotes, encoding=encoding)
    how = {"none": "plain text", "backslash": 'escaped as \\"'}
    found = layout.quotes in how and quotes is None
    return Table(
        path=path,
        format="csv",
        names=layout.header,
        read=lambda reading, columns: read_csv(path, reading, columns=columns, layout=layout),
        notes=(f"{path.name}: quotes are {how[layout.quotes]}, as that fits most rows.",) if found else (),
    )
