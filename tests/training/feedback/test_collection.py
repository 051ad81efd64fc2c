"""Collection of knowledge runs: one kind of their own, exact tokens, resumable, and nothing lost with the server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deeprec.agent import CompletionPolicy, TraceStore, fingerprint_base
from deeprec.agent.traces import RunFilter
from deeprec.evals import Case, ServerLostError, make_cases
from deeprec.training import KnowledgeConfig, KnowledgeRuns, collect_knowledge, read_rollouts
from deeprec.trm_tool import ConfigError, Dataset
from tests.made_runs import made_run, store_runs
from tests.tiny_server import TinyServer, decode


@pytest.fixture
def cases(dataset: Dataset) -> list[Case]:
    return make_cases(dataset, "train")[:3]


def config(**changed: Any) -> KnowledgeConfig:
    given = {"label": "feedback/untuned/train", "split": "train", "group_size": 2, "max_tokens": 200}
    return KnowledgeConfig(**(given | changed))


async def collect(
    server: TinyServer,
    dataset: Dataset,
    store: TraceStore,
    cases: list[Case],
    plan: KnowledgeConfig,
    on_ended: Callable[[int, int], None] | None = None,
) -> KnowledgeRuns:
    async with CompletionPolicy(server.base_url, timeout_s=5, max_retries=0) as policy:
        return await collect_knowledge(policy, dataset, store, cases, plan, max_concurrency=2, on_ended=on_ended)


async def test_each_person_gets_a_group_of_exact_runs_of_their_own_kind(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case]
) -> None:
    counts: list[tuple[int, int]] = []
    made = await collect(server, dataset, store, cases, config(), lambda *seen: counts.append(seen))
    assert (made.new, counts[0], counts[-1]) == (6, (0, 6), (6, 6))
    traces = {trace.run.run_id: trace for trace in store.traces(RunFilter(kind="knowledge", suite=made.label))}
    assert set(traces) == set(made.runs)
    for number, run_id in enumerate(made.runs):
        trace, case = traces[run_id], cases[number // 2]
        [turn] = trace.turns
        assert (trace.run.history, trace.run.target_id, trace.run.split) == (case.history, case.target, "train")
        assert trace.run.sampling == {"temperature": 1.0, "top_p": 1.0}
        assert (trace.status, turn.action) == ("finished", "knowledge")
        assert turn.preference
        assert set(turn.preference.split("; ")) <= set(dataset.catalogue.phrases(1))
        prompt = decode(list(turn.prompt_ids))
        assert dataset.catalogue.item(case.history[-1]).title.split()[0] in prompt
        assert case.target not in prompt
    rollouts = list(read_rollouts(store, RunFilter(kind="knowledge"), allow_guided=True))
    assert {rollout.run_id for rollout in rollouts} == set(made.runs)
    assert [rollout.env_mask.sum() for rollout in rollouts] == [
        len(traces[rollout.run_id].turns[0].completion_ids) for rollout in rollouts
    ]
    again = await collect(server, dataset, store, cases, config())
    assert (again.new, again.runs) == (0, made.runs)


async def test_free_answers_without_knowledge_are_kept_with_the_reason(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case]
) -> None:
    server.script = ["class: comedy", "", "They like films."]
    await collect(server, dataset, store, cases, config(guided=False, group_size=1))
    found = {trace.turns[0].text.strip("\x00"): trace for trace in store.traces()}
    assert {(text, trace.status) for text, trace in found.items()} == {
        ("class: comedy", "finished"),
        ("", "malformed"),
        ("They like films.", "malformed"),
    }
    assert found["They like films."].detail == "The knowledge cannot be used: it names no factor of the catalogue."
    assert found["They like films."].turns[0].preference is None


async def test_a_value_that_the_limit_of_tokens_cut_is_left_out(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case]
) -> None:
    server.script = ["class: comedy, horror; studio: pix"]
    await collect(server, dataset, store, cases[:1], config(guided=False, group_size=1, max_tokens=27))
    [turn] = next(iter(store.traces())).turns
    assert turn.text == "class: comedy, horror; stud"
    assert turn.preference == "comedy; horror"


async def test_a_lost_server_loses_no_run(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case]
) -> None:
    def stop(done: int, total: int) -> None:
        server.is_gone = done >= 2

    with pytest.raises(ServerLostError, match="The model's server is unavailable"):
        await collect(server, dataset, store, cases, config(), stop)
    kept = sum(len(page) for page in store.run_ids(RunFilter(ended=True)))
    assert 2 <= kept < 6
    server.is_gone = False
    made = await collect(server, dataset, store, cases, config())
    assert made.new == 6 - kept
    assert len(list(read_rollouts(store, allow_guided=True))) == 6


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="would be alike"):
        config(temperature=0.0)
    assert config(temperature=0.0, group_size=1).sampling(3).seed == 3
    with pytest.raises(ConfigError, match="group_size is 0"):
        config(group_size=0)


async def test_a_case_given_twice_is_refused(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case]
) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        await collect(server, dataset, store, [cases[0], cases[0]], config())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"guided": False}, "guided of run .* is True, and False is asked for"),
        ({"temperature": 0.5}, r"sampling of run .* 1\.0.* is asked for"),
        ({"max_tokens": 9}, "max_tokens of run .* is 200, and 9 is asked for"),
        ({"guided": False, "group_size": 3}, "guided of run"),
        ({"guided": False, "seed": 1}, "guided of run"),
    ],
)
async def test_other_settings_under_one_name_are_refused(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case], changed: dict[str, Any], why: str
) -> None:
    await collect(server, dataset, store, cases[:1], config())
    with pytest.raises(ConfigError, match=why):
        await collect(server, dataset, store, cases[:1], config(**changed))
    assert (await collect(server, dataset, store, cases[:1], config(group_size=3))).new == 1


@pytest.mark.parametrize(("name", "earlier"), [("adapter", "tuned"), ("policy_model", "other")])
async def test_another_policy_under_one_name_is_refused(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case], name: str, earlier: str
) -> None:
    run = {"kind": "knowledge", "suite": config().label, "guided": True, "policy_model": "tiny"}
    run |= {"sampling": {"temperature": 1.0, "top_p": 1.0}}
    store_runs(store, made_run(run=run | {name: earlier}))
    with pytest.raises(ConfigError, match=f"{name} of run .* is {earlier}, and"):
        await collect(server, dataset, store, cases[:1], config())


async def test_runs_carry_what_the_server_shows_of_its_weights(
    server: TinyServer, dataset: Dataset, store: TraceStore, cases: list[Case], tiny_base: Path, tmp_path: Path
) -> None:
    server.root = str(tiny_base)
    await collect(server, dataset, store, cases[:1], config())
    for trace in store.traces():
        run = trace.run
        assert (run.base_fingerprint, run.logprobs_mode) == (fingerprint_base(tiny_base), "processed")
    server.root = str(shutil.copytree(tiny_base, tmp_path / "other"))
    with (tmp_path / "other" / "config.json").open("a") as changed:
        changed.write("\n")
    with pytest.raises(ConfigError, match="base_fingerprint of run"):
        await collect(server, dataset, store, cases[:1], config())
