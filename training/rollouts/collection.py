"""Collection of groups of runs to learn from: the agent runs several times for each instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    PolicyUnavailableError,
    SqlRecorder,
    TraceStore,
    build_graph,
)
from deeprec.agent.traces import RunFilter
from deeprec.evals import ServerLostError, run_on_server
from deeprec.evals.requests.agent_requests import make_agent_request, run_seed
from deeprec.training.rollouts.instances import SPLIT, Instance
from deeprec.training.rollouts.rollouts import RAW_LOGPROBS_FAULT
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import AnyRecommender

_NAMESPACE = UUID("0f0d6f64-6a55-4e0e-8f3b-51f6f0b5a0d7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Groups of runs that are stored under one label."""

    label: str
    """The suite under which the runs are stored. Label and user, or request and target, identify a group, and with the
    sample a run."""
    system: str
    """The system under which the runs are stored."""
    group_size: int
    """Runs of each instance."""
    config: AgentConfig
    seed: int = 0
    """Decides the seeds of all runs, together with label, user and sample."""

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise ConfigError(f"Collection.group_size is {self.group_size}; a group has at least one run.")


async def collect_groups(
    policy: CompletionPolicy,
    recommender: AnyRecommender,
    store: TraceStore,
    instances: Sequence[Instance],
    collection: Collection,
    *,
    max_concurrency: int = 32,
    on_ended: Callable[[int, int], None] | None = None,
) -> list[UUID]:
    """Run the agent for every instance, and go on where an earlier call was stopped.

    A run that has ended is not run again. A run that was stopped before its end goes on from its last stored step.

    Args:
        policy: the model, or the adapter of the newest version.
        recommender: the recommender, sync or async, which must not have learned the targets (`select_instances` checks
            it).
        store: the store that logs the runs.
        instances: the people to run the agent for.
        collection: the number of runs of each instance, their label and their settings.
        max_concurrency: runs in flight at once.
        on_ended: called with the number of runs that have ended and the number of all: at the start, and after each.

    Returns:
        the ids of all runs of the collection, group by group.

    Raises:
        ConfigError: an instance is given twice, or runs of this server could not be trained on (`RolloutError`).
        ServerLostError: the server became unavailable. Runs that have ended are stored.
    """
    if len(set(instances)) < len(instances):
        raise ConfigError(
            f"{len(instances) - len(set(instances))} of {len(instances)} instances are given twice. Give each once, "
            "and a larger group_size for more runs of it."
        )
    pairs = [(instance, sample) for instance in instances for sample in range(collection.group_size)]
    ids = [_run_id(collection, *pair) for pair in pairs]
    ended = _ended(store, collection.label)
    left = [position for position, run_id in enumerate(ids) if run_id not in ended]
    done = len(ids) - len(left)

    report = on_ended or (lambda done, total: None)
    report(done, len(ids))

    def count(_: int, __: str) -> None:
        nonlocal done
        done += 1
        report(done, len(ids))

    graph = build_graph(policy, recommender, config=collection.config, recorder=SqlRecorder(store))
    requests = [
        make_agent_request(
            instance,
            suite=collection.label,
            split=SPLIT,
            seed=run_seed(collection.label, instance.key, collection.seed, sample),
            run_id=ids[position],
            system=collection.system,
            group_id=f"{collection.label}/{instance.key}",
        )
        for position in left
        for instance, sample in [pairs[position]]
    ]
    if left:
        try:
            await policy.connect()  # for the fingerprints of its weights
            mode = await policy.find_logprobs_mode()
        except PolicyUnavailableError as error:
            raise ServerLostError(str(error)) from error
        if mode == "raw" and not collection.config.guided:
            raise ConfigError(f"No run was collected, because none could be trained on. {RAW_LOGPROBS_FAULT}")
    await run_on_server(graph, requests, policy=policy, store=store, max_concurrency=max_concurrency, on_ended=count)
    return ids


def _run_id(collection: Collection, instance: Instance, sample: int) -> UUID:
    parts = (collection.label, collection.system, str(collection.seed), instance.key, instance.target, str(sample))
    return uuid5(_NAMESPACE, "|".join(parts))


def _ended(store: TraceStore, label: str) -> set[UUID]:
    return {run_id for page in store.run_ids(RunFilter(label=label, ended=True)) for run_id in page}
