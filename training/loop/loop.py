"""The training loop: collect runs, reward them, train, save an adapter, load it into the server, validate, and again.

Every version of the policy is an adapter `rec-vN` with a folder of its own. All that happened is on disk: the runs in
the trace store, the trainer's state in its checkpoints, the versions in `loop.json`. A loop that was killed goes on
from there when it is started again with the same settings.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deeprec.agent import CompletionPolicy, TraceStore, load_adapter, make_server
from deeprec.agent.traces import RunFilter
from deeprec.evals.metrics.heard_words import SUPPORT, make_support_reward
from deeprec.evals.metrics.rewards import Reward, make_rewards
from deeprec.evals.suites.suite import MAX_REQUEST_SECONDS
from deeprec.training.loop.collection_ahead import CollectionAhead
from deeprec.training.loop.config import LoopConfig, StagePlan, WarmStart
from deeprec.training.loop.course import begun_course, course_id, keep_course, locked
from deeprec.training.loop.loop_requests import deal_instances, read_loop_requests
from deeprec.training.loop.messages import STEP_METRICS, measures_line, report_tenths
from deeprec.training.loop.start_adapter import take_over
from deeprec.training.loop.start_checks import check_server, check_stages, loop_course
from deeprec.training.loop.state import WARM_START, LoopState, read_state, write_state
from deeprec.training.loop.validation import UNTRAINED, Measures, validate_policy
from deeprec.training.loop.versions import PolicyVersions
from deeprec.training.rewards.custom import load_rewards
from deeprec.training.rewards.stage_rewards import read_rewarded, read_scored, score_stored_runs
from deeprec.training.rewards.stages import REWARD_PRESETS, stage_reward
from deeprec.training.rewards.turn_credit import credit_turns
from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.collection import Collection, collect_groups
from deeprec.training.rollouts.fused_lists import with_fused_list
from deeprec.training.rollouts.instances import Instance, Selection
from deeprec.training.rollouts.rollout_filter import check_policy, policy_version, version_name
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.training.rollouts.selection import best_rollouts
from deeprec.training.trainers.adapter_lineage import write_lineage
from deeprec.training.trainers.grpo import train_grpo
from deeprec.training.trainers.launcher import refuse_several
from deeprec.training.trainers.policy_model import read_base_fingerprint
from deeprec.training.trainers.sft import train_sft
from deeprec.training.trainers.step_report import StepReport, TrainingError
from deeprec.training.trainers.trainer_config import SftConfig
from deeprec.trm_tool import Artifact, ConfigError, Dataset, Encoder, Recommender, Retriever
from deeprec.trm_tool.text import hide_passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """The result of a finished loop."""

    best: str | None
    """The policy that no later one was better than in validation, by the paired interval of their NDCG."""
    adapter: Path | None
    """The folder of the best version; None where the model without an adapter was best."""
    validation: dict[str, Measures]
    """Name -> measures of every policy that was validated, and of the recommender alone (`trm`)."""


def run_loop(
    config: LoopConfig,
    out: Path,
    *,
    store: TraceStore,
    dataset: Dataset,
    artifact: Artifact | Recommender,
    encoder: Encoder | None = None,
    base: Path | str,
    base_url: str | None = None,
    say: Callable[[str], None] = print,
) -> LoopResult:
    """Train a policy from its own runs, and go on where an earlier call was stopped.

    Args:
        config: the settings.
        out: the folder of this loop: adapters, checkpoints, logs, state.
        store: the store that logs all runs.
        dataset: people and targets.
        artifact: the recommender, trained with `--holdout 3`: a `Retriever`, its artifact, or one of your own. The
            component `similarity` of the paper's reward needs the TRM's vectors: another recommender gives it the
            weight 0.
        encoder: the text encoder of an artifact; None makes it by its id. For another recommender: the encoder that
            compares preferences in the component `diversity`.
        base: the language model's folder or id.
        base_url: a server that serves `base` with LoRA and sees `out`; None starts one for as long as the loop runs,
            as `make_server` chooses. It is not restarted for an update, and computes in `config.dtype`.
        say: called with a line for each thing that happened.

    Raises:
        ConfigError: the settings do not fit the data, the recommender, or what `out` holds from before.
        ServerLostError: the server became unavailable; start the loop again to go on.
    """
    refuse_several("The loop")
    begun = begun_course(out)
    config = config.continued(begun)
    own = load_rewards(map(config.path_of, config.rewards), named_in=f"The loop {config.name}")
    recommender: Recommender = Retriever(artifact, encoder) if isinstance(artifact, Artifact) else artifact
    trm = recommender if isinstance(recommender, Retriever) else None  # no other has vectors of items
    rewards = {**(make_rewards(None, encoder) if trm is None else make_rewards(trm.artifact, trm.encoder)), **own}
    requests = read_loop_requests(config, dataset, recommender)
    selection = deal_instances(config, dataset, recommender, requests)
    if requests is not None:
        rewards = {SUPPORT: make_support_reward(recommender), **rewards}
        for note in requests.notes:
            say(note)
    check_stages(config, selection, rewards, own=tuple(own))
    versions = PolicyVersions(
        out=out,
        base=base,
        fingerprints={
            "dataset_fingerprint": dataset.fingerprint,
            "trm_fingerprint": recommender.identity.fingerprint,
            "base_fingerprint": read_base_fingerprint(base, begun=begun.get("base_fingerprint")),
        },
    )
    course = loop_course(config, versions)
    if requests is not None:
        course["requests_fingerprint"] = requests.fingerprint
    with ExitStack() as stack:
        stack.enter_context(locked(out))
        state = read_state(out)
        if not state.identity and not state.version and not versions.exists(1):
            state.identity = secrets.token_hex(4)
        versions = replace(versions, identity=state.identity)
        if base_url is not None:
            asyncio.run(check_server(base_url, versions, newest=state.version))
            if config.dtype != "auto":
                say(f"the server at {hide_passwords(base_url)} has to compute in {config.dtype} as well")
        label = f"{config.name}-{course_id(begun_course(out) or course)}"
        keep_course(
            course, out, state, has_begun=lambda stage: any(store.run_ids(RunFilter(label=f"{label}/{stage}/0000")))
        )
        write_state(state, out)
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
            recommender=recommender,
            encoder=encoder,
            base_url=base_url,
            say=say,
            label=label,
            versions=versions,
            own=tuple(own),
            rewards=rewards,
            selection=selection,
            state=state,
        )
        say(f"runs are stored under {loop.label}, those of validation under {loop.label}-valid")
        return loop.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    config: LoopConfig
    out: Path
    store: TraceStore
    dataset: Dataset
    recommender: Recommender
    encoder: Encoder | None
    base_url: str
    say: Callable[[str], None]
    label: str
    """The start of the names of all its suites."""
    versions: PolicyVersions
    own: tuple[str, ...]
    """Names of the rewards that are not deeprec's."""
    rewards: Mapping[str, Reward]
    selection: Selection
    state: LoopState

    def run(self) -> LoopResult:
        if self.config.start is not None and not self.versions.exists(1):
            lineage = self.versions.lineage(1, method="given", settings={"start": self.config.start.name})
            take_over(self.config.start, self.versions.folder(1), lineage)
        self.validate(0)
        newest = 0
        if self.config.begins_with_adapter:
            newest = 1
            if self.config.warm_start is not None and not self.versions.exists(1):
                self.warm_start(self.config.warm_start)
            self.serve(1)
            self.validate(1)
        for plan in self.config.stages:
            self.train_stage(plan, first=newest)
            newest += plan.steps
        best = policy_version(self.state.best)
        return LoopResult(
            best=self.state.best,
            adapter=self.versions.folder(best) if best else None,
            validation=self.state.validation,
        )

    def warm_start(self, plan: WarmStart) -> None:
        """Train version 1 on the best runs of the guided model, which keep the format."""
        label = f"{self.label}/{WARM_START}"
        instances = self.selection.of("interaction")[: plan.users]
        on_ended = report_tenths(self.say, "guided runs")
        asyncio.run(self.collect(label, instances, plan.group_size, version=0, guided=True, on_ended=on_ended))
        not_computed = {name: 0.0 for name in REWARD_PRESETS["paper"]["recommendation"] if name not in self.rewards}
        reward = stage_reward("recommendation", not_computed, preset="paper")
        score_stored_runs(self.store, RunFilter(suite=label), rewards=self.rewards, stage=reward)
        rewarded = list(read_rewarded(self.store, RunFilter(suite=label), stage=reward, allow_guided=True))
        chosen = best_rollouts(rewarded, best=plan.best)
        if not chosen:
            raise ConfigError(f"None of the guided runs under {label} can be trained on. See `deeprec train check`.")
        if plan.lists == "fused":
            chosen = self.with_fused_lists(chosen)
        self.say(f"warm start on {len(chosen)} of {len(rewarded)} guided runs")
        on_step = report_tenths(self.say, "steps of the warm start")
        trained = train_sft(
            chosen,
            base=self.versions.base,
            out=self.out / WARM_START,
            config=SftConfig(
                epochs=plan.epochs,
                batch_size=plan.batch_size,
                learning_rate=plan.learning_rate,
                seed=self.config.seed,
                device=self.config.device,
                dtype=self.config.dtype,
            ),
            on_step=lambda report: on_step(report.steps_done, report.steps),
        )
        lineage = self.versions.lineage(1, method="sft", suite=label, settings=plan.model_dump())
        take_over(trained, self.versions.folder(1), lineage)

    def with_fused_lists(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Replace the lists of runs by those of rank fusion; runs without a list of their own are left out."""
        tokenizer = self.tokenizer()
        changed = [with_fused_list(rollout, self.store.run(rollout.run_id), tokenizer) for rollout in rollouts]
        return [rollout for rollout in changed if rollout is not None]

    def tokenizer(self) -> Any:
        """Read the tokenizer of the base model."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(self.versions.base))

    def train_stage(self, plan: StagePlan, *, first: int) -> None:
        """Train `plan.steps` versions after `first`, each from runs of the one before it, or two before it."""
        instances = self.selection.of(plan.stage)
        last, reward, trainer = first + plan.steps, plan.reward(self.own), self.config.trainer(plan)
        if self.state.version >= last and version_name(last) in self.state.validation:
            return

        def suite_of(step: int) -> str:
            return f"{self.label}/{plan.stage}/{step:04d}"

        def begin(step: int) -> Callable[[], Coroutine[Any, Any, None]]:
            users = [instances[(step * plan.users + number) % len(instances)] for number in range(plan.users)]
            version = first + max(0, step - self.config.collect_ahead)
            self.serve(version)
            return partial(self.collect, suite_of(step), users, plan.group_size, version=version, guided=False)

        def source(step: int) -> list[ScoredRollout]:
            suite = suite_of(step)
            collection.wait_for(step)
            score_stored_runs(self.store, RunFilter(suite=suite), rewards=self.rewards, stage=reward)
            scored = read_scored(self.store, RunFilter(suite=suite), stage=reward)
            check_policy((each.rollout for each in scored), self.versions.weights(first + step))
            if trainer.credit == "token":
                scored = credit_turns(scored, self.store, stage=reward, tokenizer=self.tokenizer())
            # Runs start in any order; sums of floats, and so a resumed training, depend on it.
            return sorted(scored, key=lambda each: each.rollout.run_id)

        def after_step(report: StepReport) -> None:
            number = first + report.steps_done
            if report.stopped:
                raise TrainingError(f"{version_name(number)} could not be trained. {report.stopped}")
            report.save_adapter(self.versions.folder(number))
            lineage = self.versions.lineage(
                number,
                method="grpo",
                stage=plan.stage,
                step=report.steps_done,
                suite=suite_of(report.steps_done - 1),
                settings=plan.model_dump(mode="json"),
            )
            write_lineage(self.versions.folder(number), lineage)
            self.serve(number)
            self.say(
                f"{version_name(number)}: {measures_line({name: report.metrics.get(name) for name in STEP_METRICS})}"
            )
            if report.steps_done % self.config.validation.every == 0 or report.steps_done == plan.steps:
                self.validate(number)
            self.delete_old_versions(number, kept=trainer.checkpoint_every + 1 + self.config.collect_ahead)

        with CollectionAhead(begin, steps=plan.steps, ahead=int(self.config.collect_ahead)) as collection:
            train_grpo(
                source,
                base=self.versions.base,
                start=self.versions.folder(first) if first else None,
                out=self.out / plan.stage,
                config=trainer,
                version=lambda step: first + step,
                on_step=after_step,
            )

    async def collect(
        self,
        label: str,
        instances: Sequence[Instance],
        group_size: int,
        *,
        version: int,
        guided: bool,
        on_ended: Callable[[int, int], None] | None = None,
    ) -> None:
        """Run the agent with a version that is served: a group of runs for each instance, stored under `label`."""
        collection = Collection(
            label=label,
            system="collect",
            group_size=group_size,
            config=self.config.agent_config(guided=guided),
            seed=self.config.seed,
        )
        adapter = self.versions.served_name(version) if version else None
        async with CompletionPolicy(self.base_url, adapter=adapter, timeout_s=MAX_REQUEST_SECONDS) as policy:
            await collect_groups(
                policy,
                self.recommender,
                self.store,
                instances,
                collection,
                max_concurrency=self.config.concurrency,
                on_ended=on_ended,
            )

    def serve(self, number: int) -> None:
        """Have the server load a version, unless it has it or it is the model without an adapter."""
        if not number:
            return
        asyncio.run(load_adapter(self.base_url, self.versions.served_name(number), self.versions.folder(number)))
        if number > self.state.version:
            self.state.version = number
            write_state(self.state, self.out)

    def validate(self, number: int) -> None:
        """Measure a version on validation targets, unless it has been measured."""
        name = version_name(number) if number else UNTRAINED
        if name in self.state.validation:
            return
        measures, self.state.best = validate_policy(
            name,
            self.versions.served_name(number) if number else None,
            best=self.state.best,
            label=self.label,
            config=self.config,
            store=self.store,
            dataset=self.dataset,
            recommender=self.recommender,
            encoder=self.encoder,
            base_url=self.base_url,
            say=self.say,
        )
        self.state.validation |= measures
        write_state(self.state, self.out)

    def delete_old_versions(self, newest: int, *, kept: int) -> None:
        """Delete the folders of versions before the `kept` newest, but the best one and what a stage starts from."""
        steps = [self.config.begins_with_adapter, *(plan.steps for plan in self.config.stages)]
        starts = {version_name(number) for number in (1, *np.cumsum(steps).tolist())}
        self.versions.delete_old(newest, kept=kept, keep={*starts, str(self.state.best)})
