"""`deeprec train sft` and `deeprec train grpo`: training an adapter on the runs of a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deeprec.agent.cli.trace_options import DEFAULT_STORE, RunOptions, StoredRunsOption
from deeprec.agent.serving.server_process import Dtype
from deeprec.training.cli.train import PresetOption, TargetDataOption, WeightOption, make_stage
from deeprec.training.cli.trained_lineage import origin_of_runs, write_trained_lineage
from deeprec.training.cli.training_progress import StepBar, report_training
from deeprec.training.rewards.stages import DEFAULT_PRESET
from deeprec.training.trainers.trainer_config import AdapterConfig, Credit, GrpoConfig, RatioLevel, SftConfig
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import JsonOption, is_there
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.traces import RunFilter, TraceStore
    from deeprec.training.rewards.stages import StageReward
    from deeprec.training.rollouts.advantages import ScoredRollout
    from deeprec.trm_tool import Dataset

_SFT, _GRPO, _LORA = SftConfig(), GrpoConfig(), AdapterConfig()

AdapterServerOption = Annotated[
    str | None,
    typer.Option(
        envvar="DEEPREC_BASE_URL",
        help="A server of the base model that sees OUT and loads adapters.",
        show_default="one is started",
    ),
]
OutOption = Annotated[
    Path,
    typer.Option(help="The training's folder: adapter, log, checkpoints. The same command continues what it holds."),
]


BaseOption = Annotated[
    str | None,
    typer.Option(help="The base model: a folder or a Hugging Face id.", show_default="the embedded model"),
]


def base_model(named: str | None) -> Path | str:
    """The folder or the id of the base model that was named; None is the embedded one, which is written first."""
    from deeprec.agent import pull_embedded_model
    from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL

    return pull_embedded_model(EMBEDDED_MODEL) if named is None else named


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerOptions:
    """What a training begins with and how its optimizer steps are made, for every trainer alike."""

    base: BaseOption = None
    start: Annotated[Path | None, typer.Option(help="Continue from this adapter's folder.", callback=is_there)] = None
    learning_rate: Annotated[
        float | None,
        typer.Option(help="The learning rate of AdamW.", show_default="one for an adapter, one for all weights"),
    ] = None
    rank: Annotated[int, typer.Option(min=1, help="The rank of a new LoRA adapter.")] = _LORA.rank
    full_weights: Annotated[bool, typer.Option("--full-weights", help="Train all weights, not an adapter.")] = False
    seed: Annotated[int, typer.Option(help="Seed of a new adapter's weights and of the order of runs.")] = 0
    micro_batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens in one forward pass, padding included; fewer need less memory.")
    ] = None
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 1
    report_to: Annotated[
        list[str] | None,
        typer.Option("--report-to", help="Also log to this tracker, such as tensorboard; may be given several times."),
    ] = None
    cpu: Annotated[bool, typer.Option("--cpu", help="Train on the CPU even where there is a GPU.")] = False
    dtype: Annotated[
        Dtype, typer.Option(help="Number format of the computation; auto is float32 on a CPU, bfloat16 on a GPU.")
    ] = "auto"
    data: TargetDataOption = None
    allow_leaks: Annotated[
        bool,
        typer.Option(
            "--allow-leaks", help="Also train on runs whose targets are held out, or known to their recommender."
        ),
    ] = False

    def settings(self) -> dict[str, Any]:
        """The fields of `OptimizerConfig` that the options give."""
        return {
            "lora": None if self.full_weights else AdapterConfig(rank=self.rank, alpha=2 * self.rank),
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "micro_batch_tokens": self.micro_batch_tokens,
            "checkpoint_every": self.checkpoint_every,
            "report_to": tuple(self.report_to or ()),
            "device": "cpu" if self.cpu else "auto",
            "dtype": self.dtype,
        }

    def base_model(self) -> Path | str:
        """The folder or the id of the base model; the embedded one is written to its folder first."""
        return base_model(self.base)

    def dataset(self) -> Dataset | None:
        """The data that targets are looked up in; None where it was not named."""
        return target_data(self.data)

    def check_leaks(self, store: TraceStore, where: RunFilter) -> None:
        """Raise ConfigError for runs that a policy which is evaluated must not learn from, unless they are allowed."""
        if not self.allow_leaks:
            check_leaks(store, where, self.dataset())


def target_data(data: Path | None) -> Dataset | None:
    """Read the data that targets are looked up in; None where it was not named."""
    from deeprec.evals.suites.suite import read_named_data

    return None if data is None else read_named_data(str(data))


def check_leaks(store: TraceStore, where: RunFilter, dataset: Dataset | None) -> None:
    """Raise ConfigError for runs that a policy which is evaluated must not learn from."""
    from deeprec.training.store_report.target_leaks import find_leaks

    if found := find_leaks(store, where, dataset):
        raise ConfigError(f"{' '.join(found)} Or pass --allow-leaks, and evaluate on other people.")


@option_groups
def sft(
    out: OutOption,
    store: StoredRunsOption = DEFAULT_STORE,
    trainer: TrainerOptions = TrainerOptions(),
    best: Annotated[
        int | None, typer.Option(min=1, help="Train only on so many runs, those with the highest rewards.")
    ] = None,
    min_reward: Annotated[float | None, typer.Option(help="Train only on runs with at least this reward.")] = None,
    stage: Annotated[
        str, typer.Option(help="The stage whose reward is meant by --best and --min-reward.")
    ] = "recommendation",
    weight: WeightOption = None,
    preset: PresetOption = DEFAULT_PRESET,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the runs.")] = _SFT.epochs,
    batch_size: Annotated[int, typer.Option(min=1, help="Runs in one optimizer step.")] = _SFT.batch_size,
    validation: Annotated[
        float, typer.Option(help="Share of the runs that the loss is measured on, held out from training.")
    ] = _SFT.validation,
    runs: RunOptions = RunOptions(status="finished"),
    as_json: JsonOption = False,
) -> None:
    """Warm start: train on what good runs have written, guided ones included."""
    config = SftConfig(epochs=epochs, batch_size=batch_size, validation=validation, **trainer.settings())
    reward = make_stage(stage, weight, preset)
    where = runs.filter()

    from deeprec.agent.traces import TraceStore
    from deeprec.training.rewards.stage_rewards import read_rewarded
    from deeprec.training.rollouts.selection import best_rollouts
    from deeprec.training.trainers.policy_model import require_trl
    from deeprec.training.trainers.sft import train_sft

    require_trl()
    with TraceStore(store, create=False) as traces:
        trainer.check_leaks(traces, where)
        rewarded = list(read_rewarded(traces, where, stage=reward, allow_guided=True))
        origin = origin_of_runs(traces, (each.rollout.run_id for each in rewarded), where)
    if best is None and min_reward is None:
        rollouts = [each.rollout for each in rewarded]
    else:
        lacking = [each.rollout.run_id for each in rewarded if reward.lacks(each.components)]
        if lacking:
            raise ConfigError(
                f"{len(lacking)} of {len(rewarded)} runs have not been scored (such as {lacking[0]}), so none is best. "
                f"Score them: `deeprec train score --stage {reward.stage}`."
            )
        rollouts = best_rollouts(rewarded, best=best, min_reward=min_reward)
        if rewarded and not rollouts:
            raise ConfigError(
                f"None of {len(rewarded)} runs has a reward"
                f"{'' if min_reward is None else f' of {min_reward} or more'}. See `deeprec train check`."
            )
    base = trainer.base_model()
    with StepBar() as bar:
        trained = train_sft(rollouts, base=base, start=trainer.start, out=out, config=config, on_step=bar.show)
    write_trained_lineage(
        trained, method="sft", base=base, start=trainer.start, origin=origin, config=config, runs=len(rollouts)
    )
    report_training(trained, out, f"{len(rollouts)} of {len(rewarded)} runs", as_json=as_json)


@option_groups
def grpo(
    stage: Annotated[str, typer.Option(help="The stage whose reward is learned: interaction or recommendation.")],
    out: OutOption,
    store: StoredRunsOption = DEFAULT_STORE,
    trainer: TrainerOptions = TrainerOptions(),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps.", show_default="one pass over the groups")
    ] = None,
    groups_a_step: Annotated[
        int, typer.Option(min=1, help="Groups of one optimizer step; a group is the runs of one request.")
    ] = 16,
    weight: WeightOption = None,
    preset: PresetOption = DEFAULT_PRESET,
    scale: Annotated[
        str, typer.Option(help="Scale of advantages: none, or group to divide by the standard deviation of the group.")
    ] = "none",
    loss: Annotated[str, typer.Option(help="The loss, by its name in TRL.")] = _GRPO.loss_type,
    ratio: Annotated[
        RatioLevel, typer.Option(help="Importance ratios by token, by sequence, or by item of the list.")
    ] = _GRPO.importance_sampling_level,
    credit: Annotated[
        Credit,
        typer.Option(help="One advantage a run, or one a token, by turn and by position of the list."),
    ] = _GRPO.credit,
    clip_low: Annotated[float, typer.Option(help="Importance ratios below 1 minus this are clipped.")] = _GRPO.clip_low,
    clip_high: Annotated[
        float, typer.Option(help="Importance ratios above 1 plus this are clipped.")
    ] = _GRPO.clip_high,
    delta: Annotated[
        float | None,
        typer.Option(help="The largest ratio of a token with a negative advantage, such as 4.", show_default="none"),
    ] = _GRPO.delta,
    beta: Annotated[
        float, typer.Option(help="The weight of the KL divergence from the policy that the training starts from.")
    ] = _GRPO.beta,
    max_staleness: Annotated[
        int, typer.Option(min=0, help="Leave out runs of policies that are more versions behind than this.")
    ] = _GRPO.max_staleness,
    max_logprob_gap: Annotated[
        float,
        typer.Option(
            help="Stop where logged and recomputed log-probabilities differ by more than this, in nats per token."
        ),
    ] = _GRPO.max_logprob_gap,
    max_first_gap: Annotated[
        float,
        typer.Option(help="Refuse runs that differ by more than this in the first step, before the policy has moved."),
    ] = _GRPO.max_first_gap,
    runs: RunOptions = RunOptions(),
    as_json: JsonOption = False,
) -> None:
    """Train with GRPO on groups of free runs, by their rewards and the log-probabilities that were logged."""
    reward = make_stage(stage, weight, preset)
    where = runs.filter()
    settings: dict[str, Any] = {
        "loss_type": loss,
        "importance_sampling_level": ratio,
        "credit": credit,
        "clip_low": clip_low,
        "clip_high": clip_high,
        "delta": delta,
        "beta": beta,
        "max_staleness": max_staleness,
        "max_logprob_gap": max_logprob_gap,
        "max_first_gap": max_first_gap,
        **trainer.settings(),
    }
    GrpoConfig(**settings)  # an invalid setting is reported before the store is read
    if credit == "token" and scale != "none":
        raise ConfigError(
            f"--scale {scale} divides the advantage of a run, and --credit token gives each token its own."
        )

    from deeprec.agent.traces import TraceStore
    from deeprec.training.rewards.stage_rewards import read_scored
    from deeprec.training.rewards.turn_credit import credit_turns
    from deeprec.training.rollouts.rollout_filter import check_policy
    from deeprec.training.rollouts.selection import logged_steps
    from deeprec.training.trainers.grpo import train_grpo
    from deeprec.training.trainers.policy_model import read_policy_weights, require_trl

    require_trl()
    with TraceStore(store, create=False) as traces:
        trainer.check_leaks(traces, where)
        scored = read_scored(
            traces,
            where,
            stage=reward,
            scale=scale,  # type: ignore[arg-type]  # checked there
            strict=True,
            allow_flat=credit == "token",  # runs of equal rewards may differ in what their tokens earned
        )
        if credit == "token":
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(str(trainer.base_model()))
            scored = credit_turns(scored, traces, stage=reward, tokenizer=tokenizer)
        origin = origin_of_runs(traces, (each.rollout.run_id for each in scored), where)
    source, one_pass = logged_steps(scored, groups_a_step=groups_a_step, seed=trainer.seed)
    base = trainer.base_model()
    weights = read_policy_weights(base, trainer.start)
    check_policy((each.rollout for each in scored), weights)
    config = GrpoConfig(steps=steps or one_pass, **settings)
    with StepBar() as bar:
        trained = train_grpo(
            source,
            base=base,
            start=trainer.start,
            out=out,
            config=config,
            version=lambda step: weights.version,
            data=_digest(scored, reward, scale, groups_a_step),
            on_step=bar.show,
        )
    write_trained_lineage(
        trained,
        method="grpo",
        base=base,
        start=trainer.start,
        origin=origin,
        config=config,
        stage=reward.stage,
        weights=dict(reward.weights),
        scale=scale,
        groups_a_step=groups_a_step,
        runs=len(scored),
    )
    report_training(trained, out, f"{len(scored)} runs", as_json=as_json)


def _digest(scored: Sequence[ScoredRollout], stage: StageReward, scale: str, groups_a_step: int) -> str:
    """Fingerprint the data of the steps, in 16 hex digits."""
    runs = sorted((str(each.rollout.run_id), each.reward, each.advantage) for each in scored)
    text = json.dumps([stage.stage, dict(stage.weights), scale, groups_a_step, runs])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
