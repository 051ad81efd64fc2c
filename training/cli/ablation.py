"""`deeprec train ablation`: what each piece of a training is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deeprec.training.cli.trainers import AdapterServerOption
from deeprec.trm_tool.cli.options import JsonOption
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import plain
from deeprec.trm_tool.trm.artifact_folder import check_artifact

if TYPE_CHECKING:
    from deeprec.training.ablation.table import AblationTable


def ablation(
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN", help="A YAML file, or a plan that comes with deeprec: made-requests or histories."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The folder of the ablation, its trace store included. The same command continues it.")
    ],
    row: Annotated[
        list[str] | None,
        typer.Option(
            help="Run only this row; may be given several times.", show_default="all that are missing, in order"
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="A size of the plan: cpu, pilot, gpu, or what else its file has.")] = "cpu",
    table: Annotated[
        bool, typer.Option("--table", help="Run nothing: print the table of the rows that are done.")
    ] = False,
    artifact: Annotated[
        Path | None,
        typer.Option(help="The recommender, trained with --holdout 3.", show_default="the plan's"),
    ] = None,
    base_url: AdapterServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a method with one piece changed, a row each, and measure all rows on the same people.

    Rows that share a part of their training share it. A row that fails is run again by the same command.
    """
    from deeprec.training.ablation.plan import FULL, load_ablation_plan

    chosen = load_ablation_plan(plan).sized(size)
    chosen.check_rows(row or ())
    if table and row:
        raise ConfigError("--table prints all rows that are done, and --row runs one. Give one of the two.")
    config = chosen.settings()[FULL].config
    recommender = artifact or Path(config.artifact)
    if not table:
        check_artifact(recommender, holdout=3)

    from deeprec.agent import pull_embedded_model
    from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL
    from deeprec.evals.suites.suite import read_named_data
    from deeprec.training.ablation.ablation import run_ablation, show_ablation
    from deeprec.training.trainers.policy_model import require_trl
    from deeprec.trm_tool import encoder_of_artifact, load_artifact

    console = Console(stderr=True, highlight=False)

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False)

    if table:
        _show(show_ablation(chosen, out, say=say), as_json=as_json)
        return
    require_trl()
    loaded = load_artifact(recommender)
    try:
        made = run_ablation(
            chosen,
            out,
            rows=row or (),
            dataset=read_named_data(config.data),
            artifact=loaded,
            encoder=encoder_of_artifact(str(loaded.config["encoder_id"])),
            base=pull_embedded_model(EMBEDDED_MODEL) if config.base is None else config.base,
            base_url=base_url,
            say=say,
        )
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on from here.")
        raise
    _show(made, as_json=as_json)
    if failed := [name for name in row or chosen.rows if name in made.failed]:
        raise ConfigError(f"Failed: {', '.join(failed)}. The others are done; the same command runs the failed again.")


def _show(made: AblationTable, *, as_json: bool) -> None:
    from deeprec.evals.cli.terminal_table import terminal_table
    from deeprec.training.ablation.plan import ALONE, FULL

    if as_json:
        typer.echo(json.dumps(made.to_dict(), indent=2, allow_nan=False))
        return
    ndcg, recall = made.measures
    people = max((row.means[ndcg].n for row in made.rows), default=0)
    shown = terminal_table(
        f"{made.name}, size {made.size}: {people} people",
        "row",
        *map(_short, made.measures),
        f"less {FULL}",
        f"less {ALONE}",
    )
    for row in made.rows:
        means = (f"{row.means[measure].mean:.3f}" for measure in (ndcg, recall))
        less = (
            row.differences[other].interval.text(signed=True) if other in row.differences else ""
            for other in (FULL, ALONE)
        )
        shown.add_row(row.name, *means, *less)
    Console(highlight=False).print(shown)
    for line in made.sentences():
        typer.echo(plain(line, 1000))


def _short(measure: str) -> str:
    return measure.removesuffix(" filled")
