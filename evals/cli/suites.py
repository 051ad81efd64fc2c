"""`deeprec eval run|compare|report`: suites from the command line."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn

from deeprec.agent.cli.trace_options import DEFAULT_STORE, StoreOption
from deeprec.evals.cli.terminal_table import terminal_table
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT, DEFAULT_CACHE, JsonOption, artifact_is_there
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.progress import StepProgress

if TYPE_CHECKING:
    from rich.table import Table

    from deeprec.evals.suites.comparison import Difference
    from deeprec.evals.suites.progress import SuiteProgress
    from deeprec.evals.suites.report import SuiteReport

SuiteArgument = Annotated[str, typer.Argument(help="A suite: its file, or the name of one that comes with deeprec.")]


def run(
    suite: SuiteArgument,
    artifact: Annotated[
        Path, typer.Option(help="The recommender of all systems.", callback=artifact_is_there)
    ] = DEFAULT_ARTIFACT,
    store: StoreOption = DEFAULT_STORE,
    base_url: Annotated[
        str | None, typer.Option(envvar="DEEPREC_BASE_URL", help="The model's server; `deeprec llm serve` starts one.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the embedded model for as long as the suite runs.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Run only this system; may be given several times.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many agents run at once.")] = 32,
    as_json: JsonOption = False,
) -> None:
    """Run what the store lacks of a suite. After an interruption the same command continues where it was."""
    from deeprec.evals.suites.suite import load_suite, read_named_data

    chosen = load_suite(suite)

    from deeprec.agent import TraceStore, load_shipped_adapter, make_server, pull_embedded_model, wait_with_progress
    from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL
    from deeprec.evals.suites.harness import run_suite
    from deeprec.evals.suites.report import make_report
    from deeprec.evals.suites.results import load_results
    from deeprec.trm_tool import load_artifact

    if serve and base_url is not None:
        raise ConfigError("--serve starts a server, and --base-url names one. Give one of the two.")
    console = Console(stderr=True)
    console.print(f"Suite {chosen.name}: loading {artifact} and its data …", soft_wrap=True, markup=False)
    loaded = load_artifact(artifact)
    dataset = read_named_data(chosen.data)
    server = None
    if serve:
        model = pull_embedded_model(EMBEDDED_MODEL)
        server = make_server(model, log=Path(".deeprec/logs/server.log"), max_num_seqs=concurrency)
    with server or nullcontext():
        if server is not None:
            wait_with_progress(server, console)
            base_url = server.base_url
            asyncio.run(load_shipped_adapter(server))
        with TraceStore(store) as traces, _Bars(console) as bars:
            label = run_suite(
                chosen,
                traces,
                dataset=dataset,
                artifact=loaded,
                base_url=base_url,
                cache=DEFAULT_CACHE,
                only=only or [],
                max_concurrency=concurrency,
                on_progress=bars.show,
                on_note=lambda note: console.print(f"Note: {note}", soft_wrap=True, markup=False, style="yellow"),
            )
            results = load_results(traces, label)
    names = [system.name for system in results.systems]
    if chosen.baseline in names:
        report = make_report(results, baseline=chosen.baseline)
    else:  # what ran is shown all the same
        report = make_report(results, baseline=names[0])
        note = f"The baseline {chosen.baseline} has no runs here yet, so that {names[0]} stands in its place."
        note += f" `deeprec eval run {suite} --only {chosen.baseline}` makes them."
        report = replace(report, warnings=[note, *report.warnings])
    _show(report, as_json=as_json)


def compare(
    suite: SuiteArgument,
    first: Annotated[str, typer.Argument(help="A system of the suite.")],
    second: Annotated[str, typer.Argument(help="The system that it is compared with.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Compare two systems of a suite, paired by user, from stored runs alone."""
    from deeprec.agent import TraceStore
    from deeprec.evals.suites.comparison import compare_slices, compare_systems
    from deeprec.evals.suites.report import protocol, weaknesses
    from deeprec.evals.suites.report_page import system_title
    from deeprec.evals.suites.results import load_results

    with TraceStore(store, create=False) as traces:
        results = load_results(traces, _name_of(suite))
    one, other = results.system(first), results.system(second)
    names = [name for name in one.measures if "@" in name and name in other.measures]
    found = compare_systems(one, other, names)
    sliced = compare_slices(results, first, second, f"ndcg@{results.k} filled")
    if as_json:
        result = {
            "suite": results.label,
            "protocol": protocol(results),
            "warnings": weaknesses(results),
            "differences": [difference.to_dict() for difference in found],
            "slices": [difference.to_dict() for difference in sliced],
        }
        typer.echo(json.dumps(result, indent=2, allow_nan=False))
        return
    console = Console(highlight=False)
    title = f"{system_title(one)} against {system_title(other)}, {results.label}"
    console.print(_table(title, "measure", found))
    if sliced:
        console.print()
        console.print(_table(f"ndcg@{results.k} filled, by slice", "slice", sliced))
    _print_notes(console, protocol(results), weaknesses(results))


def report(
    suite: SuiteArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The HTML file; the figures go to the same name with .json.")
    ],
    store: StoreOption = DEFAULT_STORE,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The system that every other one is compared with.", show_default="the suite's own, else trm"
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also write the main figure to this PNG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page with plots, and its figures as JSON, from stored runs alone: no model is called."""
    from deeprec.agent import TraceStore
    from deeprec.evals.suites.report import make_report
    from deeprec.evals.suites.report_page import key_plot, render_html
    from deeprec.evals.suites.results import load_results

    with TraceStore(store, create=False) as traces:
        made = make_report(load_results(traces, _name_of(suite)), baseline=baseline or _baseline_of(suite))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(render_html(made), encoding="utf-8")
        out.with_suffix(".json").write_text(json.dumps(made.to_dict(), indent=2, allow_nan=False) + "\n", "utf-8")
        if plot is not None:
            plot.write_bytes(key_plot(made))
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}. Name another place.") from error
    _show(made, as_json=as_json)
    if not as_json:
        typer.echo(f"Written: {out} and {out.with_suffix('.json')}")


def _name_of(suite: str) -> str:
    """Look up a suite's name in the store, given its file, its name or a label."""
    from deeprec.evals.suites.suite import load_suite

    return load_suite(suite).name if Path(suite).is_file() else suite


def _baseline_of(suite: str) -> str:
    """Look up the baseline of a suite, given its file, its name or a label; `trm` for a name that is not packaged."""
    from deeprec.evals.suites.suite import load_suite, packaged_suites

    name = suite if Path(suite).is_file() else suite.partition("@")[0]
    return load_suite(name).baseline if Path(name).is_file() or name in packaged_suites() else "trm"


def _show(made: SuiteReport, *, as_json: bool) -> None:
    from deeprec.evals.suites.comparison import WORD_SLICES
    from deeprec.evals.suites.report import protocol
    from deeprec.evals.suites.report_page import system_title

    if as_json:
        typer.echo(json.dumps(made.to_dict(), indent=2, allow_nan=False))
        return
    results = made.results
    names = [f"{metric}@{results.k} {listing}" for listing in ("filled", "written") for metric in ("recall", "ndcg")]
    table = terminal_table(results.label, "system", results.unit, *names, "ceiling")
    for system in results.systems:
        cells = [system.interval(key).text(two_lines=True) for key in (*names, "found")]
        table.add_row(escape(system_title(system)), str(len(system.users)), *cells)
    console = Console(highlight=False)
    console.print(table)
    if made.differences:
        console.print()
        console.print(_table(f"Against {made.baseline}, {made.measure}", "first", made.differences))
    if made.oracle_shares:
        console.print()
        shares = terminal_table(f"From {made.baseline} (0) to the oracle (1), {made.measure}", "system", "share", "n")
        for name, share in made.oracle_shares.items():
            shares.add_row(escape(name), share.text(), str(share.n))
        console.print(shares)
    by_words = [difference for difference in made.sliced if difference.slice in WORD_SLICES]
    if by_words:
        console.print()
        console.print(_table(f"{by_words[0].first} against {made.baseline}, by the words", "slice", by_words))
    _print_notes(console, protocol(results), made.warnings)


def _print_notes(console: Console, protocol: str, warnings: Sequence[str]) -> None:
    console.print(protocol, soft_wrap=True, markup=False)
    for warning in warnings:
        console.print(f"Note: {warning}", soft_wrap=True, markup=False, style="yellow")


def _table(title: str, label: str, differences: Sequence[Difference]) -> Table:
    """Lay differences out, one a line; `label` is the field that names it. Names come from files and are no markup."""
    from deeprec.evals.metrics.statistics import FEW_USERS
    from deeprec.evals.suites.report import p_text

    heads = ("users", "its mean", "other", "difference", "p", "p, corrected", "could show")
    table = terminal_table(title, "system" if label == "first" else label, *heads)
    for found in differences:
        could = "–" if math.isnan(found.smallest) else f"{found.smallest:.3f}"
        table.add_row(
            escape(str(getattr(found, label))),
            f"{found.interval.n}, too few" if found.interval.n < FEW_USERS else str(found.interval.n),
            f"{found.first_mean:.3f}",
            f"{found.second_mean:.3f}",
            found.interval.text(two_lines=True),
            p_text(found.p_value),
            p_text(found.corrected_p),
            could,
        )
    return table


class _Bars:
    """A progress bar for each system, with the time left at the pace so far."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._progress, self._tasks = StepProgress(*columns, console=console), dict[str, TaskID]()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, at: SuiteProgress) -> None:
        """Move a system's bar."""
        left = "" if math.isnan(at.seconds_left) or at.done == at.total else f"{at.seconds_left / 60:.0f} min left"
        if at.system not in self._tasks:
            self._tasks[at.system] = self._progress.add_task(at.system, total=at.total, left=left)
        self._progress.update(self._tasks[at.system], completed=at.done, left=left)
