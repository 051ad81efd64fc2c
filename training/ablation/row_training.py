"""Training of an ablation's rows, part by part; a part that another row has trained is taken from there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeprec.agent import CompletionPolicy, TraceStore, load_adapter
from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.agent.traces import RunFilter
from deeprec.evals.metrics.heard_words import SUPPORT, make_support_reward
from deeprec.evals.metrics.rewards import make_rewards
from deeprec.evals.suites.suite import MAX_REQUEST_SECONDS
from deeprec.training.ablation.row_settings import DPO, WARM_START, TrainingPart
from deeprec.training.loop.config import LoopConfig
from deeprec.training.loop.loop import run_loop
from deeprec.training.loop.loop_requests import deal_instances, read_loop_requests
from deeprec.training.loop.messages import report_tenths
from deeprec.training.loop.state import read_state
from deeprec.training.loop.versions import ADAPTERS
from deeprec.training.pairs.pairing import make_pairs
from deeprec.training.pairs.rollout_pairs import read_rollout_pairs
from deeprec.training.rewards.custom import load_rewards
from deeprec.training.rewards.stage_rewards import check_computed, score_stored_runs
from deeprec.training.rewards.stages import stage_reward
from deeprec.training.rollouts.collection import Collection, collect_groups
from deeprec.training.rollouts.instances import Instance
from deeprec.training.rollouts.rollout_filter import version_name
from deeprec.training.trainers.dpo import train_dpo
from deeprec.trm_tool import Dataset, Retriever

PARTS = "parts"
_ADAPTER = "adapter"
"""The folder of a trainer that its result is written to, at last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPolicy:
    """A policy that a part of a training leads to."""

    name: str
    """The name of its adapter on a server, which stands for these weights alone."""
    folder: Path
    preferred: str | None = None
    """The version of the part that its validation prefers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTrainer:
    """What the parts of all rows are trained with."""

    out: Path
    """The ablation's folder."""
    store: TraceStore
    dataset: Dataset
    recommender: Retriever
    base: Path | str
    base_url: Callable[[], str]
    """Starts the server of the base model where there is none yet, and returns its address."""
    say: Callable[[str], None]

    def train(self, part: TrainingPart, *, version: str = "last") -> TrainedPolicy | None:
        """Train a part and the parts before it, or go on where an earlier call was stopped.

        Each part begins with the last version of the one before it, as the stages of a loop do.

        Args:
            part: the part.
            version: `last`, or `best` for the version that its validation prefers; then None is the base model.
        """
        before = self.train(part.after) if part.after is not None else None
        start = part.config.start if before is None else before.folder
        out = self.out / PARTS / part.id
        if part.kind == DPO:
            assert start is not None  # a row without one is refused
            return self._dpo(part, out, start)
        result = run_loop(
            part.config.model_copy(update={"start": None if part.kind == WARM_START else start}),
            out,
            store=self.store,
            dataset=self.dataset,
            artifact=self.recommender,
            base=self.base,
            base_url=self.base_url(),
            say=self.say,
        )
        steps = sum(plan.steps for plan in part.config.stages)
        last = version_name(steps + (1 if part.kind == WARM_START or start is not None else 0))
        if version == "best" and result.adapter is None:
            return None
        chosen = result.adapter.name if version == "best" and result.adapter is not None else last
        name = "-".join(filter(None, (chosen, read_state(out).identity)))
        return TrainedPolicy(name=name, folder=out / ADAPTERS / chosen, preferred=result.best)

    def given(self, folder: Path) -> TrainedPolicy:
        """An adapter that a loop starts from, under a name that stands for its weights."""
        return TrainedPolicy(name=f"start-{fingerprint_adapter(folder)[:8]}", folder=folder)

    def _dpo(self, part: TrainingPart, out: Path, start: Path) -> TrainedPolicy:
        """DPO on groups of the policy that the stages begin with: as many runs as the stages would have."""
        config, label = part.config, f"{part.config.name}-{part.id.rpartition('-')[2]}"
        given = self.given(start)
        trained = out / _ADAPTER
        if not trained.is_dir():
            own = load_rewards(config.rewards, named_in=f"The row's loop {config.name}")
            rewards = {**make_rewards(self.recommender.artifact, self.recommender.encoder), **own}
            if config.requests is not None:
                rewards = {SUPPORT: make_support_reward(self.recommender), **rewards}
            rewards_of = {plan.stage: plan.reward(tuple(own)) for plan in config.stages}
            reward = rewards_of.get("recommendation") or stage_reward("recommendation", dict.fromkeys(own, 1.0))
            check_computed(reward, rewards)
            rounds = _rounds(self._instances(config), config)

            async def collect() -> None:
                base_url = self.base_url()
                await load_adapter(base_url, given.name, given.folder)
                async with CompletionPolicy(base_url, adapter=given.name, timeout_s=MAX_REQUEST_SECONDS) as policy:
                    for number, chosen in enumerate(rounds, start=1):
                        plan = Collection(
                            label=label if number == 1 else f"{label}@{number}",
                            system="collect",
                            group_size=max(plan.group_size for plan in config.stages),
                            config=config.agent_config(guided=False),
                            seed=config.seed,
                        )
                        await collect_groups(
                            policy,
                            self.recommender,
                            self.store,
                            chosen,
                            plan,
                            max_concurrency=config.concurrency,
                            on_ended=report_tenths(self.say, f"runs for the pairs, {number} of {len(rounds)}"),
                        )

            asyncio.run(collect())
            collected = RunFilter(suite=label)  # every round
            score_stored_runs(self.store, collected, rewards=rewards, stage=reward)
            made = make_pairs(self.store, collected, reward=reward, name=label, dataset=self.dataset)
            self.say(f"{made.pairs} pairs of {made.groups} groups, mean gap {made.gap:.3f}")
            steps = report_tenths(self.say, "steps of DPO")
            train_dpo(
                read_rollout_pairs(self.store, label, dataset=self.dataset),
                base=self.base,
                start=start,
                out=out,
                config=part.dpo_config(),
                on_step=lambda done: steps(done.steps_done, done.steps),
            )
        return TrainedPolicy(name=f"dpo-{fingerprint_adapter(trained)[:8]}", folder=trained)

    def _instances(self, config: LoopConfig) -> tuple[Instance, ...]:
        requests = read_loop_requests(config, self.dataset, self.recommender)
        return deal_instances(config, self.dataset, self.recommender, requests).of("recommendation")


def _rounds(instances: Sequence[Instance], config: LoopConfig) -> list[Sequence[Instance]]:
    """The people of each collection for DPO, for as many runs as the stages have; nobody comes again before all did."""
    runs = sum(plan.steps * plan.users * plan.group_size for plan in config.stages)
    groups = math.ceil(runs / max(plan.group_size for plan in config.stages))
    return [instances[: groups - before] for before in range(0, groups, len(instances))]
