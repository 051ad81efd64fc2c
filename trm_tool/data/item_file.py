"""Items to add to a catalogue or to update in it, read from a RecBole `.item` file or a table."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeprec.trm_tool.catalogue.catalogue import AttributeValue, Catalogue, Item, encoder_text
from deeprec.trm_tool.data.atomic_files import DETECT, parse_values
from deeprec.trm_tool.data.atomic_rows import AtomicFile
from deeprec.trm_tool.data.column_kinds import kind_of
from deeprec.trm_tool.data.columns import Column, ColumnKind, ColumnNames, choose, split_tags, tag_separator
from deeprec.trm_tool.data.dates import is_day
from deeprec.trm_tool.data.importers.item_values import ObservedColumn
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.own_tables import TableOptions, item_table
from deeprec.trm_tool.errors import DataError


def read_items(
    path: Path, catalogue: Catalogue, *, columns: ColumnNames = DETECT, whole: bool = False
) -> tuple[Item, ...]:
    """Read items as the catalogue's own were read, with the kinds of its attributes.

    Args:
        path: An `.item` file (UTF-8, tab-separated, with a header such as `item_id:token`), or a table of any format
            that an import takes, such as CSV or Parquet.
        catalogue: Its attributes are the columns; any other column must be prose.
        columns: Names of columns; those left out are found by name and content.
        whole: Refuse a file without a title or an attribute of the catalogue, which updated items would lose.

    Raises:
        DataError: one line that names the file, the line, what was seen and what to do.
    """
    rows = _open(Path(path), catalogue, columns)
    header = [column.name for column in rows.columns]
    id_at = choose(rows.columns, columns.item if isinstance(rows, AtomicFile) else None, "item", rows.name) or 0
    title_at = choose(rows.columns, columns.title if isinstance(rows, AtomicFile) else None, "title", rows.name)
    lacking = [name for name in (*columns.text, *(catalogue.attribute_kinds if whole else ())) if name not in header]
    if whole and title_at is None:
        lacking.insert(0, "title")
    if lacking:
        reason = "an update replaces whole items. Give all columns" if whole else "it was named. Correct --text-columns"
        raise DataError(f"{rows.name}:1 has no column {lacking[0]!r}; it has {', '.join(header)}, and {reason}.")
    lines: dict[str, int] = {}
    table: list[list[str]] = []
    for number, _, fields in rows:
        item_id = fields[id_at].strip()
        if not item_id:
            raise DataError(f"{rows.name}:{number} has no item id. Give every item an id.")
        if item_id in lines:
            raise DataError(f"{rows.name}:{number} repeats item {item_id[:80]!r} of line {lines[item_id]}. Keep one.")
        lines[item_id] = number
        table.append(fields)

    known_text = {*columns.text, *catalogue.text_columns}
    values: dict[str, Sequence[AttributeValue | None]] = {}
    prose: list[int] = []
    for at, column in enumerate(rows.columns):
        if at in (id_at, title_at) or (column.type == "float_seq" and column.name not in columns.text):
            continue
        raw = [fields[at].strip() for fields in table]
        kind = catalogue.attribute_kinds.get(column.name)
        if kind == "tags":
            values[column.name] = _tags(raw, _known_tags(catalogue, column.name))
        elif kind is not None:
            values[column.name] = parse_values(raw, column, kind, rows.name, list(lines.values()))
        elif column.name in known_text or (found := kind_of(column, raw)) == "text":
            prose.append(at)
        elif found != "ignore":
            known = ", ".join(catalogue.attribute_kinds) or "none"
            raise DataError(
                f"{rows.name}:1 has the column {column.name!r}, an attribute that the catalogue lacks; it has {known}. "
                "Leave the column out, or name it with --text-columns if it is prose."
            )
    order = {name: at for at, name in enumerate(catalogue.text_columns)}
    prose.sort(key=lambda at: order.get(header[at], len(order)))  # the texts of the catalogue's items have this order
    items = []
    for row, (item_id, fields) in enumerate(zip(lines, table, strict=True)):
        attributes = {
            name: value
            for name in catalogue.attribute_kinds
            if name in values and (value := values[name][row]) is not None
        }
        title = (fields[title_at].strip() if title_at is not None else "") or item_id
        text = encoder_text(title, attributes, catalogue.year_attributes, [fields[at].strip() for at in prose])
        items.append(Item(id=item_id, title=title, text=text, attributes=attributes))
    return tuple(items)


@dataclass(frozen=True, slots=True)
class _TableRows:
    """A table in the form of an atomic file."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[tuple[int, str, list[str]]]

    def __iter__(self) -> Iterator[tuple[int, str, list[str]]]:
        return iter(self.rows)


def _open(path: Path, catalogue: Catalogue, columns: ColumnNames) -> AtomicFile | _TableRows:
    if path.suffix == ".item":
        return AtomicFile(path)
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}. Name a file of items.")
    file = item_table(path, TableOptions(columns=columns))
    kinds = _kinds(catalogue, (*columns.text, *catalogue.text_columns))
    observed = [ObservedColumn(name, declared, kinds.get(name)) for name, declared in file.columns]
    taken = [
        (line, item_id, [column.take(value) for column, value in zip(observed, values, strict=True)])
        for line, item_id, values in file.read(Reading())
    ]
    rows = [
        (line, "", [item_id, *(column.show(text) for column, text in zip(observed, texts, strict=True))])
        for line, item_id, texts in taken
    ]
    for column in observed:
        if column.unreadable:
            raise DataError(
                f"{path.name} has {column.unreadable} values of {column.name!r} that cannot be read as "
                f"{kinds.get(column.name, column.type)}. Correct them, or leave them empty."
            )
    named = [Column("item_id", "token"), *(Column(column.name, column.type) for column in observed)]
    return _TableRows(path.name, named, rows)


def _kinds(catalogue: Catalogue, prose: Sequence[str]) -> dict[str, ColumnKind]:
    """The kinds of the columns of prose and of the catalogue's attributes, dates among them."""
    kinds: dict[str, ColumnKind] = {**dict.fromkeys(prose, "text"), **catalogue.attribute_kinds}
    for name in [name for name, kind in kinds.items() if kind == "category"]:
        values = [str(item.attributes[name]) for item in catalogue if name in item.attributes]
        if values and all(map(is_day, values)):
            kinds[name] = "date"
    return kinds


def _tags(raw: Sequence[str], known: Collection[str]) -> list[AttributeValue | None]:
    """Split tags by the separator that the catalogue's own tags allow, since few rows show it badly."""
    separator = tag_separator(raw, known)
    return [(value,) if value in known else split_tags(value, separator) or None for value in raw]


def _known_tags(catalogue: Catalogue, name: str) -> set[str]:
    return {tag for item in catalogue if isinstance(tags := item.attributes.get(name), tuple) for tag in tags}
