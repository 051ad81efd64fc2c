"""Reports of the import and the check for a terminal. Markup and control codes of file content are dropped."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from deeprec.trm_tool.data.check import CheckReport, Statistics
from deeprec.trm_tool.data.importers.importing import DROPPED, ImportReport, OnProgress
from deeprec.trm_tool.data.time_figures import TimeFigures
from deeprec.trm_tool.text import plain

_BARS = " ▁▂▃▄▅▆▇█"


@contextmanager
def reading_bar(console: Console) -> Iterator[OnProgress]:
    """Show how much of each file is read, and yield the `on_progress` of `import_data`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks: dict[Path, TaskID] = {}

        def show(path: Path, done: int) -> None:
            if path not in tasks:
                tasks[path] = bar.add_task(f"Reading {plain(path.name, 40)}", total=path.stat().st_size)
            bar.update(tasks[path], completed=done)

        yield show


def show_import(report: ImportReport, console: Console) -> None:
    """Print what was read, what is left after each step, and the types of the items' columns."""
    files = " and ".join(name for name in (report.interactions_file, report.items_file) if name)
    _print(console, f"Read {files} as {report.format}.")
    table = Table(*(Column(name, justify="right") for name in ("interactions", "people", "items")), "left")
    for stage in report.stages:
        table.add_row(str(stage.interactions), str(stage.users), str(stage.items), stage.name)
    console.print(table)
    for note in report.notes:
        _print(console, f"Note: {note}")
    for kind, count in report.dropped.items():
        _print(console, f"Left out: {count} {kind}.")
    if report.dropped:
        _print(console, f"Each of these rows is in {Path(report.out) / DROPPED} with the reason.")
    if report.repeated_items:
        _print(console, f"Left out: {report.repeated_items} rows of items whose id was there before (the first stays).")
    for column in report.columns:
        notes = "".join(
            f"; {count} {what}" for count, what in ((column.unreadable, "unreadable"), (column.cut, "cut")) if count
        )
        _print(
            console, f"Column {column.name} ({column.type}): {column.filled} of {report.items} items have it{notes}."
        )
    if report.missing_titles:
        _print(console, f"{report.missing_titles} of {report.items} items have no title: people see their ids.")
    if report.items_file is None:
        _print(console, "There is no file of items: the catalogue knows their ids only. Name one with --items.")
    _print(console, f"Wrote {report.out}. Look at it: deeprec data check {quote(report.out)}")
    _print(console, f"Train on it: deeprec trm train --data {quote(report.out)} --out ARTIFACT")


def show_check(report: CheckReport, console: Console, *, plots: bool = False) -> None:
    """Print the content of a folder, the rows that the strict reader refuses, and the weaknesses of figures on it.

    With `plots`, small pictures show how interactions spread over time and over items.
    """
    sizes = ", ".join(f"{name} ({decimal(size)})" for name, size in report.files.items())
    label = " SYNTHETIC data." if report.synthetic else ""
    _print(console, f"{report.folder}:{label} {sizes}")
    table = Table(Column("interactions", justify="right"), "left")
    for name, count in report.rows:
        table.add_row(str(count), name)
    console.print(table)
    if report.statistics is not None:
        console.print(_facts(report.statistics))
        if plots:
            for line in _pictures(report.statistics):
                _print(console, line)
        if report.statistics.columns:
            console.print(_columns(report.statistics))
            options = " ".join(plain(column.option, 200) for column in report.statistics.columns)
            _print(console, f"To say kinds yourself, change these options and give them to import or train: {options}")
    for problem in report.problems:
        cure = "--drop-bad-rows leaves them out" if problem.droppable else "must be corrected"
        _print(console, f"Problem: {problem.count} {problem.kind} ({cure}). First: {problem.first}")
    for warning in report.warnings:
        _print(console, f"Warning: {warning}")
    if report.trainable:
        _print(console, report.advice)


def _facts(data: Statistics) -> Table:
    lengths = ", ".join(f"{name} {value:g}" for name, value in data.history_lengths.items() if name != "mean")
    rows = (
        ("people", f"{data.users}"),
        ("items", f"{data.items}, {data.idle_items} of them without interactions"),
        ("interactions", f"{data.interactions}, density {data.density:.4%}"),
        ("interactions of a person", f"{lengths}, mean {data.history_lengths['mean']:.1f}"),
        ("repeats of a person with an item", f"{data.repeated_pairs}"),
        *_time_facts(data.times),
        ("ties in time", f"{data.tied_pairs} neighbours in a history; the last two of {data.tied_targets} people"),
        (
            "cold targets",
            f"{data.cold_items} items ({data.cold_items / data.items:.1%}) are targets only; test targets of "
            f"{data.cold_test_targets} people ({data.cold_test_targets / data.users:.1%})",
        ),
        (
            "titles",
            f"{data.missing_titles} missing; {data.items_sharing_a_title} items share {data.shared_titles} titles",
        ),
        ("text of an item", ", ".join(data.text_parts)),
        ("its length", f"median {data.median_text} characters, the longest {data.longest_text}"),
        ("its example", plain(data.example_text, 200)),
    )
    return _table(("", "as the reader takes it"), rows)


def _time_facts(times: TimeFigures | None) -> Iterator[tuple[str, str]]:
    if times is not None:
        yield (
            "time",
            f"{times.first} to {times.last} (UTC, {times.unit}): {times.days} days, {times.active_days} active",
        )
        busiest = f"{times.busiest_day_interactions} on {times.busiest_day}"
        yield "interactions a day", f"{times.per_active_day:.1f} on an active day, at most {busiest}"


def _pictures(data: Statistics) -> Iterator[str]:
    if data.times is not None:
        yield f"Over time: {_bars(data.times.periods)} {data.times.first[:10]} to {data.times.last[:10]}"
    yield f"Over the items: {_bars(data.item_popularity)} (a bar is a tenth of the items, the most popular first)"


def _bars(counts: Sequence[int]) -> str:
    """A bar for each count, as high as its share of the largest; only 0 has none."""
    most = max(counts, default=0) or 1
    return "".join(_BARS[-(-(len(_BARS) - 1) * count // most)] for count in counts)


def _columns(data: Statistics) -> Table:
    attributes = {attribute.name: attribute for attribute in data.attributes}
    rows = []
    for column in data.columns:
        spread = ""
        if attribute := attributes.get(column.name):
            spread = f"{attribute.distinct} different"
            if attribute.low is not None and attribute.high is not None:
                spread += f", {attribute.low:g} to {attribute.high:g}"
        examples = ", ".join(plain(example, 40) for example in column.examples)
        rows.append((plain(column.name, 40), column.kind, f"{column.filled / data.items:.1%}", spread, examples))
    return _table(("column", "kind", "items that have it", "values", "examples"), rows)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(*header)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _print(console: Console, line: str) -> None:
    console.print(Text(plain(line, 1000)), soft_wrap=True)
