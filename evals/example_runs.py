"""A dozen runs to look at: the agent for people of the embedded data, guided and free."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph, run_many
from deeprec.evals.requests.agent_requests import make_agent_request, run_seed
from deeprec.evals.requests.cases import make_case
from deeprec.trm_tool import Dataset, Retriever

SUITE = "examples"
GUIDED = AgentConfig(guided=True, k=5, retrieve_k=5, max_history=10, min_retrievals=2, max_retrievals=3)
FREE = AgentConfig(k=5, retrieve_k=5, max_history=10, max_turn_tokens=48, max_malformed=1)
"""The turns are short: a model that is too small for the format never stops by itself."""
LATEST = 10
"""Items of a history that a run gets: pages of the runs must not redistribute the data."""


async def make_example_runs(
    store: TraceStore,
    policy: CompletionPolicy,
    retriever: Retriever,
    data: Dataset,
    *,
    guided: int = 9,
    free: int = 3,
    seed: int = 0,
    on_update: Callable[[int, str, Mapping[str, Any]], None] | None = None,
) -> list[UUID]:
    """Run the agent for the latest ten items of a few people, all at once, and log the runs.

    Args:
        store: where the runs go.
        policy: the model.
        retriever: a recommender of `data`.
        data: the people and their histories; the last item of each is held out and logged as the target.
        guided: runs in which the server enforces the format.
        free: runs of the model alone.
        seed: seed of the choice of people, and of the sampling.
        on_update: as `run_many`; runs are counted over both kinds, the guided first.
    Returns:
        the ids of the runs, guided first.
    """
    people = random.Random(seed).sample(sorted(data.users), guided + free)

    async def run(config: AgentConfig, start: int, stop: int) -> list[UUID]:
        def report(index: int, node: str, wrote: Mapping[str, Any]) -> None:
            if on_update is not None:
                on_update(start + index, node, wrote)

        graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
        requests = [
            make_agent_request(
                make_case(data, user), suite=SUITE, split="test", seed=run_seed(SUITE, user, seed), latest=LATEST
            )
            for user in people[start:stop]
        ]
        outputs = await run_many(graph, requests, on_update=report, raise_errors=True)
        return [UUID(output["run_id"]) for output in outputs]

    held, alone = await asyncio.gather(run(GUIDED, 0, guided), run(FREE, guided, guided + free))
    return held + alone
