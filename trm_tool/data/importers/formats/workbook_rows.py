"""Rows of an Excel workbook (.xlsx): those of its first sheet that has any."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeprec.trm_tool.data.importers.formats.csv_rows import check_distinct
from deeprec.trm_tool.data.importers.lines import MAX_PACKING, Reading
from deeprec.trm_tool.errors import ConfigError, DataError, reason_of

_UNPACKED_FROM_BYTES = 2**26
"""A part of a workbook below this size may be packed as well as it likes."""


def workbook_columns(path: Path) -> list[str]:
    """Names of the columns: the texts of the first row that has any.

    Raises:
        DataError: the file is not a readable workbook, is empty, or two columns have the same name.
        ConfigError: openpyxl is not installed.
    """
    for _, row in _rows(path):
        names = ["" if cell is None else str(cell).strip() for cell in row]
        while names and not names[-1]:
            names.pop()
        check_distinct(names, path.name)
        return names
    raise DataError(f"{path} has no sheet with rows. Give its first row the names of the columns.")


def read_workbook(path: Path, reading: Reading, *, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """Rows as the values of `columns`, numbers and dates as such, each with the number of its row in the sheet."""
    chosen = [workbook_columns(path).index(name) for name in columns]
    rows = _rows(path)
    next(rows)
    for number, row in rows:
        yield number, [row[at] if at < len(row) else None for at in chosen]


def _rows(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    with _open(path) as book:
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # what the file says of its size is often wrong
            found = False
            for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                if any(cell is not None and str(cell).strip() for cell in row):
                    found = True
                    yield number, row
            if found:
                return


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise ConfigError(
            f"{path.name} is an Excel workbook, and openpyxl, which reads it, is not installed. Install it with "
            "`pip install 'deeprec-agent[xlsx]'`, or save the sheet as CSV."
        ) from None
    try:
        with zipfile.ZipFile(path) as parts:
            for part in parts.infolist():
                if part.file_size > max(_UNPACKED_FROM_BYTES, MAX_PACKING * part.compress_size):
                    raise DataError(
                        f"{path.name} has a part of {part.file_size:,} bytes in {part.compress_size:,}, as no sheet "
                        "has. Check where it comes from, or save the sheet as CSV."
                    )
        book = load_workbook(path, read_only=True, data_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Name an Excel workbook.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, InvalidFileException, SyntaxError) as error:
        raise DataError(
            f"{path} is not a readable Excel workbook ({reason_of(error)}). Save it as .xlsx or CSV again."
        ) from None
    try:
        yield book
    finally:
        book.close()
