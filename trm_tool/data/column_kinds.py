"""The kinds of the items' columns: said by the user, remembered from the import, or found by name and content."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import get_args

from deeprec.trm_tool.data.atomic_rows import AtomicFile
from deeprec.trm_tool.data.columns import (
    Column,
    ColumnKind,
    ColumnNames,
    choose_item,
    is_number,
    split_tags,
    tag_separator,
)
from deeprec.trm_tool.data.dates import find_order, is_day
from deeprec.trm_tool.data.folder import MARK
from deeprec.trm_tool.errors import ConfigError, DataError

MAX_EXAMPLES, MAX_EXAMPLE_CHARS = 3, 40
_PROSE_WORDS = 5
"""Average words of a value from which a column holds sentences."""
_ADDRESS = re.compile(r"(https?|ftp)://\S+|www\.\S+|data:\S+;base64,\S*|[^\s@]+@[^\s@]+\.[a-z]+", re.IGNORECASE)
_PROSE = ("description", "text", "review", "overview", "synopsis", "summary", "plot", "abstract", "body", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemColumn:
    """A column of the items beside the id and the title, and the kind that it is read as."""

    name: str
    kind: ColumnKind
    filled: int
    """Items that have a value."""
    examples: tuple[str, ...]
    """Values that occur, each once, at most three."""
    option: str
    """The option that says this kind, to paste into a shell and change."""


def parse_kinds(options: Iterable[str]) -> dict[str, ColumnKind]:
    """Column -> kind from options such as `brand_name=category`.

    Raises:
        ConfigError: an option is not NAME=KIND, the kind is unknown, or a column has two kinds.
    """
    kinds: dict[str, ColumnKind] = {}
    for option in options:
        name, _, kind = option.rpartition("=")
        name = name.strip()
        if not name or kind not in get_args(ColumnKind):
            raise ConfigError(
                f"--attribute is {option[:80]!r}. Give NAME=KIND, such as brand_name=category; the kinds are "
                f"{', '.join(get_args(ColumnKind))}."
            )
        if kinds.setdefault(name, kind) != kind:  # type: ignore[arg-type]  # checked just above
            raise ConfigError(f"--attribute gives {name[:80]!r} two kinds, {kinds[name]} and {kind}. Give one.")
    return kinds


def remembered_kinds(mark: Path) -> dict[str, ColumnKind]:
    """The kinds that an import wrote into the mark of its folder; none where it wrote none."""
    try:
        kinds = json.loads(mark.read_text(encoding="utf-8"))["kinds"]
        return {str(name): kind for name, kind in kinds.items() if kind in get_args(ColumnKind)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def check_kinds(columns: Collection[str], names: ColumnNames, file: str) -> None:
    """Raise DataError where the user named a column of the items that the file lacks."""
    for option, named in (("--text-columns", names.text), ("--attribute", names.kinds)):
        for name in named:
            if name not in columns:
                raise DataError(f"{file}:1 has no column {name!r}; it has {', '.join(columns)}. Correct {option}.")


def column_kind(
    column: Column, values: Sequence[str], names: ColumnNames, remembered: Mapping[str, ColumnKind]
) -> ColumnKind:
    """The kind of an item column: as the user says it, as the import remembered it, or by name and values."""
    if column.name in names.kinds:
        return names.kinds[column.name]
    if column.name in names.text:
        return "text"
    if column.name in remembered:
        return remembered[column.name]
    return "ignore" if column.type == "float_seq" else kind_of(column, values)


def describe_columns(path: Path, names: ColumnNames) -> tuple[ItemColumn, ...]:
    """Describe the columns of an `.item` file for people; lines that cannot be read are left out.

    Raises:
        DataError: the header cannot be read, or a column that was named is missing.
    """
    file = AtomicFile(path, on_bad=lambda *_: None)
    check_kinds([column.name for column in file.columns], names, file.name)
    id_at, title_at = choose_item(file.columns, names, file.name)
    table, remembered = [fields for _, _, fields in file], remembered_kinds(path.with_name(MARK))
    described = []
    for at, column in enumerate(file.columns):
        if at not in (id_at, title_at):
            values = [fields[at].strip() for fields in table]
            described.append(item_column(column.name, column_kind(column, values, names, remembered), values))
    return tuple(described)


def item_column(name: str, kind: ColumnKind, values: Sequence[str]) -> ItemColumn:
    """Describe a column for people."""
    filled = [value for value in values if value]
    examples: dict[str, None] = {}
    for value in filled:
        examples[value if len(value) <= MAX_EXAMPLE_CHARS else value[: MAX_EXAMPLE_CHARS - 1] + "…"] = None
        if len(examples) == MAX_EXAMPLES:
            break
    return ItemColumn(
        name=name,
        kind=kind,
        filled=len(filled),
        examples=tuple(examples),
        option=f"--attribute {quote(f'{name}={kind}')}",
    )


def kind_of(column: Column, values: Sequence[str]) -> ColumnKind:
    """The kind of an item column by its name and values.

    A column whose values almost no two items share (an original title), or that holds sentences few share, is prose.
    """
    name = column.name.lower()
    filled = [value for value in values if value.strip()]
    if column.type == "float":
        return "number"
    if filled and sum(bool(_ADDRESS.fullmatch(value.strip())) for value in filled) >= 0.9 * len(filled):
        return "ignore"
    if name in _PROSE or (name.endswith(("title", "name")) and not _repeat(filled)):
        return "text"
    if column.type == "token":
        if filled and not name.endswith("id") and sum(map(is_number, filled)) >= 0.95 * len(filled):
            return "number"
        if filled and sum(map(is_day, filled)) >= 0.95 * len(filled) and find_order(filled) != "unknown":
            return "date"
        if _tell_items_apart(filled):
            return "ignore" if name.endswith("id") and _are_ids(filled) else "text"
        return "category"
    separator = tag_separator(filled)
    tags = Counter(tag for value in filled for tag in split_tags(value, separator))
    per_item = tags.total() / max(len(filled), 1)
    rare = len(filled) >= 20 and tags.total() < 2 * len(tags)
    return "text" if per_item > 12 or rare else "tags"


def _repeat(filled: Sequence[str]) -> bool:
    """Whether values recur so often that they are names of groups, such as brands."""
    return len(filled) >= 10 and 2 * len(set(filled)) <= len(filled) and not _tell_items_apart(filled)


def _are_ids(filled: Sequence[str]) -> bool:
    """Whether no value has a space: a key into another table, which no encoder of text understands."""
    return not any(" " in value for value in filled)


def _tell_items_apart(filled: Sequence[str]) -> bool:
    """Whether values tell items apart rather than group them: nine in ten differ, or half of them and are sentences."""
    distinct = len(set(filled))
    if len(filled) < 10:
        return False
    sentences = sum(len(value.split()) for value in filled) >= _PROSE_WORDS * len(filled)
    return distinct > (0.5 if sentences else 0.9) * len(filled)
