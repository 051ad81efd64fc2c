"""`deeprec train export`: rollouts with their rewards, for trainers elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deeprec.agent.cli.trace_options import DEFAULT_STORE, RunOptions, StoredRunsOption
from deeprec.training.cli.train import PresetOption, TargetDataOption, WeightOption, make_stage
from deeprec.training.cli.trainers import BaseOption, base_model, check_leaks, target_data
from deeprec.training.rewards.stages import DEFAULT_PRESET
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import JsonOption


@option_groups
def export(
    layout: Annotated[str, typer.Option("--for", help="The trainer that reads the file: verl or openrlhf.")],
    out: Annotated[Path, typer.Option(help="The file of JSON lines; one that is there is replaced.")],
    store: StoredRunsOption = DEFAULT_STORE,
    stage: Annotated[str, typer.Option(help="The stage whose reward is written.")] = "recommendation",
    weight: WeightOption = None,
    preset: PresetOption = DEFAULT_PRESET,
    base: BaseOption = None,
    guided: Annotated[
        bool, typer.Option("--guided", help="Also write guided runs, as `train sft` reads them.")
    ] = False,
    data: TargetDataOption = None,
    allow_leaks: Annotated[
        bool,
        typer.Option(
            "--allow-leaks", help="Also write runs with held-out targets, or targets known to their recommender."
        ),
    ] = False,
    runs: RunOptions = RunOptions(),
    as_json: JsonOption = False,
) -> None:
    """Write rollouts by token ids with their rewards as JSON lines, for verl or OpenRLHF.

    --base is only used for OpenRLHF, which takes prompts as text.
    """
    reward = make_stage(stage, weight, preset)
    where = runs.filter()

    from deeprec.agent.traces import TraceStore
    from deeprec.training.rewards.stage_rewards import read_rewarded
    from deeprec.training.rollouts.export import export_rollouts
    from deeprec.training.trainers.policy_model import load_tokenizer

    tokenizer = load_tokenizer(base_model(base)) if layout == "openrlhf" else None
    with TraceStore(store, create=False) as traces, Console(stderr=True, quiet=as_json).status("Writing …"):
        if not allow_leaks:
            check_leaks(traces, where, target_data(data))
        rewarded = read_rewarded(traces, where, stage=reward, allow_guided=guided)
        wrote = export_rollouts(rewarded, out, layout, tokenizer=tokenizer)  # type: ignore[arg-type]  # checked there
    if as_json:
        typer.echo(json.dumps({"rollouts": wrote.rollouts, "without_reward": wrote.without_reward, "out": str(out)}))
        return
    left = f" Left out: {wrote.without_reward:,} without a reward." if wrote.without_reward else ""
    typer.echo(f"Wrote {wrote.rollouts:,} rollouts to {out}.{left}")
