"""Commands of the evaluation package: `deeprec eval`. `trm_eval` is attached to `deeprec trm` as `eval`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.evals.cli import suites as suite_cli
from deeprec.evals.cli.conversations import converse
from deeprec.evals.cli.diagnose import diagnose_runs
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import MAX_SEED, ColumnOptions, DataOption, JsonOption, artifact_is_there, is_there
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from deeprec.evals.recommenders.evaluation import TRMEvaluation

app = typer.Typer(help="Evaluate agents from their runs.", no_args_is_help=True, add_completion=False)
app.command("run")(suite_cli.run)
app.command("compare")(suite_cli.compare)
app.command("report")(suite_cli.report)
app.command("diagnose")(diagnose_runs)
app.command("converse")(converse)


@app.callback()
def _eval() -> None:
    """Evaluate agents from their runs."""


@option_groups
def trm_eval(
    artifact: Annotated[
        list[Path],
        typer.Argument(
            help="A folder from `deeprec trm train`; with --requests also several, each of another fold.",
            callback=lambda folders: [artifact_is_there(each) for each in folders],
        ),
    ],
    data: DataOption = None,
    split: Annotated[
        str,
        typer.Option(
            help="The targets: test (each user's last item), valid (the item before) or train (the one before that)."
        ),
    ] = "test",
    positions: Annotated[
        int,
        typer.Option(
            min=1, help="Targets of each user, counted backwards; more than 1 need `trm train --without-last`."
        ),
    ] = 1,
    conditions: Annotated[
        bool,
        typer.Option(
            "--conditions", help="Also evaluate preferences that are partial, reworded, half wrong, or another user's."
        ),
    ] = False,
    trust: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How far every preference is trusted, 0 to 1.", show_default="the artifact's"),
    ] = None,
    columns: ColumnOptions = ColumnOptions(),
    preferences: Annotated[
        Path | None,
        typer.Option(
            help="Also evaluate preferences of logged runs: a file from `deeprec traces export`.", callback=is_there
        ),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate on what people asked and took instead: a file from `deeprec data import-requests`.",
            callback=is_there,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of the bootstrap and of what the conditions draw.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure Recall and NDCG at 10 and 20 beside the baselines, seen items masked and not, with intervals."""
    from deeprec.evals.recommenders.evaluation import evaluate_trm
    from deeprec.evals.recommenders.written_preferences import evaluate_written, written_table
    from deeprec.evals.requests.cases import check_split
    from deeprec.trm_tool.data.preference_file import read_preference_file
    from deeprec.trm_tool.trm.artifact import load_artifact

    check_split(split)
    if requests is not None:
        _eval_requests(artifact, requests, seed, as_json)
        return
    if len(artifact) > 1:
        raise ConfigError(f"{len(artifact)} artifacts are named, and --requests alone pools folds. Name one.")
    rows = None if preferences is None else read_preference_file(preferences)
    loaded = load_artifact(artifact[0])
    dataset = columns.read(data)
    started = time.perf_counter()
    written = None if rows is None else evaluate_written(loaded, dataset, rows, split=split, trust=trust, seed=seed)
    evaluation = evaluate_trm(
        loaded, dataset, split=split, positions=positions, conditions=conditions, trust=trust, seed=seed
    )
    seconds = time.perf_counter() - started
    if as_json:
        result = evaluation.to_dict() | {"dropped": dataset.dropped, "seconds": round(seconds, 2)}
        if written is not None:
            result["written_preferences"] = written.to_dict()
        typer.echo(json.dumps(result, indent=2, allow_nan=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(make_table(evaluation))
    console.print(evaluation.protocol, soft_wrap=True, markup=False)
    for note in evaluation.notes:
        console.print(f"Note: {note}", soft_wrap=True, markup=False)
    if written is not None:
        console.print(written_table(written))
        for line in (written.protocol, *(f"Note: {note}" for note in written.notes)):
            console.print(line, soft_wrap=True, markup=False)
    console.print(f"{evaluation.users} users in {seconds:.1f} s.", style="dim")


def _eval_requests(artifacts: list[Path], path: Path, seed: int, as_json: bool) -> None:
    from deeprec.evals.recommenders.requests import evaluate_requests
    from deeprec.trm_tool.data import read_requests
    from deeprec.trm_tool.trm.retriever import Retriever

    retrievers = [Retriever.load(folder) for folder in artifacts]
    asked = list(read_requests(path, catalogue=retrievers[0].catalogue))
    evaluation = evaluate_requests(retrievers, asked, source=str(path), seed=seed)
    if as_json:
        typer.echo(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    names = list(evaluation.scores[0].metrics)
    table = Table("asked with", *names, title="Seen items masked, with 95% intervals by conversation")
    for row in evaluation.scores:
        table.add_row(row.row, *(row.metrics[name].text(4, two_lines=True) for name in names))
    for row in evaluation.scores[1:]:
        table.add_row(f"{row.row} less history", *(row.above_history[name].text(4, two_lines=True) for name in names))
    console = Console(highlight=False)
    console.print(table)
    for line in (evaluation.protocol, *(f"Note: {note}" for note in evaluation.notes)):
        console.print(line, soft_wrap=True, markup=False)


def make_table(evaluation: TRMEvaluation) -> Table:
    """Lay an evaluation out as a table: one row for each system, masked above unmasked."""
    from rich.table import Table

    names = list(evaluation.scores[0].metrics)
    table = Table(
        "system",
        "seen items",
        *names,
        title=f"{evaluation.split} targets of {evaluation.users} users, with 95% intervals",
    )
    for index, row in enumerate(evaluation.scores):
        table.add_row(
            f"{row.system} (oracle)" if row.oracle else row.system,
            "masked" if row.masked else "unmasked",
            *(row.metrics[name].text(4, two_lines=True) for name in names),
            end_section=index + 1 < len(evaluation.scores) and row.masked != evaluation.scores[index + 1].masked,
        )
    return table
