"""`deeprec traces export|import|prune|pin|unpin|redact|migrate|otel`: moving, keeping and deleting logged runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from deeprec.agent.cli.trace_options import (
    DEFAULT_STORE,
    AdapterVersionOption,
    ModelOption,
    RunOptions,
    StatusOption,
    StoreOption,
    SuiteOption,
    TenantOption,
    echo,
    known_status,
    to_json,
)
from deeprec.agent.traces.admin.redaction import redact_person
from deeprec.agent.traces.admin.retention import PruneReport, PruneRules, pin_runs, prune_runs
from deeprec.agent.traces.export.json_lines import export_jsonl, import_jsonl
from deeprec.agent.traces.export.preferences import export_preferences
from deeprec.agent.traces.store.store import RunFilter, TraceStore
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import CatalogueOption, JsonOption
from deeprec.trm_tool.data.preference_file import FORMAT
from deeprec.trm_tool.errors import ConfigError

RunsArgument = Annotated[list[str], typer.Argument(help="Run ids, or as much of their beginnings as is unique.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Change the store. Without it the command only reports what it would change.")
]
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1}


class ExportFormat(StrEnum):
    """How whole runs are written."""

    JSONL = "jsonl"
    PARQUET = "parquet"


@option_groups
def export(
    preferences: Annotated[
        Path | None, typer.Option(help="Write a Parquet file with one row for each preference that a model wrote.")
    ] = None,
    how: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="Write whole runs: jsonl is one file without loss, parquet a folder of tables."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file or the folder of --format. A name that ends in .gz is compressed."),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(help="Write a file of requests (.jsonl, .parquet): what people wrote, were shown and then chose."),
    ] = None,
    choices: Annotated[
        Path | None, typer.Option(help="With --requests: a CSV file of run_id and item_id, one row for each choice.")
    ] = None,
    catalogue: CatalogueOption = None,
    store: StoreOption = DEFAULT_STORE,
    runs: RunOptions = RunOptions(),
    as_json: JsonOption = False,
) -> None:
    """Export runs, the preferences in them or the requests, to train a recommender on or to evaluate it with."""
    if [preferences, requests, how].count(None) != 2:
        raise ConfigError(
            "Nothing to export was named. Give either --preferences FILE, --requests FILE, or --format jsonl|parquet "
            "with -o."
        )
    if requests is None and (choices is not None or catalogue is not None):
        raise ConfigError("--choices and --catalogue go with --requests FILE. Give it too, or leave them out.")
    if (out is None) != (how is None):
        raise ConfigError("--format and -o go together: --format jsonl -o runs.jsonl, --format parquet -o FOLDER.")
    where = runs.filter()
    with TraceStore(store, create=False) as traces:
        if preferences is not None:
            _export_preferences(traces, preferences, where, as_json)
            return
        if requests is not None:
            _export_requests(traces, requests, where, choices, catalogue, as_json)
            return
        assert out is not None
        if how is ExportFormat.JSONL:
            wrote = export_jsonl(traces, out, where)
        else:
            from deeprec.agent.traces.export.parquet import export_parquet

            wrote = export_parquet(traces, out, where)
    text = f"Wrote {_with_turns(wrote.runs, wrote.conversation_turns)} to {visible(str(out))}."
    echo(as_json, {"output": str(out), "format": how, **to_json(wrote)}, text)


def import_runs(
    file: Annotated[Path, typer.Argument(help="A file from `deeprec traces export --format jsonl`.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Import exported runs. Runs that the store has stay; the exit code is 1 if one of them has other content."""
    if not file.is_file():
        raise ConfigError(f"{file} is not a file. Name one from `deeprec traces export --format jsonl`.")
    with TraceStore(store) as traces:
        done = import_jsonl(traces, file)
    text = f"Imported {_with_turns(done.imported, done.conversation_turns)}"
    text += f"; the store had {done.known} already." if done.known else "."
    if done.conflicts:
        some = ", ".join(map(str, done.conflicts[:3])) + (", …" if len(done.conflicts) > 3 else "")
        text += f"\nLeft as they are, because the store has them with other content: {len(done.conflicts)} ({some})."
    echo(as_json, to_json(done), text)
    if done.conflicts:
        raise typer.Exit(1)


def prune(
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Delete runs that started so many days ago or earlier.")
    ] = None,
    max_runs: Annotated[int | None, typer.Option(min=0, help="Keep so many runs, the newest.")] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Keep the newest runs that take no more than this: 500MB, 2GB.")
    ] = None,
    status: StatusOption = None,
    model: ModelOption = None,
    adapter_version: AdapterVersionOption = None,
    suite: SuiteOption = None,
    tenant: TenantOption = None,
    yes: YesOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Delete runs by age, number, size, status or policy. Pinned runs and runs that may still be running stay."""
    rules = PruneRules(
        older_than_days=older_than,
        max_runs=max_runs,
        max_bytes=None if max_size is None else _bytes(max_size),
        status=known_status(status),
        policy_model=model,
        adapter_version=adapter_version,
        suite=suite,
        tenant=tenant,
    )
    with TraceStore(store, create=False) as traces:
        report = prune_runs(traces, rules, dry_run=not yes)
    echo(as_json, to_json(report), _pruned(report))


def pin(runs: RunsArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Protect runs from `traces prune`."""
    _pin(runs, store, as_json, pinned=True)


def unpin(runs: RunsArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Allow `traces prune` to delete pinned runs again."""
    _pin(runs, store, as_json, pinned=False)


def redact(
    user: Annotated[str, typer.Option(help="The person: the user id of their runs.")],
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Only in runs of this tenant: elsewhere the same id may be another person's.",
            show_default="the runs of every tenant",
        ),
    ] = None,
    yes: YesOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Remove a person from all of their runs: who they are, what they wrote and like. Counts and rewards stay."""
    with TraceStore(store, create=False) as traces:
        report = redact_person(traces, user, tenant=tenant, dry_run=not yes)
    which = _runs(report.runs) + (f" ({report.children} of them name nobody)" if report.children else "")
    if report.tenants:
        which += f" (tenants: {', '.join(map(visible, report.tenants))})"
    which += f" with {report.turns} turns"
    if report.conversation_turns:
        which += f", and {report.conversation_turns} turns of conversations"
    if report.dry_run:
        text = f"Would redact {which}. Nothing was changed: give --yes to redact them for good."
    else:
        text = f"Redacted {which}."
    if report.tenants and tenant is None:
        text += " Without --tenant this covers the runs of every tenant."
    remains = report.reclaimed is not None and not report.reclaimed.done
    if report.reclaimed is not None:
        text += f"\nOld bytes were removed from the database's files by {report.reclaimed.how}."
    if remains and report.reclaimed is not None:
        text = text.rpartition("\n")[0] + (
            f"\nOld bytes may remain in the database's files ({report.reclaimed.how}). Run this again when no other "
            "program reads the store."
        )
    echo(as_json, to_json(report), text)
    if remains:
        raise typer.Exit(1)


def migrate(
    to: Annotated[
        str, typer.Option(metavar="REVISION", help="The revision of the tables.", show_default="the newest")
    ] = "head",
    yes: Annotated[
        bool, typer.Option("--yes", help="Go back to an older revision, and lose what its tables have no room for.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Migrate the tables of the store to a revision. Other commands migrate a store that they open to the newest."""
    from deeprec.agent.traces.admin.migrate import migrate as change

    done = change(store, to, dry_run=True)
    if not done.down or yes:
        done = change(store, to)
    way = f"{done.before or 'nothing'} → {done.after}"
    if not done.steps:
        text = f"The store is at revision {done.after} already."
    elif done.dry_run:
        text = f"Would go back from {way}, and lose what the older tables have no room for. Give --yes to do it."
    else:
        text = f"Migrated the store: {way}."
    echo(as_json, to_json(done), text)


def otel(
    runs: RunsArgument,
    endpoint: Annotated[
        str,
        typer.Option(envvar="OTEL_EXPORTER_OTLP_ENDPOINT", help="An OTLP/HTTP address, such as http://localhost:4318."),
    ],
    content: Annotated[
        bool,
        typer.Option(
            "--content",
            envvar="OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
            help="Also send what people and models wrote, and the ids of items and people.",
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Send stored runs as OpenTelemetry spans to Phoenix, Langfuse or any other OTLP backend."""
    from deeprec.agent.traces.export.otel import export_spans
    from deeprec.agent.traces.export.otlp import SpanSender, without_password

    sender = SpanSender(endpoint)
    with TraceStore(store, create=False) as traces:
        export_spans(traces, runs, sender.provider, with_content=content)
    spans = sender.send()
    place = without_password(endpoint)
    text = f"Sent {_runs(len(runs))} as {spans} spans to {visible(place)}."
    echo(as_json, {"endpoint": place, "runs": len(runs), "spans": spans, "content": content}, text)


COMMANDS: dict[str, Any] = {
    "export": export,
    "import": import_runs,
    "prune": prune,
    "pin": pin,
    "unpin": unpin,
    "redact": redact,
    "migrate": migrate,
    "otel": otel,
}
"""Name -> command, for the group `deeprec traces`."""


def _export_preferences(traces: TraceStore, path: Path, where: RunFilter, as_json: bool) -> None:
    wrote = export_preferences(traces, path, where)
    text = f"Wrote {wrote.preferences} preferences of {wrote.runs} runs to {path}."
    if wrote.left_out:
        text += "\nRuns left out: " + ", ".join(f"{count} {why}" for why, count in wrote.left_out.items()) + "."
    echo(as_json, {"file": str(path), "format": FORMAT, **to_json(wrote)}, text)


def _export_requests(
    traces: TraceStore, path: Path, where: RunFilter, choices: Path | None, catalogue: Path | None, as_json: bool
) -> None:
    from deeprec.agent.traces.export.requests import export_requests, read_choices
    from deeprec.trm_tool.data.catalogue_folder import read_catalogue

    wrote = export_requests(
        traces,
        path,
        where,
        choices=None if choices is None else read_choices(choices),
        catalogue=None if catalogue is None else read_catalogue(catalogue),
    )
    of_turns = f", {wrote.of_conversations} of them turns of conversations," if wrote.of_conversations else ""
    text = f"Wrote {wrote.requests} requests{of_turns} to {visible(str(path))}."
    for what, left_out in (("Runs", wrote.left_out), ("Turns", wrote.turns_left_out)):
        if left_out:
            text += f"\n{what} left out: " + ", ".join(f"{count} {why}" for why, count in left_out.items()) + "."
    if wrote.unknown_runs:
        text += f"\nChoices of {_runs(wrote.unknown_runs)} are of runs that this store lacks, or that do not match."
    echo(as_json, {"file": str(path), **to_json(wrote)}, text)


def _pin(runs: list[str], store: str, as_json: bool, *, pinned: bool) -> None:
    with TraceStore(store, create=False) as traces:
        ids = pin_runs(traces, runs, pinned=pinned)
    text = f"Pinned {_runs(len(ids))}." if pinned else f"Unpinned {_runs(len(ids))}."
    echo(as_json, {"pinned": pinned, "runs": [str(run) for run in ids]}, text)


def _pruned(report: PruneReport) -> str:
    what = _runs_and_turns(report.runs, report.conversation_turns)
    lines = [f"{'Would delete' if report.dry_run else 'Deleted'} {what}, about {_size(report.bytes)}."]
    lines += [
        f"  {part.reason}: {_runs_and_turns(part.runs, part.conversation_turns)}, about {_size(part.bytes)}"
        for part in report.reasons
    ]
    if report.oldest is not None and report.newest is not None:
        lines.append(f"  started {report.oldest:%d %b %Y %H:%M} to {report.newest:%d %b %Y %H:%M} UTC")
    kept = [f"{count} {why}" for count, why in ((report.pinned, "pinned"), (report.running, "maybe running")) if count]
    if kept:
        lines.append(f"Kept although the rules match them: {', '.join(kept)}.")
    if report.reclaimed is not None:
        lines.append(f"Space freed: {_size(report.reclaimed.bytes)} ({report.reclaimed.how}).")
    if report.dry_run and report.reasons:
        lines.append("Nothing was deleted: give --yes to delete them.")
    return "\n".join(lines)


def _bytes(size: str) -> int:
    text = size.strip().upper()
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1)
        return int(value)
    except (ValueError, OverflowError):
        raise ConfigError(f"--max-size {size!r} is not a size. Give one such as 500MB or 2GB.") from None


def _size(count: int) -> str:
    for unit in ("GB", "MB", "KB"):
        if count >= _UNITS[unit]:
            return f"{count / _UNITS[unit]:.1f} {unit}"
    return f"{count} bytes"


def _with_turns(runs: int, turns: int) -> str:
    return _runs(runs) + (f" and {turns} turns of conversations" if turns else "")


def _runs_and_turns(runs: int, turns: int) -> str:
    return _with_turns(runs, turns) + (" without a run" if turns else "")


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
