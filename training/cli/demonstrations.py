"""`deeprec train demonstrations`: runs to learn from that show what to ask for, made of requests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deeprec.agent.cli.trace_options import DEFAULT_STORE, StoreOption, to_json
from deeprec.training.cli.trainers import BaseOption, base_model
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import ColumnOptions, DataOption, JsonOption, artifact_is_there, is_there
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import hide_passwords, plain

if TYPE_CHECKING:
    from deeprec.training.demonstrations.collection import Demonstrations


@option_groups
def demonstrations(
    requests: Annotated[Path, typer.Option(help="A file of requests, made or from your own log.", callback=is_there)],
    artifact: Annotated[
        Path,
        typer.Option(
            help="The recommender that is asked: one of `trm train --holdout 3`, which saw no target.",
            callback=artifact_is_there,
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    data: DataOption = None,
    columns: ColumnOptions = ColumnOptions(),
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="A file of requests that policies are measured on; nothing is learned from its conversations."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The suite of the runs.", show_default="demonstrations")] = None,
    max_phrases: Annotated[
        int | None, typer.Option(min=1, max=6, help="Phrases that a run asks for, at most.", show_default="4")
    ] = None,
    closest: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How many of the phrases closest to a message it supports; 0 for those alone that it names.",
            show_default="4",
        ),
    ] = None,
    base: BaseOption = None,
    allow_leaks: Annotated[
        bool,
        typer.Option(
            "--allow-leaks", help="Also take requests about held-out targets, in words of tests, or of unknown people."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make runs for `train sft` of requests: each asks for what its words support and what raises its target.

    The recommender is asked which of the phrases on offer raise the target; no language model and no server are needed.
    After an interruption the same command continues.
    """
    from deeprec.agent import TraceStore
    from deeprec.evals.requests.request_cases import read_request_cases
    from deeprec.training.demonstrations.collection import DemonstrationConfig, collect_demonstrations
    from deeprec.trm_tool import Retriever
    from deeprec.trm_tool.data import read_requests

    given = {"name": name, "max_phrases": max_phrases, "closest": closest}
    config = DemonstrationConfig(**{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    recommender = Retriever.load(artifact)
    asked = read_requests(requests, catalogue=recommender.catalogue)
    cases = () if held_out is None else read_request_cases(held_out, recommender.catalogue).cases
    dataset = columns.read(data) if data is not None or not allow_leaks else None
    console = Console(stderr=True, highlight=False, quiet=as_json)
    try:
        with TraceStore(store) as traces, console.status("Asking the recommender …") as status:
            made = collect_demonstrations(
                asked,
                recommender,
                traces,
                base=base_model(base),
                dataset=dataset,
                held_out=cases,
                allow_leaks=allow_leaks,
                config=config,
                on_progress=lambda read, runs: status.update(f"{read:,} requests read, {runs:,} demonstrations …"),
            )
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on from here.")
        raise
    if as_json:
        typer.echo(json.dumps(to_json(dataclasses.asdict(made)), indent=2, allow_nan=False))
    else:
        for line in _lines(made, store):
            typer.echo(plain(line, 400))
    if not made.runs:
        raise ConfigError(f"No demonstration could be made of {made.requests:,} requests. The counts say why.")


def _lines(made: Demonstrations, store: str) -> list[str]:
    """The counts in words, and what comes next."""
    lines = [f"{made.runs:,} demonstrations of {made.requests:,} requests, {made.new:,} of them new."]
    if made.mean_reciprocal_rank is not None and made.mean_reciprocal_rank_before is not None:
        lines.append(
            f"They raise their targets from a mean reciprocal rank of {made.mean_reciprocal_rank_before:.3f} (history "
            f"and words) to {made.mean_reciprocal_rank:.3f}."
        )
    lines += [f"Left out: {count:,} ({reason})." for reason, count in made.left_out.items()]
    skipped = ", ".join(f"{count:,} in {name}" for name, count in made.unknown_ids.items() if count)
    if skipped:
        lines.append(f"Skipped: ids that the catalogue lacks ({skipped}).")
    if made.runs:
        named = quote(hide_passwords(store))
        lines.append(f"Train on them: deeprec train sft --suite {made.suite} --store {named} --out OUT")
    return lines
