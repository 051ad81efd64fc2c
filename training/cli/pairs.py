"""`deeprec train pairs` and `deeprec train dpo`: best and worst run of scored groups, and training on them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deeprec.agent.cli.trace_options import DEFAULT_STORE, RunOptions, StoredRunsOption, to_json
from deeprec.training.cli.train import PresetOption, TargetDataOption, WeightOption, make_stage
from deeprec.training.cli.trained_lineage import origin_of_runs, write_trained_lineage
from deeprec.training.cli.trainers import (
    BaseOption,
    OutOption,
    TrainerOptions,
    base_model,
    target_data,
)
from deeprec.training.cli.training_progress import StepBar, report_training
from deeprec.training.rewards.stages import DEFAULT_PRESET
from deeprec.training.trainers.trainer_config import DpoConfig
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import JsonOption, artifact_is_there
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import hide_passwords, plain

if TYPE_CHECKING:
    from deeprec.agent.traces import TraceStore
    from deeprec.training.pairs.rollout_pairs import RolloutPair
    from deeprec.training.trainers.first_answers import FirstAnswer

_DPO = DpoConfig()


@option_groups
def pairs(
    store: StoredRunsOption = DEFAULT_STORE,
    name: Annotated[str, typer.Option(help="The name of the set of pairs; an earlier one is replaced.")] = "pairs",
    stage: Annotated[
        str | None,
        typer.Option(help="Compare runs by the reward of this stage.", show_default="recommendation"),
    ] = None,
    weight: WeightOption = None,
    preset: PresetOption = DEFAULT_PRESET,
    reward: Annotated[
        str | None,
        typer.Option(metavar="SCHEME.COMPONENT", help="Compare runs by this stored reward instead of a stage's."),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="The smallest gap of two rewards that makes a pair; equal ones never do.")
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option(help="Also write the pairs to this file, as JSON lines in TRL's preference format.")
    ] = None,
    base: BaseOption = None,
    data: TargetDataOption = None,
    allow_leaks: Annotated[
        bool,
        typer.Option("--allow-leaks", help="Also pair runs whose targets are held out, or known to their recommender."),
    ] = False,
    runs: RunOptions = RunOptions(),
    as_json: JsonOption = False,
) -> None:
    """Pair the best and the worst run of each group by a stored reward, guided ones included.

    The pairs are kept in the store, and `deeprec train dpo` learns from them. --base is only used with --out.
    """
    if reward is not None and (stage is not None or weight):
        raise ConfigError("--reward names a stored reward, --stage and --weight compose one. Give one or the other.")
    composed = None if reward is not None else make_stage(stage or "recommendation", weight, preset)

    from deeprec.agent.traces import TraceStore
    from deeprec.training.pairs.export import export_pairs
    from deeprec.training.pairs.pairing import StoredReward, make_pairs
    from deeprec.training.pairs.rollout_pairs import read_rollout_pairs
    from deeprec.training.trainers.policy_model import load_tokenizer

    if composed is None:
        scheme, _, component = str(reward).rpartition(".")
        if not scheme or not component:
            raise ConfigError(f"--reward {reward!r} is not of the form SCHEME.COMPONENT, such as deeprec.hit.")
    by = StoredReward(scheme=scheme, component=component) if composed is None else composed
    tokenizer = None if out is None else load_tokenizer(base_model(base))
    with TraceStore(store, create=False) as traces, Console(stderr=True, quiet=as_json).status("Reading …") as status:
        made = make_pairs(
            traces,
            runs.filter(),
            reward=by,
            name=name,
            margin=margin,
            dataset=target_data(data),
            allow_leaks=allow_leaks,
            on_progress=lambda done: status.update(f"{done:,} runs read …"),
        )
        if out is not None:
            export_pairs(read_rollout_pairs(traces, name, allow_leaks=True), out, tokenizer)
    if as_json:
        typer.echo(json.dumps(to_json(dataclasses.asdict(made)), indent=2, allow_nan=False))
        return
    typer.echo(
        plain(
            f"{made.pairs:,} pairs {made.name!r} of {made.groups:,} groups by {made.reward}; mean gap {made.gap:.3f}.",
            400,
        )
    )
    for reason, count in made.left_out.items():
        typer.echo(f"Left out: {count:,} groups ({reason}).")
    if made.without_reward:
        typer.echo(f"Left out: {made.without_reward:,} of {made.runs:,} runs (no finite reward).")
    for refusal, count in made.refused.items():
        typer.echo(f"Refused: {count:,} runs ({refusal}).")
    if out is not None:
        typer.echo(f"Wrote {out}.")
    typer.echo(
        plain(
            f"Train on them: deeprec train dpo --pairs {quote(name)} --store {quote(hide_passwords(store))} --out OUT",
            400,
        )
    )


@option_groups
def dpo(
    out: OutOption,
    store: StoredRunsOption = DEFAULT_STORE,
    name: Annotated[str, typer.Option("--pairs", help="The set of pairs, as `train pairs` named it.")] = "pairs",
    trainer: TrainerOptions = TrainerOptions(),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pairs.")] = _DPO.epochs,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs in one optimizer step.")] = _DPO.batch_size,
    beta: Annotated[float, typer.Option(help="How strongly the policy is held to its start.")] = _DPO.beta,
    sft_weight: Annotated[
        float, typer.Option(help="Weight of the loss per token of the chosen runs, beside that of the pairs.")
    ] = _DPO.sft_weight,
    validation: Annotated[
        float, typer.Option(help="Share of the pairs that are measured, held out from training.")
    ] = _DPO.validation,
    artifact: Annotated[
        Path | None,
        typer.Option(
            help="The recommender whose catalogue says which knowledge is valid, for pairs of knowledge runs.",
            callback=artifact_is_there,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train with DPO on pairs of runs; name the adapter that wrote them with --start.

    Before and after, held-out pairs are measured: rewards of the chosen over the rejected run, and valid answers.
    """
    config = DpoConfig(
        epochs=epochs,
        batch_size=batch_size,
        beta=beta,
        sft_weight=sft_weight,
        validation=validation,
        **trainer.settings(),
    )

    from deeprec.agent.traces import TraceStore
    from deeprec.training.pairs.rollout_pairs import read_rollout_pairs
    from deeprec.training.trainers.dpo import train_dpo
    from deeprec.training.trainers.policy_model import require_trl

    require_trl()
    base = trainer.base_model()
    with TraceStore(store, create=False) as traces:
        found = read_rollout_pairs(traces, name, dataset=trainer.dataset(), allow_leaks=trainer.allow_leaks)
        answer = _first_answer(traces, found, base, artifact) if validation else None
        origin = origin_of_runs(traces, (side.run_id for pair in found for side in (pair.chosen, pair.rejected)))
    with StepBar() as bar:
        trained = train_dpo(
            found, base=base, start=trainer.start, out=out, config=config, answer=answer, on_step=bar.show
        )
    write_trained_lineage(
        trained, method="dpo", base=base, start=trainer.start, origin=origin, config=config, pairs=len(found)
    )
    report_training(trained, out, f"{len(found)} pairs", as_json=as_json)


def _first_answer(
    store: TraceStore, found: Sequence[RolloutPair], base: Path | str, artifact: Path | None
) -> FirstAnswer | None:
    """What an answer to the pairs' prompts has to be, by the protocol of the first; None where it is not known."""
    from deeprec.training.feedback.collection import PROTOCOL
    from deeprec.training.feedback.knowledge import catalogue_factors, read_knowledge
    from deeprec.training.pairs.pairing import prompt_of
    from deeprec.training.trainers.first_answers import FirstAnswer, first_answer_tokens, tagged_answer
    from deeprec.training.trainers.policy_model import load_tokenizer
    from deeprec.trm_tool import Retriever

    protocol = store.run(found[0].chosen.run_id, omit=("tokens", "texts", "scores")).run.protocol
    longest = max(first_answer_tokens(side) for pair in found for side in (pair.chosen, pair.rejected))
    if protocol == "tagged":
        prompt = load_tokenizer(base).decode(prompt_of(found[0].chosen).tolist())
        return tagged_answer(prompt, max_tokens=longest)
    if protocol == PROTOCOL and artifact is not None:
        factors = catalogue_factors(Retriever.load(artifact).catalogue)
        return FirstAnswer(is_valid=lambda text: read_knowledge(text, factors).problem is None, max_tokens=longest)
    return None
