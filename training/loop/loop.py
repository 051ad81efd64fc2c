"""The loop that closes: collect, reward, train, save an adapter, load it into the running server, look, and again.

Every version of the policy is an adapter `rec-vN` with a folder of its own. All that happened is on disk: the runs in
the trace store, the trainer's state in its checkpoints, the versions in `loop.json`. A loop that was killed goes on
from there when it is started again with the same settings.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from deeprec.agent import CompletionPolicy, TraceStore, load_adapter, make_server
from deeprec.agent.traces.store.filters import RunFilter
from deeprec.evals import load_results, run_suite
from deeprec.evals.metrics.rewards import Reward, make_rewards
from deeprec.evals.suites.suite import Entry, Suite
from deeprec.training.loop.config import LoopConfig, StagePlan, WarmStart
from deeprec.training.loop.start_adapter import check_given_adapter, take_over
from deeprec.training.loop.state import (
    CONFIG_FILE,
    WARM_START,
    LoopState,
    course_id,
    keep_course,
    read_state,
    write_state,
)
from deeprec.training.rewards.custom import load_rewards
from deeprec.training.rewards.stage_rewards import check_computed, read_rewarded, read_scored, score_stored_runs
from deeprec.training.rewards.stages import stage_reward
from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.collection import Collection, collect_groups
from deeprec.training.rollouts.fused_lists import with_fused_list
from deeprec.training.rollouts.instances import Instance, Selection, select_instances
from deeprec.training.rollouts.rollout_filter import policy_version
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.rollouts.selection import best_rollouts
from deeprec.training.trainers.adapter_lineage import LINEAGE_FILE, AdapterLineage, write_lineage
from deeprec.training.trainers.grpo import train_grpo
from deeprec.training.trainers.policy_model import fingerprint_adapter, fingerprint_base, load_config
from deeprec.training.trainers.sft import train_sft
from deeprec.training.trainers.step_report import StepReport, TrainingError
from deeprec.training.trainers.trainer_config import SftConfig
from deeprec.trm_tool import Artifact, ConfigError, Dataset, Encoder, Retriever

ADAPTERS = "adapters"
UNTRAINED = "untrained"
"""The name in validation of the policy without an adapter."""
_KEPT_ADAPTERS = 3
"""Newest versions whose folders stay, beside the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """What a finished loop leaves."""

    best: str | None
    adapter: Path | None
    """The folder of the best version."""
    validation: dict[str, dict[str, float | None]]


def run_loop(
    config: LoopConfig,
    out: Path,
    *,
    store: TraceStore,
    dataset: Dataset,
    artifact: Artifact,
    encoder: Encoder,
    base: Path | str,
    base_url: str | None = None,
    say: Callable[[str], None] = print,
) -> LoopResult:
    """Train a policy from its own runs, and go on where an earlier call was stopped.

    Args:
        config: what to do.
        out: the folder of this loop: adapters, checkpoints, logs, state.
        store: where all runs go.
        dataset: people and targets.
        artifact: the recommender, trained with `--holdout 3`.
        encoder: the artifact's own.
        base: the language model's folder or id.
        base_url: a server that serves `base` with LoRA and sees `out`; None starts one for as long as the loop runs,
            as `make_server` chooses. It is not restarted for an update, and computes in `config.dtype`.
        say: called with a line for each thing that happened.

    Raises:
        ConfigError: the settings do not fit the data, the recommender, or what `out` holds from before.
        ServerLostError: the server went away; start the loop again to go on.
    """
    own = load_rewards(config.rewards)
    rewards = {**make_rewards(artifact, encoder), **own}
    selection = select_instances(
        dataset,
        artifact,
        encoder,
        max_rank=config.max_rank,
        interaction_share=config.interaction_share,
        seed=config.seed,
    )
    for plan in config.stages:
        if plan.users > len(selection.of(plan.stage)):
            raise ConfigError(
                f"The stage {plan.stage} asks for {plan.users} users a step, and has {len(selection.of(plan.stage))}. "
                "Ask for fewer, change interaction_share, or bring more data."
            )
        check_computed(plan.reward(tuple(own)), rewards)
    fingerprints = {
        "dataset_fingerprint": dataset.fingerprint,
        "trm_fingerprint": artifact.fingerprint,
        "base_fingerprint": fingerprint_base(base, None if Path(base).is_dir() else load_config(base)),
    }
    course: dict[str, Any] = {**config.course(), **fingerprints}
    first = out / ADAPTERS / "rec-v1"
    if config.start is not None:
        taken = (first / LINEAGE_FILE).is_file()
        if not taken:
            check_given_adapter(config.start, base, fingerprints["base_fingerprint"])
        course["start_fingerprint"] = fingerprint_adapter(first if taken else config.start)
    if base_url is not None and not (out / CONFIG_FILE).is_file():
        asyncio.run(_check_no_versions(base_url))
    keep_course(course, out)
    if base_url is not None and config.dtype != "auto":
        say(f"the server at {base_url} has to compute in {config.dtype} as well")
    with ExitStack() as stack:
        if base_url is None:
            server = make_server(
                base,
                log=out / "server.log",
                max_num_seqs=config.concurrency,
                dtype=config.dtype,
                vllm_args=config.server_args,
            )
            stack.enter_context(server)
            server.wait_healthy(on_progress=say)
            base_url = server.base_url
        loop = _Loop(
            config=config,
            out=out,
            store=store,
            dataset=dataset,
            artifact=artifact,
            encoder=encoder,
            base=base,
            base_url=base_url,
            say=say,
            label=f"{config.name}-{course_id(course)}",
            fingerprints=fingerprints,
            own=tuple(own),
            rewards=rewards,
            selection=selection,
            state=read_state(out),
        )
        say(f"runs are stored under {loop.label}, those of validation under {loop.label}-valid")
        return loop.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    config: LoopConfig
    out: Path
    store: TraceStore
    dataset: Dataset
    artifact: Artifact
    encoder: Encoder
    base: Path | str
    base_url: str
    say: Callable[[str], None]
    label: str
    """What the suites of all its runs begin with."""
    fingerprints: Mapping[str, str]
    """Of data, recommender and base model, as a lineage names them."""
    own: tuple[str, ...]
    """Names of the rewards that are not deeprec's."""
    rewards: Mapping[str, Reward]
    selection: Selection
    state: LoopState

    def run(self) -> LoopResult:
        if self.config.start is not None and not (self.folder(1) / LINEAGE_FILE).is_file():
            told = {"start": str(self.config.start)}
            take_over(self.config.start, self.folder(1), self.lineage(1, method="given", settings=told))
        self.validate(0)
        versions = 0
        if self.config.begins_with_adapter:
            versions = 1
            if self.config.warm_start is not None and not (self.folder(1) / LINEAGE_FILE).is_file():
                self.warm_start(self.config.warm_start)
            self.admit(1)
            self.validate(1)
        for plan in self.config.stages:
            self.train_stage(plan, first=versions)
            versions += plan.steps
        best = self.state.best
        return LoopResult(
            best=best,
            adapter=None if best in (None, UNTRAINED) else self.out / ADAPTERS / str(best),
            validation=self.state.validation,
        )

    def warm_start(self, plan: WarmStart) -> None:
        """Version 1: the format, from the best runs of the guided model."""
        label = f"{self.label}/{WARM_START}"
        instances = self.selection.of("interaction")[: plan.users]
        told = _tenths(self.say, "guided runs")
        self.collect(label, instances, plan.group_size, version=0, guided=True, on_ended=told)
        reward = stage_reward("recommendation")
        score_stored_runs(self.store, RunFilter(suite=label), rewards=self.rewards, stage=reward)
        rewarded = list(read_rewarded(self.store, RunFilter(suite=label), stage=reward, allow_guided=True))
        chosen = best_rollouts(rewarded, best=plan.best)
        if not chosen:
            raise ConfigError(f"None of the guided runs under {label} can be trained on. See `deeprec train check`.")
        if plan.lists == "fused":
            chosen = self.fused(chosen)
        self.say(f"warm start on {len(chosen)} of {len(rewarded)} guided runs")
        told = _tenths(self.say, "steps of the warm start")
        trained = train_sft(
            chosen,
            base=self.base,
            out=self.out / WARM_START,
            config=SftConfig(
                epochs=plan.epochs,
                batch_size=plan.batch_size,
                learning_rate=plan.learning_rate,
                seed=self.config.seed,
                device=self.config.device,
                dtype=self.config.dtype,
            ),
            on_step=lambda report: told(report.steps_done, report.steps),
        )

        take_over(trained, self.folder(1), self.lineage(1, method="sft", suite=label, settings=plan.model_dump()))

    def fused(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Runs with the lists of plain fusion; those that wrote none are left out."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(self.base))
        made = [with_fused_list(rollout, self.store.run(rollout.run_id), tokenizer) for rollout in rollouts]
        return [rollout for rollout in made if rollout is not None]

    def train_stage(self, plan: StagePlan, *, first: int) -> None:
        """`plan.steps` versions after `first`, each from runs of the one before it."""
        instances = self.selection.of(plan.stage)
        out, last, reward = self.out / plan.stage, first + plan.steps, plan.reward(self.own)
        if self.state.version >= last and self.name(last) in self.state.validation:
            return

        def source(step: int) -> list[ScoredRollout]:
            label = f"{self.label}/{plan.stage}/{step:04d}"
            asked = [instances[(step * plan.users + place) % len(instances)] for place in range(plan.users)]
            self.collect(label, asked, plan.group_size, version=first + step, guided=False)
            score_stored_runs(self.store, RunFilter(suite=label), rewards=self.rewards, stage=reward)
            scored = read_scored(self.store, RunFilter(suite=label), stage=reward)
            # Runs start in any order; sums of floats, and so a resumed training, depend on it.
            return sorted(scored, key=lambda each: each.rollout.run_id)

        def stepped(report: StepReport) -> None:
            number = first + report.steps_done
            if report.stopped:
                raise TrainingError(f"{self.name(number)} could not be trained. {report.stopped}")
            report.save_adapter(self.folder(number))
            suite = f"{self.label}/{plan.stage}/{report.steps_done - 1:04d}"
            told = plan.model_dump(mode="json")
            lineage = self.lineage(
                number, method="grpo", stage=plan.stage, step=report.steps_done, suite=suite, settings=told
            )
            write_lineage(self.folder(number), lineage)
            self.admit(number)
            self.say(f"{self.name(number)}: {_line({key: report.metrics.get(key) for key in _TOLD})}")
            if report.steps_done % self.config.validation.every == 0 or report.steps_done == plan.steps:
                self.validate(number)
            self.forget()

        train_grpo(
            source,
            base=self.base,
            start=self.folder(first) if first else None,
            out=out,
            config=self.config.trainer(plan),
            version=lambda step: first + step,
            on_step=stepped,
        )

    def collect(
        self,
        label: str,
        instances: Sequence[Instance],
        group_size: int,
        *,
        version: int,
        guided: bool,
        on_ended: Callable[[int, int], None] | None = None,
    ) -> None:
        async def collected() -> None:
            async with CompletionPolicy(self.base_url, adapter=self.name(version) if version else None) as policy:
                await collect_groups(
                    policy,
                    Retriever(self.artifact, self.encoder),
                    self.store,
                    instances,
                    Collection(
                        label=label,
                        system="collect",
                        group_size=group_size,
                        config=self.config.agent.config(guided=guided),
                        seed=self.config.seed,
                    ),
                    max_concurrency=self.config.concurrency,
                    on_ended=on_ended,
                )

        if version:
            self.admit(version)
        asyncio.run(collected())

    def admit(self, number: int) -> None:
        """Have the server load a version, if it has not."""
        asyncio.run(load_adapter(self.base_url, self.name(number), self.folder(number)))
        if number > self.state.version:
            self.state.version = number
            self.keep_state()

    def validate(self, number: int) -> None:
        """Measure a version on validation targets, through the evaluation's own harness."""
        name = self.name(number) if number else UNTRAINED
        if name in self.state.validation:
            return
        plan, agent = self.config.validation, self.config.agent
        suite = Suite(
            name=f"{self.label}-valid",
            data=self.config.data,
            split="valid",
            users=plan.users,
            temperature=plan.temperature,
            baseline="trm",
            systems=(
                Entry(system="trm", name="trm"),
                Entry(system="deeprec-free", name=name, model=self.name(number) if number else None),
            ),
            **agent.model_dump(),
        )
        told = _tenths(self.say, f"validation of {name}")
        label = run_suite(
            suite,
            self.store,
            dataset=self.dataset,
            artifact=self.artifact,
            encoder=self.encoder,
            base_url=self.base_url,
            max_concurrency=self.config.concurrency,
            on_progress=lambda at: told(at.done, at.total) if at.system == name else None,
        )
        results = load_results(self.store, label)
        for system in (name, "trm"):
            measures = results.system(system).measures
            self.state.validation[system] = {measure: _mean(measures[measure]) for measure in _shown(agent.k)}
        at = _shown(agent.k)[0]
        policies = {known: told[at] or 0.0 for known, told in self.state.validation.items() if known != "trm"}
        self.state.best = max(policies, key=lambda known: policies[known])
        self.keep_state()
        self.say(
            f"{name} on {len(results.system(name).users)} validation targets: {_line(self.state.validation[name])}"
        )

    def forget(self) -> None:
        """Delete the folders of versions that nothing will ask for again."""
        numbers = sorted(int(path.name.removeprefix("rec-v")) for path in (self.out / ADAPTERS).glob("rec-v*"))
        steps = [self.config.begins_with_adapter, *(plan.steps for plan in self.config.stages)]
        firsts = {1, *np.cumsum(steps).tolist()}
        for number in numbers[:-_KEPT_ADAPTERS]:
            if self.name(number) != self.state.best and number not in firsts:
                shutil.rmtree(self.folder(number), ignore_errors=True)

    def lineage(
        self,
        number: int,
        *,
        method: Any,
        settings: dict[str, Any],
        stage: str | None = None,
        step: int = 0,
        suite: str | None = None,
    ) -> AdapterLineage:
        return AdapterLineage(
            name=self.name(number),
            parent=self.name(number - 1) if number > 1 else None,
            base=str(self.base),
            method=method,
            stage=stage,
            step=step,
            suite=suite,
            settings=settings,
            versions={name: version(name) for name in ("deeprec-agent", "torch", "transformers", "trl", "peft")},
            **self.fingerprints,
        )

    def name(self, number: int) -> str:
        return f"rec-v{number}"

    def folder(self, number: int) -> Path:
        return self.out / ADAPTERS / self.name(number)

    def keep_state(self) -> None:
        write_state(self.state, self.out)


def _tenths(say: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    """Say how many of them are done, of all, at each tenth."""
    last = -1

    def tell(done: int, total: int) -> None:
        nonlocal last
        at = 10 * done // max(total, 1)
        if at > last:
            last = at
            say(f"{what}: {done} of {total}")

    return tell


def _shown(k: int) -> tuple[str, ...]:
    """Measures of a validation that are kept; the first decides which version is best."""
    at = min(k, 10)
    lists = [f"{metric}@{at} {listing}" for metric in ("ndcg", "recall") for listing in ("written", "filled")]
    return (*lists, "found", "valid", "calls", "new_per_call", "tokens")


async def _check_no_versions(base_url: str) -> None:
    """A name on a server stands for one set of weights: those of another loop would be taken for this one's."""
    async with CompletionPolicy(base_url) as policy:
        loaded = [name for name in (await policy.connect()).adapters if policy_version(name) is not None]
    if loaded:
        raise ConfigError(
            f"The server at {base_url} has {', '.join(loaded)} of another loop loaded, which this one's versions would "
            "be taken for. Start the server anew, or let the loop start one."
        )


_TOLD = ("reward", "format_valid", "advantage/std", "entropy", "ratio/max", "grad_norm", "wait_seconds", "step_time")
"""Metrics of a step that are told; all of them are in the trainer's log."""


def _mean(values: Any) -> float | None:
    """None where nobody has a value, which is what JSON has for it."""
    kept = np.asarray(values)[~np.isnan(values)]
    return float(kept.mean()) if kept.size else None


def _line(measures: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in measures.items() if value is not None)
