"""Rows of JSON lines: one object a line, also compressed."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.data.importers.lines import BadRows, Reading, read_lines
from deeprec.trm_tool.data.importers.nested_values import parse_nested
from deeprec.trm_tool.errors import DataError

_FIRST_ROWS = 1000
"""Rows in which the columns are looked for."""


def json_columns(path: Path, encoding: str | None = None) -> list[str]:
    """Names of the columns: keys of the first 1,000 objects, those of an object inside as `outer.inner`.

    An object inside is taken apart where all rows have the same keys in it; one whose keys vary is a set of tags.

    Raises:
        DataError: the file holds no object.
    """
    found: dict[str, set[tuple[str, ...]]] = {}
    for _, row in islice(_objects(path, Reading(BadRows(drop=True)), encoding), _FIRST_ROWS):
        for key, value in row.items():
            keys = tuple(map(str, value)) if isinstance(value, Mapping) else ()
            if value is not None:
                found.setdefault(str(key), set()).add(keys)
            else:
                found.setdefault(str(key), set())
    if not found:
        raise DataError(f"{path} has no JSON object. Give it one a line.")
    names: list[str] = []
    for key, shapes in found.items():
        [shape] = shapes if len(shapes) == 1 else [()]
        names += [f"{key}.{inner}" for inner in shape] or [key]
    return list(dict.fromkeys(names))


def read_json(
    path: Path, reading: Reading, *, columns: Sequence[str], encoding: str | None = None
) -> Iterator[tuple[int, list[Any]]]:
    """Rows as the values of `columns`, each with its line; None for a missing key."""
    ways = [(name, name.rpartition(".")) for name in columns]
    for line, row in _objects(path, reading, encoding):
        values = []
        for name, (outer, _, inner) in ways:
            within = row.get(outer)
            values.append(within.get(inner) if name not in row and isinstance(within, Mapping) else row.get(name))
        yield line, values


def _objects(path: Path, reading: Reading, encoding: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, row in _lined(path, reading, encoding):
        if isinstance(row, Mapping):
            yield line, row
        else:
            why = f"is {str(row)[:60]!r}, which is not a JSON object."
            reading.bad.add("lines that are not a JSON object", path.name, line, why)


def _lined(path: Path, reading: Reading, encoding: str | None) -> Iterator[tuple[int, Any]]:
    for line, text in read_lines(path, reading, encoding):
        if text.strip():
            try:
                yield line, parse_json(text)
            except ValueError:
                yield (
                    line,
                    parse_nested(text) or text.strip(),
                )  # some sets have Python's way of writing in place of JSON
