"""`deeprec train check` and `deeprec train score`: what a store holds to train on, and the rewards of its runs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deeprec.agent.cli.trace_options import DEFAULT_STORE, RunOptions, store_is_there, to_json
from deeprec.training.rewards.stages import DEFAULT_PRESET, RewardPreset, StageReward, check_stage, stage_reward
from deeprec.training.trainers.launcher import is_first_process
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT, JsonOption, artifact_is_there, data_is_there, is_there
from deeprec.trm_tool.errors import ConfigError

app = typer.Typer(help="Train the policy on logged runs.", no_args_is_help=True, add_completion=False)

StoreArgument = Annotated[
    str,
    typer.Argument(
        envvar="DEEPREC_STORE", help="The trace store: a SQLite file or a database URL.", callback=store_is_there
    ),
]
WeightOption = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        metavar="NAME=WEIGHT",
        help="Weight of a component of the reward; without it that of --preset. May be given several times.",
    ),
]
PresetOption = Annotated[
    RewardPreset,
    typer.Option(help="Weights of the reward: outcome pays for the target alone, paper is DeepRec's."),
]
RewardOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        help="A reward of your own, module:function or path.py:function, with weight 1. May be given several times.",
    ),
]

TargetDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="ml-100k, or a folder of RecBole files: whether recommenders have learned the targets of runs is looked "
        "up there.",
        show_default="ml-100k for runs of it",
        callback=data_is_there,
    ),
]


@app.callback()
def _train() -> None:
    """Train the policy on logged runs."""
    if not sys.stderr.isatty():  # in a log, transformers' bars are one line of thousands of characters
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not is_first_process():  # which warns for all
        logging.getLogger("deeprec").setLevel(logging.ERROR)


@app.command()
@option_groups
def check(
    store: StoreArgument = DEFAULT_STORE,
    stage: Annotated[
        str | None, typer.Option(help="Also report on the rewards of this stage: interaction or recommendation.")
    ] = None,
    weight: WeightOption = None,
    preset: PresetOption = DEFAULT_PRESET,
    base: Annotated[
        Path | None,
        typer.Option(help="Also compare the rollouts with this language model: a folder or a Hugging Face id."),
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="The adapter that is put on the model of --base.", callback=is_there)
    ] = None,
    guided: Annotated[bool, typer.Option("--guided", help="Count guided runs too, as `train sft` does.")] = False,
    data: TargetDataOption = None,
    runs: RunOptions = RunOptions(),
    as_json: JsonOption = False,
) -> None:
    """Report what can be trained on: rollouts and refusals, groups, lengths, policies, rewards, log-probabilities.

    `deeprec eval diagnose` takes the same filters and reports what went right and wrong in the runs.
    """
    if adapter is not None and base is None:
        raise ConfigError(f"--adapter {adapter} needs the model that it was trained on. Name it with --base.")
    if weight and stage is None:
        raise ConfigError("--weight changes the reward of a stage. Name the stage with --stage.")
    where = runs.filter()
    reward = None if stage is None else make_stage(stage, weight, preset)

    from rich.console import Console

    from deeprec.agent.traces import TraceStore
    from deeprec.evals.suites.suite import read_named_data
    from deeprec.training.rollouts.logprob_gap import load_current_policy
    from deeprec.training.store_report.report import report_store
    from deeprec.training.store_report.tables import store_tables

    with TraceStore(store, create=False) as traces, Console(stderr=True).status("Reading runs …") as status:
        report = report_store(
            traces,
            where,
            stage=reward,
            policy=None if base is None else load_current_policy(base, adapter),
            allow_guided=guided,
            dataset=None if data is None else read_named_data(str(data)),
            on_progress=lambda done: status.update(f"{done:,} runs read …"),
        )
    if as_json:
        typer.echo(json.dumps(to_json(report), indent=2, allow_nan=False))
        return
    console = Console(highlight=False)
    for title, table in store_tables(report) if report.runs else ():
        console.print(title, style="bold", soft_wrap=True, markup=False)
        if table is not None:
            console.print(table)
        console.print()
    for note in report.notes:
        console.print(f"Note: {note}", soft_wrap=True, markup=False, style="yellow")
    allowed = ", with --allow-leaks" if report.leaks else ""
    verdict = report.obstacle or f"GRPO can learn from these runs{allowed}."
    if report.obstacle is not None or not guided:
        console.print(verdict, soft_wrap=True, markup=False, style="red" if report.obstacle else "green")


@app.command()
@option_groups
def score(
    store: StoreArgument = DEFAULT_STORE,
    stage: Annotated[
        str, typer.Option(help="The stage whose reward is written: interaction or recommendation.")
    ] = "recommendation",
    weight: WeightOption = None,
    preset: PresetOption = DEFAULT_PRESET,
    reward: RewardOption = None,
    artifact: Annotated[
        Path,
        typer.Option(
            help="The recommender that the runs asked; for training, one of `trm train --holdout 3`.",
            callback=artifact_is_there,
        ),
    ] = DEFAULT_ARTIFACT,
    again: Annotated[
        bool, typer.Option("--again", help="Score what has been scored too, as after a change of your own reward.")
    ] = False,
    runs: RunOptions = RunOptions(),
    as_json: JsonOption = False,
) -> None:
    """Compute the reward components that runs lack, and a stage's reward of them, and write them to the store."""
    from rich.console import Console

    from deeprec.agent.traces import TraceStore
    from deeprec.evals.metrics.rewards import make_rewards
    from deeprec.training.rewards.custom import load_rewards
    from deeprec.training.rewards.stage_rewards import score_stored_runs
    from deeprec.training.store_report.target_leaks import recommender_runs
    from deeprec.trm_tool import encoder_of_artifact, load_artifact

    own = load_rewards(reward or ())
    chosen = make_stage(stage, weight, preset, own=tuple(own))
    where = runs.filter()
    loaded = load_artifact(artifact)
    rewards = {**make_rewards(loaded, encoder_of_artifact(str(loaded.config["encoder_id"]))), **own}
    with TraceStore(store, create=False) as traces, Console(stderr=True).status("Scoring …") as status:
        done = score_stored_runs(
            traces,
            where,
            rewards=rewards,
            stage=chosen,
            again=again,
            on_progress=lambda done: status.update(f"{done:,} runs scored …"),
        )
        others = sum(each.runs for each in recommender_runs(traces, where) if each.fingerprint != loaded.fingerprint)
    if as_json:
        typer.echo(json.dumps({**to_json(done), "other_recommender": others}, indent=2, allow_nan=False))
        return
    typer.echo(
        f"{done.runs:,} runs: {done.scored:,} lacked a component and were scored, of {done.composed:,} the reward of "
        f"the stage {chosen.stage} was written, {done.without_reward:,} have none (NaN)."
        + (" What was scored before stays; --again scores it again." if done.scored < done.runs and not again else "")
    )
    if done.unreadable:
        typer.echo(f"Left out: {len(done.unreadable):,} runs whose steps are damaged (such as {done.unreadable[0]}).")
    if others:
        typer.echo(
            f"Note: {others:,} runs used another recommender than {artifact}, whose vectors their lists are "
            "compared by. If that is not meant, choose them (--suite, --since) and score: --artifact ARTIFACT --again."
        )


def make_stage(
    stage: str, weights: Sequence[str] | None, preset: RewardPreset, *, own: Sequence[str] = ()
) -> StageReward:
    """Make the reward of a stage from `--stage`, `--weight NAME=WEIGHT`, `--preset` and your own rewards' names.

    Raises:
        ConfigError: there is no such stage, or a weight is not NAME=WEIGHT.
    """
    weights_by_name = dict.fromkeys(own, 1.0)
    for given in weights or ():
        name, _, value = given.partition("=")
        try:
            weights_by_name[name.strip()] = float(value)
        except ValueError:
            raise ConfigError(f"--weight {given!r} is not of the form NAME=WEIGHT, such as similarity=0.5.") from None
    return stage_reward(check_stage(stage), weights_by_name, preset=preset)
