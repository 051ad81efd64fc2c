"""A table in one JSON document: a list of objects, or an object of objects whose keys name the rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.data.importers.lines import first_line, open_binary
from deeprec.trm_tool.errors import DataError, reason_of

KEY = "key"
"""Column of the keys of an object of objects."""
MAX_BYTES = 256 * 2**20
_FORMS = 'a list such as [{"id": "1", "plot": "…"}], or an object such as {"1": {"plot": "…"}}'


def is_json_document(path: Path) -> bool:
    """Whether a file is one document, and not one object a line."""
    line = first_line(path)
    if line.startswith("["):
        return True
    try:
        first = parse_json(line)
    except ValueError:
        return line.startswith("{") and not line.endswith("}")  # an object over several lines
    return isinstance(first, dict) and bool(first) and all(isinstance(row, dict) for row in first.values())


def read_json_document(path: Path) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Names of the columns, in the order in which they come, and the rows. The document is held in memory.

    Raises:
        DataError: the file is larger than `MAX_BYTES`, is not JSON, or has another form.
    """
    with open_binary(path, lambda: 0) as (file, _):
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(
            f"{path} is one JSON document of over {MAX_BYTES:,} bytes. Write its objects one a line (.jsonl)."
        )
    try:
        document = parse_json(data.decode("utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({reason_of(error)}). Give {_FORMS}.") from None
    if isinstance(document, dict):
        rows = [{KEY: key, **row} for key, row in document.items() if isinstance(row, dict)]
    else:
        rows = [row for row in document if isinstance(row, dict)] if isinstance(document, list) else []
    if not rows or len(rows) < len(document):
        raise DataError(f"{path} is JSON of another form. Give {_FORMS}.")
    return tuple(dict.fromkeys(name for row in rows for name in row)), rows


def document_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """The values of columns, each row with its 1-based number; what a row lacks is None."""
    for number, row in enumerate(rows, start=1):
        yield number, [row.get(name) for name in columns]
