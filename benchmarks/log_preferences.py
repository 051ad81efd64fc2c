"""Log runs that write preferences, to report on them and to train on them.

    deeprec llm serve      and then, against the address that it names:

    python -m benchmarks.log_preferences --before 1 --artifact .deeprec/trm/ml-100k
    deeprec trm train --out .deeprec/trm/holdout-3 --holdout 3
    python -m benchmarks.log_preferences --before 3 --artifact .deeprec/trm/holdout-3
    deeprec traces export --preferences written.parquet --store .deeprec/written.db
    deeprec trm eval .deeprec/trm/ml-100k --preferences written.parquet
    deeprec trm train --out .deeprec/trm/with-written --preferences written.parquet

The same command again resumes the runs that were cut off and leaves those alone that have ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph, run_many
from deeprec.agent.traces import RunFilter
from deeprec.evals.requests.agent_requests import make_agent_request, run_seed
from deeprec.evals.requests.cases import make_case
from deeprec.trm_tool import ConfigError, Dataset, Recommender, Retriever, embedded_ml100k, read_atomic_files

SUITE = "written preferences"
_SPLITS = {1: "test", 2: "valid"}


async def log_preferences(
    policy: CompletionPolicy,
    recommender: Recommender,
    dataset: Dataset,
    store: TraceStore,
    *,
    before: int,
    users: int,
    seed: int = 0,
    at_once: int = 20,
    config: AgentConfig | None = None,
) -> Mapping[str, int]:
    """Run the agent for random users, each with the history before one of their last items.

    Args:
        policy: Who writes.
        recommender: Trained without the targets.
        dataset: What the recommender was trained on.
        store: Where the runs go.
        before: Which item from the end is the target: 1 (test), 2 (validation), 3 and above (to train on).
        users: How many; users of different `before` do not overlap as long as there are enough.
        seed: Of the choice of users and of the sampling.
        at_once: Runs in flight.
        config: Guided, with exactly 3 retrievals, where it is not given.

    Returns:
        How a run ended -> how many, those of earlier calls included.

    Raises:
        ConfigError: the recommender was trained on other data, or on the targets.
    """
    known = recommender.identity
    if known.dataset_fingerprint != dataset.fingerprint or known.holdout is None or known.holdout < before:
        raise ConfigError(
            f"The recommender was trained with holdout {known.holdout}"
            f"{'' if known.dataset_fingerprint == dataset.fingerprint else ', on other data'}; item {before} from "
            f"the end must be unknown to it. Train one on {dataset.name} with `--holdout {max(before, 2)}`."
        )
    config = config or AgentConfig(guided=True, k=5, max_history=10, min_retrievals=3, max_retrievals=3)
    shuffled = random.Random(seed).sample(dataset.users, len(dataset.users))
    first = (before - 1) * users % len(shuffled)
    chosen = [user for user in (shuffled[first:] + shuffled[:first])[:users] if len(dataset.history(user, before))]
    ids = {user: uuid5(NAMESPACE_OID, json.dumps([known.fingerprint, user, before, seed])) for user in chosen}
    ended = {run.run_id for run in store.runs(None, RunFilter(suite=SUITE, ended=True))}
    graph = build_graph(policy, recommender, config=config, recorder=SqlRecorder(store))
    await run_many(
        graph,
        [
            make_agent_request(
                make_case(dataset, user, before),
                suite=SUITE,
                split=_SPLITS.get(before, "train"),
                seed=run_seed(SUITE, user, before, seed),
                run_id=ids[user],
            )
            for user in chosen
            if ids[user] not in ended
        ],
        max_concurrency=at_once,
    )
    statuses: dict[UUID, str] = {run.run_id: run.status for run in store.runs(None, RunFilter(suite=SUITE))}
    return Counter(statuses[run_id] for run_id in ids.values() if run_id in statuses)


def main() -> None:
    """Log the runs and say how they ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--artifact", type=Path, default=Path(".deeprec/trm/ml-100k"))
    parser.add_argument("--store", default=".deeprec/written.db")
    parser.add_argument("--before", type=int, choices=range(1, 10), default=1)
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()

    async def run() -> Mapping[str, int]:
        policy = CompletionPolicy(options.base_url)
        try:
            with TraceStore(options.store) as store:
                return await log_preferences(
                    policy,
                    Retriever.load(options.artifact),
                    read_atomic_files(embedded_ml100k()),
                    store,
                    before=options.before,
                    users=options.users,
                    seed=options.seed,
                )
        finally:
            await policy.aclose()

    endings = asyncio.run(run())
    print(
        ", ".join(f"{count} {status}" for status, count in endings.items()), f"in {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
