"""Tables of any format: the names of their columns, and their rows."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deeprec.trm_tool.data.importers.formats.csv_rows import Quotes, csv_layout, read_csv
from deeprec.trm_tool.data.importers.formats.json_document import document_rows, is_json_document, read_json_document
from deeprec.trm_tool.data.importers.formats.json_rows import json_columns, read_json
from deeprec.trm_tool.data.importers.formats.parquet_rows import parquet_columns, read_parquet
from deeprec.trm_tool.data.importers.formats.workbook_rows import read_workbook, workbook_columns
from deeprec.trm_tool.data.importers.lines import Reading, bare_suffix
from deeprec.trm_tool.errors import ConfigError

PARQUET, JSON, WORKBOOK = (".parquet", ".pq"), (".json", ".jsonl", ".ndjson"), (".xlsx", ".xlsm")
TEXT = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab")
SUFFIXES = (*TEXT, *PARQUET, *JSON, *WORKBOOK)
_INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
"""Names of a column that pandas adds for the numbers of the rows."""


def format_of(path: Path) -> str:
    """The format of a table by the suffix of its file: csv, parquet, json or xlsx."""
    formats = {**dict.fromkeys(PARQUET, "parquet"), **dict.fromkeys(JSON, "json"), **dict.fromkeys(WORKBOOK, "xlsx")}
    return formats.get(bare_suffix(path), "csv")


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
    path: Path,
    *,
    delimiter: str | None = None,
    quotes: Quotes | None = None,
    encoding: str | None = None,
    header: Sequence[str] | None = None,
    stamps: bool = True,
) -> Table:
    """Open a table by the suffix of its file.

    Args:
        path: CSV where the suffix is not known, plain or packed.
        delimiter: The character between the columns of CSV; None finds it.
        quotes: How CSV writes quotes inside quoted fields; None finds it.
        encoding: The encoding of CSV or JSON.
        header: Names of the columns of CSV without a header.
        stamps: Whether time stamps of Parquet stay whole numbers in their own unit; otherwise they are days.

    Raises:
        DataError: the file has no columns that can be read.
    """
    kind, notes = format_of(path), list[str]()
    read: Callable[..., Iterator[tuple[int, Sequence[Any]]]]
    if header is not None and kind != "csv":
        raise ConfigError(f"--header names the columns of CSV without a header, and {path.name} is none. Leave it out.")
    if kind == "parquet":
        names, read = parquet_columns(path), partial(read_parquet, stamps=stamps)
    elif kind == "json" and is_json_document(path):
        document, rows = read_json_document(path)
        names, read = list(document), lambda _path, _reading, columns: document_rows(rows, columns)
    elif kind == "json":
        names, read = json_columns(path, encoding), partial(read_json, encoding=encoding)
    elif kind == "xlsx":
        names, read = workbook_columns(path), read_workbook
    else:
        layout = csv_layout(path, delimiter=delimiter, quotes=quotes, encoding=encoding, header=header)
        names, read = list(layout.header), partial(read_csv, layout=layout)
        how = {"none": "plain text", "backslash": 'escaped as \\"'}.get(layout.quotes)
        if how and quotes is None:
            notes.append(f"{path.name}: quotes are {how}, as that fits most rows.")
    if unnamed := sum(bool(_INDEX.fullmatch(name)) for name in names):
        notes.append(f"{path.name}: columns without a name of their own ({unnamed}) are left out.")
    return Table(
        path=path,
        format=kind,
        names=tuple(name for name in names if not _INDEX.fullmatch(name)),
        read=lambda reading, columns: read(path, reading, columns=columns),
        notes=tuple(notes),
    )
