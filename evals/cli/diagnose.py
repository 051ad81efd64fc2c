"""`deeprec eval diagnose`: what went right and wrong in many logged runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.agent.cli.trace_options import DEFAULT_STORE, RunOptions, StoreOption
from deeprec.evals.cli.terminal_table import terminal_table
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from deeprec.evals.diagnosis.records import Diagnosis, WordFigures
    from deeprec.evals.metrics.streaming import Spread


@option_groups
def diagnose_runs(
    store: StoreOption = DEFAULT_STORE,
    runs: RunOptions = RunOptions(),
    worth: Annotated[int, typer.Option(min=0, help="How many runs to name as worth reading, at most.")] = 10,
    plots: Annotated[Path | None, typer.Option(help="Also write the figures to this folder, as PNG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Diagnose logged runs: how they end, what they find and list, what is odd, what they cost, which to read.

    `deeprec train check` takes the same filters and reports which of the runs can be trained on.
    """
    from deeprec.agent.traces import TraceStore
    from deeprec.evals.diagnosis.diagnose import diagnose

    with TraceStore(store, create=False) as traces:
        diagnosis = diagnose(traces, runs.filter(), worth=worth)
    files = [] if plots is None or not diagnosis.runs else write_plots(diagnosis, plots)
    if as_json:
        typer.echo(json.dumps({**diagnosis.to_dict(), "plots": [str(file) for file in files]}, indent=2))
        return
    if not diagnosis.runs:
        typer.echo("No run matches.")
        return
    from rich.console import Console

    from deeprec.agent import visible

    console = Console(highlight=False)
    if len(diagnosis.systems) > 1:
        pooled = ", ".join(f"{visible(name, 40) or 'none named'} ({n:,})" for name, n in diagnosis.systems.items())
        note = f"Note: runs of several systems, all taken together; --system picks one: {pooled}"
        console.print(note, soft_wrap=True, markup=False, style="yellow")
    for table in tables(diagnosis):
        console.print(table)
        console.print()
    for file in files:
        console.print(f"Wrote {file}", markup=False, soft_wrap=True)


def write_plots(diagnosis: Diagnosis, folder: Path) -> list[Path]:
    """Write every figure of a diagnosis into a folder, as PNG."""
    from deeprec.evals.diagnosis.plots import plot_diagnosis

    figures = plot_diagnosis(diagnosis)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in figures.items():
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1], dpi=120)
    return files


def tables(diagnosis: Diagnosis) -> Iterable[Table]:
    """Lay a diagnosis out as tables for a terminal."""
    from deeprec.agent import visible

    left = ", ".join(f"{count:,} {_LEFT_OUT[name]}" for name, count in diagnosis.left_out.items() if count)
    title = f"{diagnosis.runs:,} runs" + (f"; left out below: {left}" if left else "")
    ended = terminal_table(title, "", "share, 95% interval", "runs", "the commonest details")
    for ending in diagnosis.endings:
        if not ending.runs and ending.status == "running":
            continue
        details = "; ".join(f"{visible(text, 100)} ({count:,})" for text, count in ending.details[:3])
        ended.add_row(visible(ending.status, 20), ending.share.text(), f"{ending.runs:,}", _text(details))
    ended.add_row("incomplete", diagnosis.incomplete.text(), "", "(the trace store failed; steps may be missing)")
    yield ended

    target, lists = diagnosis.target, diagnosis.lists
    if target.found.n:
        found = terminal_table("The target", *_SHARES)
        for point in target.ceiling:
            found.add_row(f"found by turn {point.turn}", point.found.text(), f"{point.found.n:,}", "")
        _rows(found, target, {"written": "in the list as written", "shown": "in the list as shown"})
        _rows(found, target, {"written_of_found": "as written, where found"})
        yield found

    searched = terminal_table("What was searched for", *_SHARES)
    asked = diagnosis.preferences
    floor = "at least " if asked.distinct_is_floor else ""
    searched.add_row("preferences", "", f"{asked.searches:,}", f"{floor}{asked.distinct:,} different")
    _rows(searched, asked, {"repeated": "repeated within the run", "items_seen": "items that were found before"})
    _rows(searched, asked, {"phrase_distance": "distance of phrases", "word_distance": "distance of words"})
    if asked.cosine_distance.n:
        _rows(searched, asked, {"cosine_distance": "distance of embeddings"})
    commonest = "; ".join(f"{visible(text, 40)} ({count:,})" for text, count in asked.commonest[:5])
    searched.add_row("commonest", "", "", _text(commonest))
    yield searched

    if diagnosis.words is not None:
        yield _words_table(diagnosis.words)

    wrote = terminal_table("The list as the model wrote it", *_SHARES)
    _rows(wrote, lists, {"wrote": "runs that wrote one", "full": "as long as asked for"})
    _rows(
        wrote, lists, {"ungrounded": "entries that name nothing found", "lists_ungrounded": "lists with such an entry"}
    )
    _rows(wrote, lists, {"repeated": "entries that repeat one", "lists_repeated": "lists with a repeat"})
    copying, places = diagnosis.copying, diagnosis.positions
    _rows(wrote, copying, {"same_first": "the first retrieval, copied", "overlap_first": "items from its top"})
    _rows(wrote, copying, {"same_fused": "all retrievals fused, copied", "overlap_fused": "items from their top"})
    _rows(wrote, places, {"mean": "place among candidates, 0 to 1", "first_choice": "place of the first choice"})
    wrote.add_row(
        "from the first 5 candidates",
        places.first_five.text(),
        f"{places.first_five.n:,}",
        _text("" if math.isnan(places.first_five_by_chance) else f"{places.first_five_by_chance:.3f} by chance"),
    )
    yield wrote

    cost = terminal_table("What it took", "", "median", "p95", "largest", "n")
    for name, (words, unit) in _COSTS.items():
        cost.add_row(words, *_quantiles(getattr(diagnosis.cost, name), unit))
    yield cost

    if diagnosis.worth_reading:
        worth = terminal_table("Worth reading: deeprec traces show RUN", "run", "because", "")
        for run in diagnosis.worth_reading:
            worth.add_row(str(run.run_id)[:13], run.reason, _text(visible(run.why, 200)))
        yield worth


def _words_table(figures: WordFigures) -> Table:
    from deeprec.agent import visible

    table = terminal_table("What was heard of the words", *_SHARES)
    _rows(table, figures, {"precision": "preference that the words support", "recall": "words that it holds"})
    for title, phrases, other in (("misheard", figures.misheard, "missed"), ("missed", figures.missed, "written")):
        for each in phrases[:5]:
            others = "; ".join(f"{visible(text, 40)} ({count:,})" for text, count in each.others)
            beside = f", {other}: {others}" if others else ""
            shown = f"{visible(each.phrase, 40)}{beside}, as in “{visible(each.words, 100)}”"
            table.add_row(title, "", f"{each.runs:,}", _text(shown))
    return table


_LEFT_OUT = {
    "forks": "forks and replays",
    "knowledge": "of knowledge",
    "running": "still running",
    "aborted": "aborted",
    "incomplete": "incomplete",
}
_SHARES = ("", "share, 95% interval", "n", "")
_COSTS = {
    "run_tokens": ("tokens written a run", 1),
    "run_tokens_read": ("tokens read a run", 1),
    "run_turns": ("turns a run", 1),
    "run_retrievals": ("retrievals a run", 1),
    "run_ms": ("seconds a run", 1000),
    "turn_tokens": ("tokens written a turn", 1),
    "turn_ms": ("seconds a turn", 1000),
    "turn_tokens_per_second": ("tokens a second, in a turn", 1),
}


def _rows(table: Table, figures: object, names: dict[str, str]) -> None:
    """Add a row for each interval of a record."""
    for name, words in names.items():
        interval = getattr(figures, name)
        table.add_row(words, interval.text(), f"{interval.n:,}", "")


def _quantiles(spread: Spread, unit: float) -> list[str]:
    values = [value / unit for value in (spread.median, spread.p95, spread.largest)]
    return ["-" if math.isnan(v) else f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in values] + [f"{spread.n:,}"]


def _text(text: str) -> Text:
    """Text of a database, which is never read as markup."""
    from rich.text import Text

    return Text(text)
