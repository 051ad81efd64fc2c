"""All rows that the strict reader of atomic files would refuse, found in one pass that continues after each."""

from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from deeprec.trm_tool.data.atomic_files import finite_time
from deeprec.trm_tool.data.atomic_rows import NO_ROWS, NO_UTF8, WRONG_WIDTH, AtomicFile, SeenLines
from deeprec.trm_tool.data.column_kinds import remembered_kinds
from deeprec.trm_tool.data.columns import ColumnNames, choose_event, choose_item, is_number
from deeprec.trm_tool.data.dataset import MIN_INTERACTIONS
from deeprec.trm_tool.data.folder import MARK
from deeprec.trm_tool.errors import DataError

_IN_ANY_FILE = {
    WRONG_WIDTH: "lines with a wrong number of fields",
    NO_UTF8: "lines that are not UTF-8",
    NO_ROWS: "files without rows",
}


@dataclass(slots=True, kw_only=True)
class Problem:
    """One kind of row that the strict reader refuses."""

    kind: str
    count: int
    first: str
    """File, line and content of the first one."""
    droppable: bool
    """Whether `--drop-bad-rows` leaves such rows out, or such values empty."""


@dataclass(slots=True)
class Findings:
    """Findings of one pass over both files."""

    problems: dict[str, Problem] = field(default_factory=dict)
    item_rows: int = 0
    missing_titles: int = 0
    has_titles: bool = False
    rows: list[tuple[str, int]] = field(default_factory=list)
    """Step of the reader -> interactions left after it."""
    tied_pairs: int = 0
    """Neighbours in a history that have the same time stamp."""
    times: "array[float]" = field(default_factory=lambda: array("d"))
    """Time stamps of the interactions that are left."""

    def add(self, kind: str, first: str, *, droppable: bool = True) -> None:
        """Count a problem; the text of the first of its kind is kept."""
        known = self.problems.setdefault(kind, Problem(kind=kind, count=0, first=first, droppable=droppable))
        known.count += 1

    def add_row(self, kind: str, file: str, line: int, why: str, remedy: str) -> None:
        """Count a row that cannot be read."""
        self.add(_IN_ANY_FILE[kind], f"{file}:{line} {why.removesuffix('.')}", droppable=kind != NO_ROWS)


def find_problems(interactions: Path, items: Path | None, columns: ColumnNames) -> Findings:
    """Read both files to their ends and collect all that the strict reader would refuse."""
    found = Findings()
    known = None if items is None else _check_items(items, columns, found)
    _check_interactions(interactions, "" if items is None else items.name, known, columns, found)
    return found


def _check_items(path: Path, names: ColumnNames, found: Findings) -> set[str] | None:
    try:
        file = AtomicFile(path, on_bad=found.add_row)
        id_at, title_at = choose_item(file.columns, names, file.name)
    except DataError as error:
        found.add("files that cannot be read", str(error), droppable=False)
        return None
    kinds = remembered_kinds(path.with_name(MARK)) | dict.fromkeys(names.text, "text") | dict(names.kinds)
    floats = [
        at
        for at, column in enumerate(file.columns)
        if column.type == "float" and kinds.get(column.name, "number") == "number"
    ]
    found.has_titles = title_at is not None
    ids: dict[str, int] = {}
    for number, _, fields in file:
        item_id = fields[id_at].strip()
        if not item_id:
            found.add("items without an id", f"{file.name}:{number} has no item id")
        elif item_id in ids:
            first = f"{file.name}:{number} repeats item {item_id[:80]!r} of line {ids[item_id]}"
            found.add("repeated items", first)
        else:
            ids[item_id] = number
            found.missing_titles += title_at is not None and not fields[title_at].strip()
            for at in floats:
                value = fields[at].strip()
                if at not in (id_at, title_at) and value and value.lower() != "nan" and not is_number(value):
                    first = f"{file.name}:{number} has {value[:80]!r} as {file.columns[at].name}, declared float"
                    found.add("values that are not a number", first)
    found.item_rows = len(ids)
    return set(ids)


def _check_interactions(
    path: Path, item_file: str, known: set[str] | None, names: ColumnNames, found: Findings
) -> None:
    steps = dict.fromkeys(("in the file", "well formed", "not repeated", "with a known item"), 0)

    def add(kind: str, file: str, line: int, why: str, remedy: str) -> None:
        steps["in the file"] += kind == WRONG_WIDTH
        found.add_row(kind, file, line, why, remedy)

    try:
        file = AtomicFile(path, on_bad=add)
        user_at, item_at, time_at = choose_event(file.columns, names, file.name)
    except DataError as error:
        found.add("files that cannot be read", str(error), droppable=False)
        return
    seen = SeenLines()
    times: dict[str, list[float]] = defaultdict(list)
    first_line: dict[str, int] = {}
    for number, line, fields in file:
        steps["in the file"] += 1
        user, item_id = fields[user_at].strip(), fields[item_at].strip()
        if not user or not item_id:
            role = "item" if user else "user"
            found.add(f"interactions without {role} id", f"{file.name}:{number} has no {role} id")
            continue
        time = finite_time(fields[time_at])
        if time is None:
            first = f"{file.name}:{number} has {fields[time_at][:80]!r} as {file.columns[time_at].name}"
            found.add("time stamps that are not a finite number", first)
            continue
        steps["well formed"] += 1
        earlier = seen.first(line, number)
        if earlier is not None:
            first = f"{file.name}:{number} repeats line {earlier}: user {user[:80]!r}, item {item_id[:80]!r}"
            found.add("repeated interactions", first)
            continue
        steps["not repeated"] += 1
        if known is not None and item_id not in known:
            first = f"{file.name}:{number} names item {item_id[:80]!r}, which {item_file} lacks"
            found.add("interactions with unknown items", first)
            continue
        steps["with a known item"] += 1
        times[user].append(time)
        first_line.setdefault(user, number)
    found.rows.extend(steps.items())
    left = 0
    for user, stamps in times.items():
        if len(stamps) < MIN_INTERACTIONS:
            first = f"{file.name}:{first_line[user]} begins user {user[:80]!r}, who has {len(stamps)}"
            found.add(f"people with fewer than {MIN_INTERACTIONS} interactions", first)
            continue
        left += len(stamps)
        stamps.sort()
        found.times.extend(stamps)
        found.tied_pairs += sum(earlier == later for earlier, later in pairwise(stamps))
    found.rows.append((f"of people with {MIN_INTERACTIONS} or more", left))
