"""A strict reader of RecBole's atomic files: rows that cannot be used are named by file and line, never repaired."""

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from deeprec.trm_tool.catalogue.catalogue import AttributeKind, AttributeValue, Catalogue, Item, encoder_text
from deeprec.trm_tool.data.atomic_rows import NO_ROWS, AtomicFile, BadGroup, OnBad, SeenLines, refuse
from deeprec.trm_tool.data.column_kinds import check_kinds, column_kind, remembered_kinds
from deeprec.trm_tool.data.columns import (
    Column,
    ColumnKind,
    ColumnNames,
    choose_event,
    choose_item,
    is_number,
    split_tags,
    tag_separator,
)
from deeprec.trm_tool.data.dataset import MIN_INTERACTIONS, Dataset
from deeprec.trm_tool.data.dates import find_order, iso_day
from deeprec.trm_tool.data.folder import MARK, is_timeless
from deeprec.trm_tool.data.importers.lines import BadRows, logged_rows
from deeprec.trm_tool.errors import ConfigError, DataError

DETECT = ColumnNames()
_TIME_REMEDY = "Put seconds since 1970 or name another column with --time-column"
_LAYOUT = "a folder with one NAME.inter and one NAME.item, tab-separated, with a header such as user_id:token"


def embedded_ml100k() -> Path:
    """Folder of the ml-100k files inside the installed RecBole package, which are read in place.

    Raises:
        ConfigError: RecBole is not installed.
    """
    try:
        folder = Path(str(metadata.distribution("recbole").locate_file("recbole/dataset_example/ml-100k")))
    except metadata.PackageNotFoundError:
        folder = None
    if folder is None or not folder.is_dir():
        raise ConfigError(
            "The ml-100k data comes with RecBole 1.2.1, which is not installed. "
            "Install it with `pip install 'deeprec-agent[trm]'`, or name data of your own."
        )
    return folder


def read_atomic_files(
    folder: Path,
    *,
    columns: ColumnNames = DETECT,
    drop_bad_rows: bool = False,
    dropped_rows: Path | None = None,
) -> Dataset:
    """Read a folder of RecBole atomic files: one `.inter` (user, item, time) and one `.item` (id, any fields).

    Args:
        folder: As RecBole lays it out; UTF-8.
        columns: Names of columns; those left out are found by name and content.
        drop_bad_rows: Leave out rows that cannot be read, rows without an id or a finite time stamp, repeated rows,
            repeated items (the first stays), interactions with items that the item file lacks, and users with fewer
            than three interactions, and count them in `Dataset.dropped`. A value of an item that should be a number
            and is none is left empty and counted; the item stays.
        dropped_rows: File for what is left out: tab-separated file, line, kind and reason; a user with too few
            interactions stands there with the first line. It is written only where something is left out.

    Raises:
        ConfigError: `dropped_rows` cannot be written.
        DataError: one line that names the file, the line, what was seen and what to do.
    """
    interactions, items = find_files(Path(folder))
    bad = BadRows(drop=drop_bad_rows)
    with nullcontext() if dropped_rows is None else logged_rows(bad, dropped_rows):
        if items is None:
            check_kinds((), columns, interactions.name)
            catalogue = _ids_alone(interactions, columns, BadRows(drop=drop_bad_rows))  # they are counted below
        else:
            catalogue = _read_catalogue(items, columns, bad)
        item_file = interactions.name if items is None else items.name
        dataset = _read_interactions(interactions, item_file, catalogue, columns, bad)
    name = dataset.name + (" (its titles are ids)" if items is None else "")
    return replace(dataset, name=name + (" (in the order of its file, without times)" if is_timeless(folder) else ""))


def find_files(folder: Path) -> tuple[Path, Path | None]:
    """The `.inter` and the `.item` file of a folder; DataError where they are missing or ambiguous.

    A folder may have no `.item` file: then titles are ids.
    """
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        raise DataError(f"{folder} does not exist. Name {_LAYOUT}.") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file. Name {_LAYOUT}.") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}). Check its permissions.") from None
    found: list[Path] = []
    for suffix in (".inter", ".item"):
        candidates = [path for path in paths if path.suffix == suffix]
        own = [path for path in candidates if path.stem == folder.resolve().name]
        if not candidates and suffix == ".item":
            return found[0], None
        if not candidates:
            raise DataError(f"{folder} has no {suffix} file. Name {_LAYOUT}.")
        if len(candidates) > 1 and not own:
            names = ", ".join(path.name for path in candidates)
            raise DataError(f"{folder} has several {suffix} files ({names}). Leave one, or name it like the folder.")
        found.append((own or candidates)[0])
    return found[0], found[1]


def _taken_by(bad: BadRows) -> OnBad:
    """A function that passes rows which cannot be used to `bad`; a file without rows is always an error."""
    return lambda kind, *row: refuse(kind, *row) if kind == NO_ROWS else bad.add(kind, *row)


def _ids_alone(path: Path, names: ColumnNames, bad: BadRows) -> Catalogue:
    """The items of the interactions, with their ids as titles, in the order in which they occur."""
    rows = AtomicFile(path, _taken_by(bad))
    _, item_at, _ = choose_event(rows.columns, names, rows.name)
    ids = dict.fromkeys(fields[item_at].strip() for _, _, fields in rows)
    return Catalogue((Item(id=item_id, title=item_id, text=item_id) for item_id in ids if item_id), {})


def _read_catalogue(path: Path, names: ColumnNames, bad: BadRows) -> Catalogue:
    rows = AtomicFile(path, _taken_by(bad))
    columns = rows.columns
    id_at, title_at = choose_item(columns, names, rows.name)
    check_kinds([column.name for column in columns], names, rows.name)
    remembered = remembered_kinds(path.with_name(MARK))
    repeated = BadGroup("duplicate_items", bad)
    lines: dict[str, int] = {}
    table: list[list[str]] = []
    for number, _, fields in rows:
        item_id = fields[id_at].strip()
        if not item_id:
            bad.add("items_without_id", rows.name, number, "has no item id.", "Give every item an id")
            continue
        if item_id in lines:
            repeated.add(rows.name, number, f"repeats item {item_id[:80]!r} of line {lines[item_id]}", "Keep one")
            continue
        lines[item_id] = number
        table.append(fields)
    repeated.raise_if_any()
    if not table:
        raise DataError(f"{path} has no item left (dropped: {dict(bad.counts)}). Correct its rows.")

    numbers = list(lines.values())
    kinds: dict[str, AttributeKind] = {}
    prose: list[int] = []
    values: dict[str, list[AttributeValue | None]] = {}
    for at, column in enumerate(columns):
        if at in (id_at, title_at):
            continue
        raw = [fields[at].strip() for fields in table]
        kind = column_kind(column, raw, names, remembered)
        if kind == "text":
            prose.append(at)
        elif kind != "ignore":
            kinds[column.name] = "category" if kind == "date" else kind
            values[column.name] = parse_values(raw, column, kind, rows.name, numbers, bad)
    parsed = [{name: value for name in kinds if (value := values[name][row]) is not None} for row in range(len(table))]
    draft = Catalogue(
        (Item(id=item_id, title="", attributes=a) for item_id, a in zip(lines, parsed, strict=True)), kinds
    )
    items = []
    for (item_id, attributes), fields in zip(zip(lines, parsed, strict=True), table, strict=True):
        title = (fields[title_at].strip() if title_at is not None else "") or item_id
        text = encoder_text(title, attributes, draft.year_attributes, [fields[at].strip() for at in prose])
        items.append(Item(id=item_id, title=title, text=text, attributes=attributes))
    return Catalogue(items, kinds, text_columns=[columns[at].name for at in prose])


def parse_values(
    raw: Sequence[str],
    column: Column,
    kind: ColumnKind,
    file: str,
    numbers: Sequence[int],
    bad: BadRows | None = None,
) -> list[AttributeValue | None]:
    """Parse a column's values as attributes of a kind, None where a value is missing; `numbers` are their lines.

    `bad` takes values that are not a number, which are then missing; otherwise the first one is the error.
    """
    on_bad: OnBad = refuse
    if bad is not None:
        on_bad = bad.add
    if kind == "number":
        for value, number in zip(raw, numbers, strict=True):
            if column.type == "float" and value and value.lower() != "nan" and not is_number(value):
                on_bad(
                    "bad_values",
                    file,
                    number,
                    f"has {value[:80]!r} as {column.name}, which is declared float.",
                    "Put a finite number, leave it empty or declare the column token",
                )
        return [float(value) if is_number(value) else None for value in raw]
    if kind == "category":
        return [value or None for value in raw]
    if kind == "date":
        order = find_order(raw)
        if order == "unknown":
            raise DataError(
                f"{file}:1 has the column {column.name!r} of dates, and none shows whether day or month stands first. "
                "Write them as 2020-12-31, or give the column another kind with --attribute."
            )
        return [iso_day(value, None if order == "any" else order) for value in raw]
    separator = tag_separator(raw)
    return [split_tags(value, separator) or None for value in raw]


def _read_interactions(path: Path, item_file: str, catalogue: Catalogue, names: ColumnNames, bad: BadRows) -> Dataset:
    rows = AtomicFile(path, _taken_by(bad))
    user_at, item_at, time_at = choose_event(rows.columns, names, rows.name)
    repeated, unknown, short = (BadGroup(kind, bad) for kind in ("duplicate_rows", "unknown_items", "short_users"))
    seen = SeenLines()
    events: dict[str, list[tuple[float, str]]] = defaultdict(list)
    first_line: dict[str, int] = {}
    for number, line, fields in rows:
        user, item_id = fields[user_at].strip(), fields[item_at].strip()
        if not user or not item_id:
            role = "item" if user else "user"
            bad.add(f"rows_without_{role}", rows.name, number, f"has no {role} id.", f"Fill in the {role} column")
            continue
        time = finite_time(fields[time_at])
        if time is None:
            why = f"has {fields[time_at][:80]!r} as {rows.columns[time_at].name}, which is not a finite number."
            bad.add("bad_times", rows.name, number, why, _TIME_REMEDY)
            continue
        earlier = seen.first(line, number)
        if earlier is not None:
            why = f"repeats line {earlier}: user {user[:80]!r}, item {item_id[:80]!r}"
            repeated.add(rows.name, number, why, "Remove the repeats")
        elif item_id not in catalogue:
            unknown.add(rows.name, number, f"names item {item_id[:80]!r}, which {item_file} lacks", "Add it there")
        else:
            events[user].append((time, item_id))
            first_line.setdefault(user, number)
    repeated.raise_if_any()
    unknown.raise_if_any()
    for user, done in events.items():
        if len(done) < MIN_INTERACTIONS:
            why = f"begins user {user[:80]!r}, who has {len(done)} interactions where {MIN_INTERACTIONS} are needed"
            short.add(rows.name, first_line[user], why, "Remove such users")
    short.raise_if_any()
    kept = {user: sorted(done, key=lambda e: e[0]) for user, done in events.items() if len(done) >= MIN_INTERACTIONS}
    if not kept:
        raise DataError(
            f"{path} has no user left with {MIN_INTERACTIONS} interactions whose items are in {item_file} "
            f"(dropped: {dict(bad.counts)}). Check that both files use the same item ids."
        )
    return Dataset(
        name=path.stem,
        catalogue=catalogue,
        users=tuple(kept),
        sequences={user: tuple(item_id for _, item_id in done) for user, done in kept.items()},
        tied_targets=sum(done[-1][0] == done[-2][0] for done in kept.values()),
        dropped=dict(bad.counts),
    )


def finite_time(value: str) -> float | None:
    """Parse a time stamp, exactly where it is a whole number; None where it is not a finite number."""
    try:
        return int(value)  # exact, also for nanoseconds
    except ValueError:
        pass
    try:
        time = float(value)
    except ValueError:
        return None
    return time if math.isfinite(time) else None


def parse_time_stamp(value: str, file: str, number: int, column: str) -> float:
    """Parse a time stamp as `finite_time` does; DataError names the line of one that is not finite."""
    time = finite_time(value)
    if time is None:
        why = f"has {value[:80]!r} as {column}, which is not a finite number."
        refuse("bad_times", file, number, why, _TIME_REMEDY)
    return time
