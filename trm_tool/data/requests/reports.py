"""Reports of the import and the check of requests for a terminal. Markup and control codes are dropped."""

from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deeprec.trm_tool.data.requests.check import RequestReport
from deeprec.trm_tool.data.requests.importers.importing import RequestImport
from deeprec.trm_tool.text import plain


def show_requests(report: RequestReport, console: Console) -> None:
    """Print the content of a file of requests, the rows that cannot be used, and what weakens it."""
    label = " MADE requests." if report.made == report.requests > 0 else ""
    _print(console, f"{report.file}:{label} {report.requests} requests in {report.conversations} conversations.")
    table = Table("", "in the file")
    for name, value in _facts(report):
        table.add_row(name, Text(plain(value, 200)))
    console.print(table)
    for problem in report.problems:
        _print(
            console,
            f"Problem: {problem.count} {problem.kind} (--drop-bad-rows leaves them out). First: {problem.first}",
        )
    for warning in report.warnings:
        _print(console, f"Warning: {warning}")


def show_request_import(report: RequestImport, catalogue: Path | None, console: Console) -> None:
    """Print what an import of requests wrote, and what it left out and why."""
    _print(
        console,
        f"Read {report.file} as {report.format}: {report.requests} requests of {report.conversations} conversations, "
        f"with {report.targets} targets.",
    )
    for how, count in report.linked.items():
        _print(console, f"Films {how}: {count}.")
    for why, count in report.left_out.items():
        _print(console, f"Left out: {count} {why}.")
    unknown = ", ".join(f"{count} in {name}" for name, count in report.unknown_ids.items() if name != "requests")
    if unknown:
        lost = report.unknown_ids.get("requests", 0)
        _print(console, f"Left out: ids that the catalogue lacks ({unknown}); {lost} requests had no other target.")
    for kind, count in report.dropped.items():
        _print(console, f"Left out: {count} {kind}.")
    where = "" if catalogue is None else f" --catalogue {quote(str(catalogue))}"
    _print(console, f"Wrote {report.out}. Look at it: deeprec data check {quote(report.out)}{where}")


def _facts(report: RequestReport) -> list[tuple[str, str]]:
    lengths = ", ".join(f"{name} {value:.3g}" for name, value in report.history_lengths.items())
    facts = [
        ("sources", ", ".join(f"{name} {count}" for name, count in report.sources.items())),
        ("made from attributes", str(report.made)),
        ("people", str(report.people)),
        ("with a message", f"{report.with_message}; the longest has {report.longest_message} characters"),
        ("with constraints", str(report.with_where)),
        ("items in a history", f"{lengths}; none in {report.without_history}"),
        ("targets of a request", ", ".join(f"{name}: {count}" for name, count in report.targets.items())),
        ("known to be shown, chosen", f"{report.with_shown}, {report.with_chosen}"),
    ]
    if report.first_time is not None and report.last_time is not None:
        facts.insert(3, ("time", f"{_day(report.first_time)} to {_day(report.last_time)}"))
    if report.catalogue_items is not None and report.catalogue_fingerprint is not None:
        facts.append(("catalogue", f"{report.catalogue_items} items, {report.catalogue_fingerprint[:12]}"))
    if report.unknown_ids is not None:
        unknown = ", ".join(f"{name} {count}" for name, count in report.unknown_ids.items() if name != "requests")
        facts.append(("ids that the catalogue lacks", unknown or "none"))
    return facts


def _day(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s"


def _print(console: Console, line: str) -> None:
    console.print(Text(plain(line, 1000)), soft_wrap=True)
