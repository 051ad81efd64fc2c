"""`deeprec train knowledge` and `deeprec train feedback`: what people will like, written, scored and learned from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deeprec.agent.cli.trace_options import DEFAULT_STORE, StoreOption
from deeprec.training.cli.trainers import AdapterServerOption, BaseOption, base_model
from deeprec.training.feedback.feedback_config import BACKBONES, FeedbackConfig
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import DEFAULT_CACHE, ColumnOptions, DataOption, JsonOption
from deeprec.trm_tool.text import hide_passwords, plain

if TYPE_CHECKING:
    from deeprec.training.feedback.knowledge_runs import KnowledgeRun

_DEFAULTS = FeedbackConfig()
_EXAMPLES = 3

RequestsOption = Annotated[
    bool, typer.Option("--requests", help="Each person says a made sentence about the target; without it, nothing.")
]
FreeOption = Annotated[
    bool, typer.Option("--free", help="Let the model write freely; else the server holds it to the catalogue's values.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of people, samples and trainings.")]


@option_groups
def knowledge(
    store: StoreOption = DEFAULT_STORE,
    split: Annotated[
        str, typer.Option(help="Whose target follows the history: learn (fourth-last), train, valid or test.")
    ] = "train",
    people: Annotated[int, typer.Option(min=1, help="People to write about, at most.")] = _DEFAULTS.people,
    group_size: Annotated[int, typer.Option(min=1, help="Pieces of knowledge of each person.")] = _DEFAULTS.group_size,
    name: Annotated[str, typer.Option(help="The suite of the runs.")] = "knowledge",
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the sampling; training reads runs of 1.")] = 1.0,
    requests: RequestsOption = False,
    free: FreeOption = False,
    model: Annotated[
        str | None, typer.Option(help="The model or a loaded adapter of the server.", show_default="its only model")
    ] = None,
    base_url: AdapterServerOption = None,
    data: DataOption = None,
    columns: ColumnOptions = ColumnOptions(),
    concurrency: Annotated[int, typer.Option(min=1, help="Pieces in flight at once.")] = _DEFAULTS.concurrency,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Have a model write what people will like, from the catalogue's factors; each piece is a run of its own kind.

    After an interruption the same command continues.
    """
    from deeprec.agent import CompletionPolicy, TraceStore, open_model_server
    from deeprec.agent.traces import RunFilter
    from deeprec.evals.suites.suite import MAX_REQUEST_SECONDS
    from deeprec.training.feedback.collection import KnowledgeConfig, collect_knowledge
    from deeprec.training.feedback.knowledge import catalogue_factors
    from deeprec.training.feedback.knowledge_cases import knowledge_cases
    from deeprec.training.feedback.knowledge_runs import read_knowledge_runs

    label = f"{name}/{split}"
    plan = KnowledgeConfig(
        label=label, split=split, group_size=group_size, guided=not free, temperature=temperature, seed=seed
    )
    dataset = columns.read(data)
    factors = catalogue_factors(dataset.catalogue)
    cases = knowledge_cases(dataset, split, people=people, requests=requests, seed=seed)
    console = Console(stderr=True, highlight=False, quiet=as_json)
    with TraceStore(store) as traces, console.status("Looking for a model server …") as status:
        server = open_model_server(base_url, on_progress=lambda line: status.update(line))

        async def write() -> None:
            async with CompletionPolicy(server.base_url, model, timeout_s=MAX_REQUEST_SECONDS) as policy:
                await collect_knowledge(
                    policy,
                    dataset,
                    traces,
                    cases,
                    plan,
                    max_concurrency=concurrency,
                    on_ended=lambda done, total: status.update(f"{done:,} of {total:,} pieces of knowledge …"),
                )

        try:
            asyncio.run(write())
        finally:
            server.stop()
        runs = list(read_knowledge_runs(traces, RunFilter(label=label)))
    valid = [run for run in runs if run.knowledge is not None]
    if as_json:
        typer.echo(json.dumps({"suite": label, "runs": len(runs), "valid": len(valid)}, indent=2))
        return
    named = "; ".join(f"{factor.name} ({len(factor.values)} values)" for factor in factors)
    lines = [f"Factors: {named}.", f"{len(valid):,} of {len(runs):,} pieces are knowledge, stored under {label}."]
    for line in [*lines, *map(_example, valid[:_EXAMPLES])]:
        typer.echo(plain(line, 400))
    typer.echo(plain(f"Read one: deeprec traces ls --suite {label} --store {quote(hide_passwords(store))}", 400))


@option_groups
def feedback(
    out: Annotated[
        Path, typer.Option(help="The folder of recommenders, adapter and results. The same command continues it.")
    ],
    store: StoreOption = DEFAULT_STORE,
    data: DataOption = None,
    columns: ColumnOptions = ColumnOptions(),
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="A recommender to add knowledge to: trm or sasrec. The first is the reward model.",
            show_default="both",
        ),
    ] = None,
    requests: RequestsOption = False,
    people: Annotated[int, typer.Option(min=1, help="People to learn from, at most.")] = _DEFAULTS.people,
    test_people: Annotated[int, typer.Option(min=1, help="People to measure on, at most.")] = _DEFAULTS.test_people,
    group_size: Annotated[int, typer.Option(help="Pieces of knowledge of each person.")] = _DEFAULTS.group_size,
    free: FreeOption = False,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each recommender, at most.")] = _DEFAULTS.epochs,
    margin: Annotated[float, typer.Option(help="The smallest gap of two scores that makes a pair.")] = 0.0,
    learning_rate: Annotated[
        float | None, typer.Option(help="The learning rate of DPO.", show_default="the trainer's own")
    ] = None,
    dpo_epochs: Annotated[int, typer.Option(min=1, help="Passes over the pairs.")] = _DEFAULTS.dpo_epochs,
    name: Annotated[str, typer.Option(help="The start of the suites of the runs.")] = _DEFAULTS.name,
    base: BaseOption = None,
    base_url: AdapterServerOption = None,
    encoder: Annotated[
        str | None, typer.Option(help="The text encoder of items and knowledge.", show_default="the embedded one")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Pieces in flight at once.")] = _DEFAULTS.concurrency,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Tune a model by the rankings that its knowledge leads to (RLRF4Rec), and measure what that is worth.

    Knowledge is written and scored, best and worst of each person are paired, DPO learns from the pairs, and the
    recommender learns from the tuned model's knowledge. After an interruption the same command continues.
    """
    from deeprec.agent import TraceStore
    from deeprec.training.feedback.feedback import run_feedback, summary
    from deeprec.training.feedback.feedback_report import report_lines
    from deeprec.training.feedback.knowledge import catalogue_factors
    from deeprec.training.trainers.policy_model import require_trl
    from deeprec.trm_tool import make_encoder

    config = FeedbackConfig(
        name=name,
        backbones=tuple(backbone or BACKBONES),
        requests=requests,
        people=people,
        test_people=test_people,
        group_size=group_size,
        guided=not free,
        epochs=epochs,
        margin=margin,
        learning_rate=learning_rate,
        dpo_epochs=dpo_epochs,
        seed=seed,
        concurrency=concurrency,
    )
    require_trl()
    dataset = columns.read(data)
    catalogue_factors(dataset.catalogue)  # before a store is made and a model is written
    console = Console(stderr=True, highlight=False)
    try:
        with TraceStore(store) as traces:
            result = run_feedback(
                config,
                out,
                store=traces,
                dataset=dataset,
                encoder=make_encoder() if encoder is None else make_encoder(encoder),
                base=base_model(base),
                base_url=base_url,
                cache=DEFAULT_CACHE,
                say=lambda line: console.print(line, soft_wrap=True, markup=False),
            )
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on from here.")
        raise
    if as_json:
        typer.echo(json.dumps(summary(result), indent=2, allow_nan=False))
        return
    for line in report_lines(result.report):
        typer.echo(line)
    typer.echo(f"The tuned policy: {result.adapter}")
    for each, path in result.recommenders.items():
        typer.echo(f"The re-aligned {each}: {path}")


def _example(run: KnowledgeRun) -> str:
    said = f" ({run.message})" if run.message else ""
    return f"  {run.user}{said}: {run.knowledge}"
