"""The report of what a trace store holds for training: rollouts, groups, lengths, policies, rewards, distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

from deeprec.agent.traces import Part, RunFilter, TraceStore
from deeprec.evals.metrics.rewards import REWARD_SCHEME
from deeprec.training.rewards.learning_obstacles import obstacle, unscored_message
from deeprec.training.rewards.stages import StageReward
from deeprec.training.rollouts.logprob_gap import FOREIGN_TOKEN, TOO_LONG, CurrentPolicy, measure_gap
from deeprec.training.rollouts.rollouts import SAMPLING_REASONS, RolloutError, read_rollouts
from deeprec.training.store_report.records import Distance, PolicyRuns, Refusals, StoreReport
from deeprec.training.store_report.tally import StoreTally
from deeprec.training.store_report.target_leaks import find_leaks, recommender_runs
from deeprec.trm_tool.data.dataset import Dataset

SAMPLE = 16
"""The number of randomly drawn rollouts that are compared with a model."""
FAR = 0.05
"""The mean difference of log-probabilities, in nats, beyond which it comes from another policy, not from rounding."""
_PAGE = 256


def report_store(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    stage: StageReward | None = None,
    policy: CurrentPolicy | None = None,
    allow_guided: bool = False,
    dataset: Dataset | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    on_progress: Callable[[int], Any] | None = None,
) -> StoreReport:
    """Read the runs of a store as training would; only four lengths of each run and its group stay in memory.

    Args:
        store: the store, which is only read.
        where: which runs; None for all.
        stage: the stage whose stored rewards are read (`score_stored_runs`); None reads none.
        policy: a model to compare the rollouts with (`load_current_policy`).
        allow_guided: count guided runs as rollouts, as SFT does.
        dataset: as for `find_leaks`.
        sample: how many rollouts to compare with `policy` at most.
        seed: decides the sample.
        on_progress: called after each page with the number of runs so far.

    Raises:
        TraceStoreError: the store cannot be read.
    """
    tally = StoreTally(stage, policy, sample, Random(seed))
    refused: dict[str, tuple[int, RolloutError]] = {}

    def refuse(error: RolloutError) -> None:
        count, example = refused.get(error.reason, (0, error))
        refused[error.reason] = (count + 1, example)

    rollouts = read_rollouts(store, where, allow_guided=allow_guided, on_refused=refuse)
    while page := list(islice(rollouts, _PAGE)):
        stored = {} if stage is None else store.rewards([rollout.run_id for rollout in page], REWARD_SCHEME)
        for rollout in page:
            tally.add(rollout, stored.get(rollout.run_id, {}))
        if on_progress is not None:
            on_progress(tally.rollouts + sum(count for count, _ in refused.values()))
    refusals = [Refusals(reason=reason, runs=count, example=error.run_id) for reason, (count, error) in refused.items()]
    counts = None if tally.rewards is None else tally.rewards.counts()
    fault = obstacle(
        where=where,
        rollouts=tally.rollouts,
        refused={each.reason: each.runs for each in refusals},
        groups_of_two=tally.groups_of_two,
        rewards=counts,
        mixed=tally.checks.fault() or tally.policy_fault,
    )
    report = StoreReport(
        runs=tally.rollouts + sum(each.runs for each in refusals),
        rollouts=tally.rollouts,
        guided=tally.guided,
        refused=tuple(sorted(refusals, key=lambda each: -each.runs)),
        groups=tally.group_sizes(),
        lengths={name: lengths.spread() for name, lengths in tally.lengths.items()},
        policies=_policies(store, where, tally),
        recommenders=recommender_runs(store, where),
        rewards=None if tally.rewards is None else tally.rewards.figures(),
        distance=None if policy is None else _distance(store, policy, tally),
        obstacle=None if allow_guided and tally.rollouts else fault,
        leaks=tuple(find_leaks(store, where, dataset)),
        notes=(),
    )
    unscored = [] if report.obstacle or not (counts and counts.unscored) else [unscored_message(counts, tally.rollouts)]
    sampled = [str(error) for _, error in refused.values() if error.reason in SAMPLING_REASONS]
    if policy is not None and tally.without_fingerprint:
        sampled.append(
            f"{tally.without_fingerprint} rollouts carry no fingerprint of their weights (they are older, or their "
            "server did not show the weights): only names and log-probabilities can be compared with the policy's."
        )
    return replace(report, notes=(*unscored, *sampled, *_notes(report)))


def _policies(store: TraceStore, where: RunFilter | None, tally: StoreTally) -> tuple[PolicyRuns, ...]:
    with store.snapshot() as snapshot:
        found = snapshot.count_runs("policy_model", "adapter", "adapter_version", "guided", where=where)
    return tuple(
        PolicyRuns(
            model=model,
            adapter=adapter,
            version=version,
            guided=guided,
            runs=count.runs,
            rollouts=tally.by_policy[model, adapter, version, guided],
            first=count.first,
            last=count.last,
        )
        for count in found
        for model, adapter, version, guided in [count.values]
    )


def _distance(store: TraceStore, policy: CurrentPolicy, tally: StoreTally) -> Distance:
    omit: tuple[Part, ...] = ("tokens", "texts", "scores")
    sampled = [store.run(rollout.run_id, omit=omit).run.sampling for rollout in tally.sample]
    foreign, foreign_example = tally.misfits.get(FOREIGN_TOKEN, (0, None))
    too_long, too_long_example = tally.misfits.get(TOO_LONG, (0, None))
    return Distance(
        gap=measure_gap(tally.sample, policy),
        temperatures=tuple(sorted({float(each["temperature"]) for each in sampled if "temperature" in each})),
        foreign_tokens=foreign,
        foreign_example=foreign_example,
        too_long=too_long,
        too_long_example=too_long_example,
    )


def _notes(report: StoreReport) -> Iterator[str]:
    """The weaknesses of the runs as examples, in full sentences."""
    groups, rewards, distance = report.groups, report.rewards, report.distance
    if groups is not None and groups.alone < groups.groups and groups.alone:
        yield f"{groups.alone} of {groups.groups} groups have one rollout: no advantage comes from them."
    yield from report.leaks
    if rewards is not None:
        if rewards.not_computable:
            components = ", ".join(f"{name} in {count}" for name, count in rewards.not_computable.items())
            lost = report.rollouts - rewards.with_reward
            yield f"{lost} rollouts have no reward and are left out: not computable is {components}."
        if rewards.flat_groups:
            yield f"{rewards.flat_groups} groups have equal rewards (such as {rewards.flat_example}): no gradient."
        if rewards.variance.advice is not None:
            yield rewards.variance.advice
    if distance is not None:
        yield from _distance_notes(distance)


def _distance_notes(distance: Distance) -> Iterator[str]:
    if distance.foreign_tokens:
        yield (
            f"{distance.foreign_tokens} rollouts have tokens that the model does not know (such as run "
            f"{distance.foreign_example}): another model wrote them."
        )
    if distance.too_long:
        yield (
            f"{distance.too_long} rollouts are longer than the model's context (such as run "
            f"{distance.too_long_example}) and will be left out."
        )
    if any(temperature != 1 for temperature in distance.temperatures):
        yield (
            f"Runs were sampled at temperature {', '.join(f'{each:g}' for each in distance.temperatures)}. Training "
            "compares with temperature 1, so their policy looks like another one."
        )
    elif distance.gap.mean > FAR:
        yield (
            f"Logged and current log-probabilities differ by {distance.gap.mean:.3f} nats a token: another "
            "policy, or an older version, sampled these runs. Name its model and adapter, or collect new runs."
        )
