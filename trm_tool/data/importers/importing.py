"""Turn a published data set or a shop's own tables into a folder of atomic files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.data.column_kinds import check_kinds
from deeprec.trm_tool.data.folder import TIMELESS, check_destination, data_folder
from deeprec.trm_tool.data.importers.detection import Format, find_source
from deeprec.trm_tool.data.importers.interactions import FilterConfig, Interactions, Selection, Stage, collect, select
from deeprec.trm_tool.data.importers.item_joins import ItemJoin, JoinCount, join_items
from deeprec.trm_tool.data.importers.item_values import TITLE
from deeprec.trm_tool.data.importers.items import ColumnReport, ItemSpool
from deeprec.trm_tool.data.importers.lines import BadRows, Reading, logged_rows
from deeprec.trm_tool.data.importers.own_importer import Importer, own_source
from deeprec.trm_tool.data.importers.own_tables import TableOptions
from deeprec.trm_tool.data.importers.source import Source
from deeprec.trm_tool.data.importers.time_units import in_one_unit
from deeprec.trm_tool.data.importers.values import show_number
from deeprec.trm_tool.errors import ConfigError, DataError

OnProgress = Callable[[Path, int], None]
"""Called with the file that is read, and how many of its bytes were."""
DROPPED = "dropped_rows.tsv"
"""Name of the file of the rows that were left out on request."""
_CHUNK = 2**16
"""Rows turned into text at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """Counts of what an import read, kept and left out."""

    format: str
    interactions_file: str
    items_file: str | None
    out: str
    stages: tuple[Stage, ...]
    """Counts after each step; the first is what was read."""
    items: int
    """Items of the catalogue, including those without interactions."""
    missing_titles: int
    columns: tuple[ColumnReport, ...]
    """Columns of the items, beside the id."""
    repeated_items: int
    """Rows of the item file with a repeated id; the first row stays."""
    dropped: dict[str, int]
    """Kind of bad row -> how many were left out on request."""
    notes: tuple[str, ...] = ()
    """What a person should know about how the files were read, one sentence each."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def import_data(
    path: Path,
    out: Path,
    *,
    data_format: Format | None = None,
    items: Path | None = None,
    options: TableOptions | None = None,
    filters: FilterConfig | None = None,
    drop_bad_rows: bool = False,
    on_progress: OnProgress | None = None,
    importer: Importer | None = None,
    joins: Sequence[ItemJoin] = (),
) -> ImportReport:
    """Read a data set as it was published and write `NAME.inter` and `NAME.item`, NAME being the folder's.

    Interactions are held as compact columns (24 bytes each) and items pass through one by one, so that memory follows
    the number of interactions and of ids, not the size of the files. Repeats of a person with an item are left out, the
    first in time stays; so are people with fewer than 3 interactions. With a k-core the catalogue is the core's items,
    otherwise every item of the item file.

    Args:
        path: A folder as it was published, or the file of interactions.
        out: Folder to write; one that an import wrote before is replaced, any other is refused.
        data_format: The format; None detects it from the files.
        items: The file of items, where it is not found in the folder.
        options: How tables of CSV and Parquet are read.
        filters: Which interactions stay; all by default.
        drop_bad_rows: Leave out and count rows that cannot be used, and interactions with items that the item file
            lacks; otherwise the first one is the error.
        on_progress: Called with the file and the bytes read so far.
        importer: A function of your own from `path` to a `Source`, for a format that is not known here; it goes with
            neither `data_format` nor `items` nor `options`.
        joins: Tables with further columns of the items, joined one after another.

    Raises:
        DataError: a row cannot be used; the message names file and line.
        ConfigError: an option cannot work, or `out` holds something else.
    """
    out, filters, said = Path(out), filters or FilterConfig(), options or TableOptions()
    check_destination(out)
    if importer is None:
        source = find_source(path, data_format=data_format, items=items, options=options)
    elif data_format is None and items is None and options in (None, TableOptions()):
        source = own_source(importer, Path(path))
    else:
        raise ConfigError(
            "--importer was given together with a format, a file of items or options of tables, which an importer of "
            "one's own does not read. Leave them out."
        )
    bad = BadRows(drop=drop_bad_rows)
    source, joined = _joined(source, joins, bad, on_progress)
    mark: dict[str, object] = {}
    with data_folder(out, mark) as staging, logged_rows(bad, staging / DROPPED):
        name = out.resolve().name
        notes = list(source.notes)
        data = collect(source.read(_reading(bad, source.path, on_progress, notes)))
        if not len(data):
            raise DataError(f"{source.path} has no interactions{_of_bad(bad)}. Give it one row a line.")
        data, mixed = _in_one_unit(data, source.path.name)
        spool = _spool_of(source, staging, said)
        _fill(spool, source, data, bad, on_progress, notes, only_seen=filters.k_core is not None)
        selection = select(data, filters, _known(source, data, spool, bad))
        if not len(selection.rows):
            left = "; ".join(f"{stage.interactions} {stage.name}" for stage in selection.stages)
            raise DataError(f"{source.path} has no interaction left: {left}. Lower --k-core or --min-rating.")
        _write_interactions(staging / f"{name}.inter", data, selection.rows)
        count, columns = _write_items(staging / f"{name}.item", source, data, selection, spool)
        report = ImportReport(
            format=source.format,
            interactions_file=source.path.name,
            items_file=source.items.path.name if source.items else None,
            out=str(out),
            stages=selection.stages,
            items=count,
            missing_titles=count - next((column.filled for column in columns if column.name == TITLE), 0),
            columns=columns,
            repeated_items=spool.repeats,
            dropped=dict(bad.counts),
            notes=(*notes, *mixed, *_left_out(source, spool), *map(str, joined)),
        )
        mark |= {"report": report.to_dict(), "filters": asdict(filters), "kinds": spool.kinds}
        mark |= {TIMELESS: True} if source.timeless else {}
        (staging / "README.md").write_text(_readme(name, source, report), encoding="utf-8")
    return report


def _joined(
    source: Source, joins: Sequence[ItemJoin], bad: BadRows, on_progress: OnProgress | None
) -> tuple[Source, list[JoinCount]]:
    counts: list[JoinCount] = []
    for join in joins:
        if source.items is None:
            raise ConfigError(f"{source.path} has no file of items to join {join.file} to. Name it with --items.")
        items, count = join_items(source.items, join, _reading(bad, join.file, on_progress, []))
        source = replace(source, items=items)
        counts.append(count)
    return source, counts


def _reading(bad: BadRows, path: Path, on_progress: OnProgress | None, notes: list[str]) -> Reading:
    return Reading(bad, (lambda done: on_progress(path, done)) if on_progress else None, notes)


def _in_one_unit(data: Interactions, file: str) -> tuple[Interactions, tuple[str, ...]]:
    times, counts = in_one_unit(data.time)
    if not counts:
        return data, ()
    found = ", ".join(f"{count} in {unit}" for unit, count in counts.items())
    note = f"{file}: the column of times mixes units ({found}; dates count as seconds); all became seconds."
    return replace(data, time=times), (note,)


def _left_out(source: Source, spool: ItemSpool) -> tuple[str, ...]:
    if not spool.left_out or source.items is None:
        return ()
    names = ", ".join(spool.left_out)
    return (f"{source.items.path.name}: {names} differ between rows of one item, and are left out.",)


def _spool_of(source: Source, staging: Path, options: TableOptions) -> ItemSpool:
    file, kinds = source.items, options.columns.kinds
    columns = file.columns if file else ()
    if kinds:
        check_kinds([name for name, _ in columns], options.columns, file.path.name if file else source.path.name)
    return ItemSpool(
        staging / "items.spool",
        columns,
        shared=file is not None and file.shared,
        kinds=(dict(file.kinds) if file else {}) | dict(kinds),
        order=options.date_order,
    )


def _fill(
    spool: ItemSpool,
    source: Source,
    data: Interactions,
    bad: BadRows,
    on_progress: OnProgress | None,
    notes: list[str],
    *,
    only_seen: bool,
) -> None:
    file = source.items
    try:
        if file is not None:
            seen = set(data.items)
            for row in file.read(_reading(bad, file.path, on_progress, notes)):
                if not only_seen or row[1] in seen:
                    spool.add(row)
            if not spool.lines:
                which = " with interactions" if only_seen else ""
                raise DataError(
                    f"{file.path} has no items{which}{_of_bad(bad)}. Check that both files use the same ids."
                )
    finally:
        spool.close()


def _known(source: Source, data: Interactions, spool: ItemSpool, bad: BadRows) -> NDArray[np.bool_] | None:
    """Whether the item file has each item; an interaction with any other item is an error, or is counted."""
    if source.items is None:
        return None
    known = np.fromiter((item in spool.lines for item in data.items), np.bool_, len(data.items))
    unknown = np.flatnonzero(~known)
    if len(unknown):
        first = unknown[np.argmin(data.item_line[unknown])]
        rows = int((~known)[data.item].sum())
        if not bad.drop:
            more = f" ({len(unknown)} such items, {rows} interactions)" if rows > 1 else ""
            raise DataError(
                f"{source.path.name}:{data.item_line[first]} names item {data.items[first][:80]!r}, which "
                f"{source.items.path.name} lacks{more}. Add it there, or leave such rows out with --drop-bad-rows."
            )
        counts = np.bincount(data.item, minlength=len(data.items))
        for at in unknown.tolist():
            item, kind = data.items[at][:80], "interactions with items that the item file lacks"
            why = f"is the first of {counts[at]} rows with item {item!r}, which {source.items.path.name} lacks."
            line = int(data.item_line[at])
            bad.add(kind, source.path.name, line, why)
            bad.counts[kind] += int(counts[at]) - 1
    return known


def _write_interactions(path: Path, data: Interactions, rows: NDArray[np.int64]) -> None:
    rated = not bool(np.isnan(data.rating[rows]).all())
    header = ["user_id:token", "item_id:token", *(["rating:float"] if rated else []), "timestamp:float"]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(header) + "\n")
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            columns: list[Iterable[str]] = [
                (data.users[row] for row in data.user[chunk]),
                (data.items[row] for row in data.item[chunk]),
            ]
            if rated:
                columns.append(
                    "" if rating != rating else show_number(rating) for rating in data.rating[chunk].tolist()
                )
            columns.append(repr(time) for time in data.time[chunk].tolist())
            file.writelines("\t".join(fields) + "\n" for fields in zip(*columns, strict=True))


def _write_items(
    path: Path, source: Source, data: Interactions, selection: Selection, spool: ItemSpool
) -> tuple[int, tuple[ColumnReport, ...]]:
    core = None if selection.core is None else [data.items[row] for row in np.flatnonzero(selection.core)]
    written = spool.write(
        path,
        keep=None if core is None else set(core),
        also=() if source.items else (data.items if core is None else core),
    )
    spool.remove()
    return written


def _of_bad(bad: BadRows) -> str:
    return f" ({bad.counts.total()} rows were left out as bad)" if bad.counts else ""


def _readme(name: str, source: Source, report: ImportReport) -> str:
    return "\n".join(_readme_lines(name, source, report)) + "\n"


def _readme_lines(name: str, source: Source, report: ImportReport) -> Iterator[str]:
    last = report.stages[-1]
    files = " and ".join(file for file in (report.interactions_file, report.items_file) if file)
    yield f"# {name}: interactions as RecBole atomic files\n"
    yield f"Imported by `deeprec data import` from {files} (format {report.format}).\n"
    yield f"- {last.interactions} interactions of {last.users} people with {last.items} of {report.items} items."
    yield "- Each person's interactions stand together, oldest first; ties in time keep the order of the source."
    yield from (f"- {stage.interactions} interactions {stage.name}." for stage in report.stages)
    yield from (f"- {note}" for note in report.notes)
    if report.dropped:
        yield f"- Rows that could not be used are in {DROPPED}, with the reason for each."
    yield from (f"- Left out: {count} {kind}." for kind, count in report.dropped.items())
    if report.repeated_items:
        yield f"- {report.repeated_items} rows of items repeated an id; the first stays."
    columns = ", ".join(f"{column.name} ({column.type}, {column.filled} filled)" for column in report.columns)
    yield f"- Columns of the items: {columns or 'none but the id'}."
    yield f"\nWhat may be done with this data: {source.terms}.\n"
    yield f"`{name}.inter` and `{name}.item` are read by `deeprec trm train --data` and by RecBole."
