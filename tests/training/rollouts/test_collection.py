from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, TraceStore, fingerprint_base
from deeprec.agent.traces import RunFilter
from deeprec.evals import ServerLostError
from deeprec.training import Collection, Instance, collect_groups, read_rollouts
from deeprec.trm_tool import ConfigError, Dataset, Retriever
from tests.tiny_server import TinyServer

CONFIG = AgentConfig(guided=True, k=3, retrieve_k=4, max_retrievals=2, max_turn_tokens=200)


@pytest.fixture
def instances(dataset: Dataset) -> list[Instance]:
    return [
        Instance(user=user, history=dataset.history(user, 3), target=dataset.target(user, 3), trm_rank=1)
        for user in dataset.users[:3]
    ]


def collection(**changed: object) -> Collection:
    return Collection(
        **{"label": "loop/interaction/0000", "system": "collect", "group_size": 2, "config": CONFIG, **changed}
    )  # type: ignore[arg-type]


async def collect(
    server: TinyServer,
    retriever: Retriever,
    store: TraceStore,
    instances: list[Instance],
    plan: Collection,
    on_ended: Callable[[int, int], None] | None = None,
) -> list[UUID]:
    async with CompletionPolicy(server.base_url, timeout_s=5, max_retries=0) as policy:
        return await collect_groups(policy, retriever, store, instances, plan, max_concurrency=4, on_ended=on_ended)


@pytest.mark.slow
async def test_every_instance_gets_a_group_of_runs_that_can_be_trained_on(
    server: TinyServer, retriever: Retriever, store: TraceStore, instances: list[Instance]
) -> None:
    ids = await collect(server, retriever, store, instances, collection())
    rollouts = list(read_rollouts(store, RunFilter(suite="loop/interaction/0000"), allow_guided=True))
    assert {rollout.run_id for rollout in rollouts} == set(ids)
    groups = [rollout.group_id for rollout in rollouts]
    assert {groups.count(group) for group in groups} == {2}
    assert len(set(groups)) == 3
    for trace in store.traces():
        [instance] = [each for each in instances if each.user == trace.run.user_id]
        assert trace.run.target_id == instance.target
        assert trace.run.split == "train"
        assert trace.run.history == instance.history
    texts = {tuple(turn.text for turn in trace.turns) for trace in store.traces()}
    assert len(texts) == len(ids)  # no two runs share their draws


@pytest.mark.slow
async def test_what_has_ended_is_not_run_again(
    server: TinyServer, retriever: Retriever, store: TraceStore, instances: list[Instance]
) -> None:
    first = await collect(server, retriever, store, instances[:2], collection())
    started = {trace.run.run_id: trace.started_at for trace in store.traces()}
    told: list[tuple[int, int]] = []
    again = await collect(server, retriever, store, instances, collection(), lambda *counts: told.append(counts))
    assert again[: len(first)] == first
    assert told == [(done, len(again)) for done in range(len(first), len(again) + 1)]
    assert {run_id: at for run_id, at in _started(store).items() if run_id in started} == started


async def test_a_run_that_an_older_version_began_goes_on_with_its_seeds(
    server: TinyServer, retriever: Retriever, store: TraceStore, instances: list[Instance], tmp_path: Path
) -> None:
    [new, *_] = await collect(server, retriever, store, instances[:1], collection(group_size=1))
    run = store.run(new).run
    with TraceStore(tmp_path / "older.db") as older:
        older.start_run(replace(run, seed=7, config={k: v for k, v in run.config.items() if k != "turn_seeds"}))
        server.requests.clear()
        assert await collect(server, retriever, older, instances[:1], collection(group_size=1)) == [new]
        ended = older.run(new)
    assert (ended.status, ended.run.seed) == (store.run(new).status, 7)
    seeds = {body["seed"] for body in server.requests if body["path"].endswith("/completions")}
    assert seeds
    assert seeds <= set(range(7, 100))  # the run's seed and a count, as that version had it


@pytest.mark.slow
async def test_the_same_collection_writes_the_same_tokens_in_another_store(
    server: TinyServer, retriever: Retriever, store: TraceStore, instances: list[Instance], tmp_path: Path
) -> None:
    await collect(server, retriever, store, instances, collection())
    with TraceStore(tmp_path / "other.db") as other:
        await collect(server, retriever, other, instances, collection())
        assert _texts(other) == _texts(store)
        await collect(server, retriever, other, instances, collection(label="loop/interaction/0001"))
        assert set(_texts(other).values()) != set(_texts(store).values())


@pytest.mark.slow
async def test_a_server_that_dies_leaves_no_fallback_behind(
    server: TinyServer, retriever: Retriever, store: TraceStore, instances: list[Instance]
) -> None:
    def die(handler: object) -> None:
        server.is_gone = True
        handler.answer(500, {"message": "gone"})  # type: ignore[attr-defined]

    await collect(server, retriever, store, instances[:1], collection())
    kept = set(_started(store))
    server.script = [die]
    with pytest.raises(ServerLostError):
        await collect(server, retriever, store, instances, collection())
    assert {trace.run.run_id for trace in store.traces() if trace.status == "fallback"} == set()
    assert kept <= set(_started(store))


async def test_runs_carry_the_weights_that_wrote_them_and_raw_log_probabilities_are_refused(
    server: TinyServer, retriever: Retriever, store: TraceStore, instances: list[Instance], tiny_base: Path
) -> None:
    server.root = str(tiny_base)
    [run_id] = await collect(server, retriever, store, instances[:1], collection(group_size=1))
    run = store.run(run_id).run
    assert (run.base_fingerprint, run.adapter_fingerprint) == (fingerprint_base(tiny_base), None)
    assert run.logprobs_mode == "processed"
    server.logprobs_mode = "raw"
    free = collection(group_size=1, config=replace(CONFIG, guided=False))
    with pytest.raises(ConfigError, match="--logprobs-mode processed_logprobs"):
        await collect(server, retriever, store, instances[1:2], free)
    assert len(_started(store)) == 1


def test_a_group_of_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="group_size is 0"):
        collection(group_size=0)


async def test_an_instance_that_is_given_twice_is_refused(retriever: Retriever, store: TraceStore) -> None:
    twice = [Instance(user="u0", history=("900",), target="893", trm_rank=1)] * 2
    async with CompletionPolicy("http://127.0.0.1:9/v1") as policy:
        with pytest.raises(ConfigError, match="1 of 2 instances are given twice"):
            await collect_groups(policy, retriever, store, twice, collection())


def _started(store: TraceStore) -> dict[UUID, object]:
    return {trace.run.run_id: trace.started_at for trace in store.traces()}


def _texts(store: TraceStore) -> dict[UUID, tuple[str, ...]]:
    return {trace.run.run_id: tuple(turn.text for turn in trace.turns) for trace in store.traces()}
