"""An importer of a user's own: a function from a path to a `Source`, whose rows are checked as they pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.items import ItemRow, header_names
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.own_tables import cell_value
from deeprec.trm_tool.data.importers.source import ItemFile, Source, id_of, make_event
from deeprec.trm_tool.errors import ConfigError, DataError, DeepRecError
from deeprec.trm_tool.plugins import load_function

Importer: TypeAlias = Callable[[Path], Source]
"""A function from the path that the user named, a file or a folder, to the `Source` there."""


def load_importer(name: str) -> Importer:
    """Import an importer of a user's own by `module:function` or `path.py:function`. The code of its module is run.

    Raises:
        ConfigError: the file, module or function is missing, or the import fails.
    """
    return load_function(name, role="importer", takes="a path and returns a Source")


def own_source(importer: Importer, path: Path) -> Source:
    """The source that an importer finds at a path, with readers that check every row.

    An id, rating or time stamp that cannot be used is a bad row, as in the known formats.

    Raises:
        ConfigError: the importer returned something else than a `Source`.
        DataError: the importer failed; and later, from a reader, a row has another shape or the reader failed.
    """
    name = f"The importer {getattr(importer, '__name__', importer)}"
    with _failures(f"{name} failed on {path}", []):
        source = importer(path)
    if not isinstance(source, Source):
        raise ConfigError(
            f"{name} returned a {type(source).__name__} for {path}. Return a deeprec.trm_tool.data.Source, with the "
            "file of interactions and a function that reads it."
        )
    if source.items is None:
        return replace(source, read=lambda reading: _read_events(name, source, reading))
    file = source.items
    names = header_names([column for column, _ in file.columns], file.path.name)
    columns = tuple((column, declared) for column, (_, declared) in zip(names, file.columns, strict=True))
    return replace(
        source,
        read=lambda reading: _read_events(name, source, reading),
        items=replace(file, columns=columns, read=lambda reading: _read_items(name, file, reading)),
    )


def _read_events(name: str, source: Source, reading: Reading) -> Iterator[Event]:
    lines: list[int] = []
    with _failures(f"{name} failed on {source.path.name}", lines):
        for row in source.read(reading):
            _check_shape(name, row, 5, "(line, user, item, rating, time)")
            lines[:] = [row[0]]
            line, user, item, rating, time = row
            event = make_event(
                source.path.name,
                line,
                (user, item, None if rating != rating else rating, time),
                reading.bad,
                unrated=True,
            )
            if event is not None:
                yield event


def _read_items(name: str, file: ItemFile, reading: Reading) -> Iterator[ItemRow]:
    lines: list[int] = []
    with _failures(f"{name} failed on {file.path.name}", lines):
        for row in file.read(reading):
            _check_shape(name, row, 3, "(line, item id, values)")
            lines[:] = [row[0]]
            line, item, values = row
            if isinstance(values, str) or len(values) != len(file.columns):
                raise DataError(
                    f"{name} gave {repr(values)[:80]} at line {line} of {file.path.name}. Give one value for each of "
                    f"its {len(file.columns)} columns, None where there is none."
                )
            item_id = id_of(item, "item", file.path.name, line, reading.bad)
            if item_id is not None:
                yield line, item_id, [cell_value(value) for value in values]


def _check_shape(name: str, row: object, width: int, shape: str) -> None:
    if not isinstance(row, tuple | list) or len(row) != width or type(row[0]) is not int:
        raise DataError(f"{name} gave the row {repr(row)[:80]}. Give tuples of {shape}, the line being an int.")


@contextmanager
def _failures(what: str, lines: list[int]) -> Iterator[None]:
    """Raise DataError of one line for any error in a user's code; `lines` holds the last line that was read."""
    try:
        yield
    except DeepRecError:
        raise
    except Exception as error:
        after = f" after line {lines[0]}" if lines else ""
        raise DataError(
            f"{what}{after}: {type(error).__name__}: {error}. Correct it; rows that it cannot use belong into "
            "reading.bad.add(kind, file, line, why)."
        ) from error
