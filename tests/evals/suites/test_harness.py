"""A suite end to end: real systems, a real server with a tiny model, a real store."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from deeprec.agent import AgentConfig, TraceStore, fuse_rankings
from deeprec.agent.traces import RunFilter, RunTrace, TraceStoreError
from deeprec.evals import (
    SYSTEMS,
    AgentSystem,
    ServerLostError,
    Suite,
    SuiteProgress,
    SuiteResults,
    compare_all,
    compare_systems,
    fused_ranking,
    load_results,
    make_report,
    ndcg_at_k,
    recall_at_k,
    render_html,
    run_suite,
)
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder, Retriever, TextRole, fit_reranking
from tests.tiny_server import TinyServer, serve_tiny

QUICK = ("popularity", "co-occurrence", "trm", "trm-oracle")


def make_suite(*systems: Any, **changes: Any) -> Suite:
    values = {"name": "tiny", "baseline": "trm", "k": 5, "retrieve_k": 4, "systems": systems or QUICK} | changes
    return Suite.model_validate(values)


def run(suite: Suite, store: TraceStore, dataset: Dataset, artifact: Artifact, **settings: Any) -> SuiteResults:
    label = run_suite(suite, store, dataset=dataset, artifact=artifact, encoder=HashingEncoder(), **settings)
    return load_results(store, label)


def traces_of(store: TraceStore, system: str) -> list[RunTrace]:
    return list(store.traces(RunFilter(system=system)))


def test_signals_are_never_scored_on_the_items_that_their_weights_were_fitted_on(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    results = run(make_suite("trm", "trm-signals"), store, dataset, artifact)
    trm, signals = results.system("trm"), results.system("trm-signals")
    assert not np.array_equal(trm.measures["rr_filled"], signals.measures["rr_filled"])
    with pytest.raises(ConfigError, match=r"12 pairs .* learned by the weights of the signals"):
        run(make_suite("trm", "trm-signals", split="valid"), store, dataset, artifact)


def test_a_deep_list_has_the_order_of_the_signals_and_hears_what_a_request_says(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    entries = ("trm", "trm-signals", "deep-list", {"system": "deep-list", "name": "silent", "words": "none"})
    histories = run(make_suite(*entries[:3]), store, dataset, artifact)
    ranks = {system.name: system.measures["rr_filled"] for system in histories.systems}
    assert np.array_equal(ranks["deep-list"], ranks["trm-signals"])
    asked = run(make_suite(*entries, requests="made", name="asked"), store, dataset, artifact)
    ranks = {system.name: system.measures["rr_filled"] for system in asked.systems}
    assert np.array_equal(ranks["silent"], ranks["trm-signals"])
    assert not np.array_equal(ranks["deep-list"], ranks["silent"])


def test_the_model_ranks_the_recommenders_own_list_whatever_it_asks_for(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    server.writer = lambda prompt, rng: (
        "<recommendation_list>\n4\n3\n2\n1\n</recommendation_list>"
        if "<|end_of_item_list|>" in prompt
        else "<think>so</think>\n<|begin_of_preference|>drama<|end_of_preference|>"
    )
    for requests in (None, "made"):
        suite = Suite(
            name=f"own-{requests}",
            k=4,
            requests=requests,
            agent={"retrieve_k": 4, "enforces_words": False},
            baseline="own-list",
            systems=("words-history", "own-list"),  # type: ignore[arg-type]  # names are read as entries
        )
        label = run_suite(
            suite, store, dataset=dataset, artifact=artifact, encoder=HashingEncoder(), base_url=server.base_url
        )
        plain, own = (
            {t.run.user_id: t for t in traces_of(store, name) if t.run.suite == label}
            for name in ("words-history", "own-list")
        )
        assert plain.keys() == own.keys()
        for user, trace in own.items():
            [retrieval] = trace.retrievals
            assert retrieval.preference == "drama"
            assert [item.id for item in retrieval.items] == [place.item_id for place in plain[user].recommended]
            assert [place.item_id for place in trace.written] == [item.id for item in reversed(retrieval.items)]


def test_systems_without_a_model_are_stored_and_measured_by_id(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    results = run(make_suite(), store, dataset, artifact)
    assert [system.name for system in results.systems] == list(QUICK)
    assert [system.oracle for system in results.systems] == [False, False, False, True]
    for system in results.systems:
        assert system.users == tuple(sorted(dataset.users))
        stored = store.traces(RunFilter(system=system.name))
        lists = {trace.run.user_id: [place.item_id for place in trace.recommended] for trace in stored}
        for user, target, recall, ndcg in zip(
            system.users,
            system.targets,
            system.measures["recall@5 filled"],
            system.measures["ndcg@5 filled"],
            strict=True,
        ):
            assert target == dataset.target(user, 1)
            assert recall == recall_at_k(lists[user], {target}, 5)
            assert ndcg == pytest.approx(ndcg_at_k(lists[user], {target}, 5), abs=1e-12)


def test_a_suite_that_has_run_is_not_run_again_and_a_new_system_joins_it(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    label = run(make_suite("trm"), store, dataset, artifact).label
    before = {trace.run.run_id: trace.started_at for trace in store.traces()}
    reported: list[SuiteProgress] = []
    results = run(make_suite("trm", "popularity"), store, dataset, artifact, on_progress=reported.append)
    assert results.label == label
    after = {trace.run.run_id: trace.started_at for trace in store.traces()}
    assert {key: after[key] for key in before} == before
    assert len(after) == 24
    assert [(at.system, at.done, at.total) for at in reported] == [
        ("trm", 12, 12),
        ("popularity", 0, 12),
        ("popularity", 12, 12),
    ]


def test_kept_embeddings_are_not_encoded_again(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    class Silent(HashingEncoder):
        def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
            raise AssertionError(f"asked to encode {texts}")

    with TraceStore(tmp_path / "another.db") as another:
        first = run(make_suite(), another, dataset, artifact, cache=tmp_path / "kept")
    label = run_suite(
        make_suite(), store, dataset=dataset, artifact=artifact, encoder=Silent(), cache=tmp_path / "kept"
    )
    oracle = load_results(store, label).system("trm-oracle")
    np.testing.assert_array_equal(oracle.measures["rr_filled"], first.system("trm-oracle").measures["rr_filled"])


@pytest.mark.slow
def test_agents_run_at_once_and_their_runs_are_rewarded(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    suite = make_suite("trm", "one-retrieval", "deeprec-one-turn", "deeprec-guided", "fused", max_retrievals=2)
    results = run(suite, store, dataset, artifact, base_url=server.base_url)
    guided, fused = results.system("deeprec-guided"), results.system("fused")
    assert guided.measures["calls"].tolist() == [2.0] * 12
    assert results.system("deeprec-one-turn").measures["calls"].tolist() == [1.0] * 12
    assert {"reward format", "reward hit", "reward similarity"} <= set(guided.measures)
    assert not any(name.startswith("reward") for name in fused.measures)
    for trace in traces_of(store, "deeprec-guided"):
        assert trace.run.suite == results.label
        assert trace.run.target_id == dataset.target(str(trace.run.user_id), 1)
    sources = {trace.run.run_id: trace for trace in traces_of(store, "deeprec-guided")}
    for trace in traces_of(store, "fused"):
        assert [place.item_id for place in trace.written] == fused_ranking(sources[trace.run.parent_id])[:5]  # type: ignore[index]
    for name in ("found", "calls", "items_found", "tokens", "prompt_tokens"):  # it searched what its source searched
        assert fused.measures[name].tolist() == guided.measures[name].tolist(), name
    seeds = [trace.run.seed for trace in sources.values()]
    assert len(set(seeds)) == len(seeds)


def test_an_entry_may_ask_in_words_and_call_tools(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    asked = {"system": "deeprec-free", "name": "asked", "protocol": "tools", "asked": True}
    silent = {"system": "deeprec-free", "name": "silent", "protocol": "tools"}
    suite = make_suite("trm", asked, silent, users=2)
    server.script = ["no call"] * 12
    run(suite, store, dataset, artifact, base_url=server.base_url)
    [first, second], others = traces_of(store, "asked"), traces_of(store, "silent")
    assert {trace.run.protocol for trace in (first, second, *others)} == {"tools"}
    assert [trace.run.message for trace in others] == [None, None]
    assert all(trace.run.message for trace in (first, second))
    assert len({trace.run.run_id for trace in (first, second, *others)}) == 4
    done = len(server.requests)
    run(suite, store, dataset, artifact, base_url=server.base_url)
    assert [request for request in server.requests[done:] if "messages" in request] == []


@pytest.mark.slow
def test_one_retrieval_gives_the_recommenders_own_items_whatever_the_model_writes(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    run(make_suite("trm", "one-retrieval", k=4), store, dataset, artifact, base_url=server.base_url)
    own = {trace.run.user_id: {p.item_id for p in trace.recommended} for trace in traces_of(store, "trm")}
    for trace in traces_of(store, "one-retrieval"):
        assert {item.id for item in trace.retrievals[0].items} == own[trace.run.user_id]


@pytest.mark.slow
def test_what_was_stopped_goes_on_and_asks_for_nothing_twice(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    class StoppedError(Exception):
        pass

    def stop(at: SuiteProgress) -> None:
        if at.system == "deeprec-guided" and at.done == 4:
            raise StoppedError

    suite = make_suite("trm", "deeprec-guided", max_retrievals=2)
    with pytest.raises((StoppedError, ExceptionGroup)):
        run(suite, store, dataset, artifact, base_url=server.base_url, max_concurrency=1, on_progress=stop)
    ended = {t.run.run_id for t in traces_of(store, "deeprec-guided") if t.status != "running"}
    asked = len(server.requests)
    results = run(suite, store, dataset, artifact, base_url=server.base_url)
    assert len(ended) >= 4
    assert len(results.system("deeprec-guided").users) == 12
    again = {t.run.run_id: t for t in traces_of(store, "deeprec-guided")}
    assert ended <= set(again)
    assert len(again) == 12
    per_run = asked / len(ended)
    assert len(server.requests) - asked < per_run * (12 - len(ended)) + 2 * per_run


@pytest.mark.slow
def test_a_server_that_goes_away_leaves_no_fallback_behind_as_a_result(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    suite = make_suite("trm", "deeprec-guided", max_retrievals=2)

    def leave(at: SuiteProgress) -> None:
        if at.system == "deeprec-guided" and at.done == 3:
            server.close()

    with pytest.raises(ServerLostError, match="server is unavailable"):
        run(suite, store, dataset, artifact, base_url=server.base_url, max_concurrency=2, on_progress=leave)
    stored = traces_of(store, "deeprec-guided")
    assert len(stored) >= 3
    assert all(trace.status != "fallback" for trace in stored)
    with serve_tiny() as another:
        results = run(suite, store, dataset, artifact, base_url=another.base_url)
    assert len(results.system("deeprec-guided").users) == 12
    assert "fallback" not in results.system("deeprec-guided").statuses


@pytest.mark.slow
def test_a_system_of_ones_own_is_one_function(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    def brief(_: Any) -> AgentSystem:
        return AgentSystem(config=AgentConfig(guided=True, k=2, retrieve_k=3, min_retrievals=1, max_retrievals=1))

    systems = {**SYSTEMS, "brief": brief}
    results = run(make_suite("trm", "brief"), store, dataset, artifact, base_url=server.base_url, systems=systems)
    assert results.system("brief").measures["listed"].tolist() == [2.0] * 12


@pytest.mark.slow
def test_a_row_has_settings_and_signals_of_its_own(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    guided = {"system": "deeprec-guided"}
    suite = make_suite(
        "trm",
        "deeprec-guided",
        {**guided, "name": "own", "agent": {"own_k": 9}},
        {**guided, "name": "shown", "signals": True, "agent": {"own_k": 9, "shows_evidence": True}},
        {"system": "one-retrieval", "name": "ranked", "signals": True, "agent": {"shows_evidence": True}},
        users=1,
        max_retrievals=1,
    )
    label = run(suite, store, dataset, artifact, base_url=server.base_url).label
    plain, own, shown, ranked = ([*traces_of(store, name)] for name in ("deeprec-guided", "own", "shown", "ranked"))
    for row, own_k, shows in ((plain, None, False), (own, 9, False), (shown, 9, True), (ranked, None, True)):
        assert [(each.run.config["own_k"], each.run.config["shows_evidence"]) for each in row] == [(own_k, shows)]
    fingerprints = [{each.run.trm_fingerprint for each in row} for row in (plain, own, shown, ranked)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2] == fingerprints[3]
    for row, says in ((plain, False), (ranked, True)):
        texts = ["".join(chr(token) for turn in each.turns for token in turn.prompt_ids if token < 256) for each in row]
        assert ["[chosen with" in text or "[much chosen lately" in text for text in texts] == [says]
    asked = len(server.requests)
    assert run(suite, store, dataset, artifact, base_url=server.base_url).label == label
    assert not [each for each in server.requests[asked:] if each["path"] == "/v1/completions"]
    for change, named in (({"agent": {"own_k": 8}}, "own_k"), ({"signals": True, "agent": {"own_k": 9}}, "signals")):
        changed = make_suite("trm", {**guided, "name": "own", **change}, users=1, max_retrievals=1)
        with pytest.raises(ConfigError, match=f"The stored runs of own have another value of {named}. Put it back"):
            run(changed, store, dataset, artifact, base_url=server.base_url)


@pytest.mark.parametrize(
    ("suite", "settings", "message"),
    [
        (
            make_suite({"system": "trm", "name": "trm", "signals": True}),
            {},
            "trm has signals in the suite tiny, and the system trm is not an agent. Leave it out",
        ),
        (
            make_suite("trm", {"system": "deeprec-guided", "name": "late", "signals": True}, split="valid"),
            {"base_url": "http://127.0.0.1:9/v1"},
            "learned by the weights of the signals",
        ),
        (make_suite("trm", "gone"), {}, "names the system 'gone', which is not known. Choose one of popularity"),
        (make_suite("trm", "fused"), {}, "reads the runs of deeprec-guided, and .* has no such system. Add it"),
        (
            make_suite("trm", *({"system": "deeprec-guided", "name": name} for name in ("one", "two")), "fused"),
            {},
            r"has 2 entries of that system \(one, two\). Give the one that is meant the name deeprec-guided",
        ),
        (make_suite("trm", "deeprec-guided"), {}, "need a model. Start one with `deeprec llm serve`"),
        (make_suite(), {"only": ["gone"]}, "has no system 'gone'"),
    ],
)
def test_a_suite_that_cannot_run_says_what_to_do(
    suite: Suite, settings: dict[str, Any], message: str, store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(suite, store, dataset, artifact, **settings)


@pytest.mark.slow
def test_the_own_list_joins_what_stored_runs_retrieved_without_a_call_of_the_model(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    rows = ("trm", "deeprec-guided", "fused-own", "fused-signals")
    run(make_suite(*rows[:2], users=3, max_retrievals=1), store, dataset, artifact, base_url=server.base_url)
    results = run(make_suite(*rows, users=3, max_retrievals=1), store, dataset, artifact, only=rows[2:])
    assert {"fused-own", "fused-signals"} <= {system.name for system in results.systems}
    plain = Retriever(artifact, HashingEncoder())
    reranked = Retriever(artifact, HashingEncoder(), reranking=fit_reranking(plain, dataset))
    searched = {trace.run.user_id: trace.retrievals for trace in traces_of(store, "deeprec-guided")}
    for name, recommender in (("fused-own", plain), ("fused-signals", reranked)):
        for trace in traces_of(store, name):
            own = recommender.retrieve(trace.run.history, k=30)
            found = [[item.id for item in each.items] for each in searched[trace.run.user_id]]
            fused = list(fuse_rankings([[item.id for item in own], *found]))
            assert [place.item_id for place in trace.written] == fused[:5]


def test_differences_are_paired_by_user_and_other_targets_are_refused(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    results = run(make_suite(), store, dataset, artifact)
    oracle, alone = results.system("trm-oracle"), results.system("trm")
    [found] = compare_systems(oracle, alone, ["ndcg@5 filled"])
    by_hand = oracle.measures["ndcg@5 filled"] - alone.measures["ndcg@5 filled"]
    assert found.interval.mean == pytest.approx(by_hand.mean())
    assert found.interval.n == 12
    fewer = replace(
        alone,
        users=alone.users[1:],
        targets=alone.targets[1:],
        measures={name: values[1:] for name, values in alone.measures.items()},
    )
    [part] = compare_systems(oracle, fewer, ["ndcg@5 filled"])
    assert part.interval.mean == pytest.approx(by_hand[1:].mean())
    moved = replace(alone, targets=("other", *alone.targets[1:]))
    with pytest.raises(ConfigError, match=r"has the target .* and 'other'"):
        compare_systems(oracle, moved, ["ndcg@5 filled"])
    assert {difference.first for difference in compare_all(results, "trm", "ndcg@5 filled")} == set(QUICK) - {"trm"}


def test_the_report_is_made_from_the_store_alone_and_says_that_users_are_few(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    results = run(make_suite(), store, dataset, artifact)
    report = make_report(results)
    page = render_html(report)
    assert "12 users are too few" in page
    assert "<script" not in page
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["suite"] == results.label
    assert all(name in page for name in QUICK)


def test_what_is_not_there_says_so(store: TraceStore) -> None:
    with pytest.raises(TraceStoreError, match=r"no runs of a suite 'tiny'.*deeprec eval run tiny"):
        load_results(store, "tiny")


def test_runs_of_different_targets_are_no_one_suite(store: TraceStore, dataset: Dataset, artifact: Artifact) -> None:
    label = run(make_suite("trm"), store, dataset, artifact).label
    [first, *_] = store.traces()
    other = replace(first.run, run_id=uuid4(), target_id="other")
    store.write_runs([replace(first, run=other)])
    with pytest.raises(TraceStoreError, match="different targets"):
        load_results(store, label)


@pytest.mark.slow
def test_several_seeds_of_a_user_count_as_one(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    suite = make_suite("trm", {"system": "deeprec-guided", "seeds": [0, 1]}, max_retrievals=2)
    results = run(suite, store, dataset, artifact, base_url=server.base_url)
    guided = results.system("deeprec-guided")
    assert (guided.runs, len(guided.users)) == (24, 12)
    assert set(np.unique(guided.measures["recall@5 filled"])) <= {0.0, 0.5, 1.0}
    assert not math.isnan(guided.measures["ndcg@5 written"].mean())


@pytest.mark.slow
def test_a_derived_system_reads_the_row_of_that_name_and_no_other_of_the_same_system(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    tuned = {"system": "deeprec-guided", "name": "tuned", "seeds": [7]}
    suite = make_suite("trm", "deeprec-guided", tuned, "fused", users=2, max_retrievals=2)
    run(suite, store, dataset, artifact, base_url=server.base_url)
    sources = {trace.run.run_id for trace in traces_of(store, "deeprec-guided")}
    assert {trace.run.parent_id for trace in traces_of(store, "fused")} == sources


@pytest.mark.slow
def test_runs_of_another_model_are_neither_taken_over_nor_mixed(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    suite = make_suite("trm", "deeprec-one-turn", users=2)
    label = run(suite, store, dataset, artifact, base_url=server.base_url).label
    assert not any("several models" in line for line in make_report(load_results(store, label)).warnings)
    [first, *_] = traces_of(store, "deeprec-one-turn")
    store.write_runs([replace(first, run=replace(first.run, run_id=uuid4(), policy_model="another"))])
    with pytest.raises(ConfigError, match="deeprec-one-turn were written by another, and the server has tiny"):
        run(suite, store, dataset, artifact, base_url=server.base_url)
    [line] = [line for line in make_report(load_results(store, label)).warnings if "several models" in line]
    assert line.startswith("The runs of deeprec-one-turn were made by several models or prompts (another, tagged")


@pytest.mark.slow
def test_a_missing_score_of_one_seed_does_not_take_the_others_with_it(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer
) -> None:
    suite = make_suite("trm", {"system": "deeprec-one-turn", "seeds": [0, 1]}, users=1)
    label = run(suite, store, dataset, artifact, base_url=server.base_url).label
    for trace, value in zip(traces_of(store, "deeprec-one-turn"), (math.nan, 1.0), strict=True):
        metrics = {**trace.metrics, "names_target": value, "found_in": math.nan}
        store.write_metrics(trace.run.run_id, metrics)
    results = load_results(store, label)
    assert results.system("deeprec-one-turn").measures["names_target"].tolist() == [1.0]
    assert math.isnan(results.system("deeprec-one-turn").measures["found_in"][0])
    assert any("holds the target's title" in line for line in make_report(results).warnings)


def test_the_night_between_two_sessions_is_no_time_of_a_system(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    label = run(make_suite("trm"), store, dataset, artifact).label
    [first, *_] = store.traces()
    later = replace(first, run=replace(first.run, run_id=uuid4()), started_at=first.started_at + timedelta(days=1))
    store.write_runs([later])
    assert load_results(store, label).system("trm").seconds < 3_600


def test_a_list_that_only_the_recommender_made_is_reported_and_is_not_the_best_agent(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.evals.suites.comparison.MIN_SLICE", 2)
    results = run(
        make_suite("trm", "deeprec-free", "deeprec-one-turn"), store, dataset, artifact, base_url=server.base_url
    )
    free, guided = results.system("deeprec-free"), results.system("deeprec-one-turn")
    assert free.measures["listed"].sum() == 0
    ndcg = {"ndcg@5 filled": np.full(12, 0.5), "ndcg@5 written": np.zeros(12)}
    good = {"ndcg@5 filled": np.full(12, 0.4), "ndcg@5 written": np.full(12, 0.4)}
    systems = (
        results.system("trm"),
        replace(free, measures={**free.measures, **ndcg}),
        replace(guided, measures={**guided.measures, **good}),
    )
    report = make_report(replace(results, systems=systems))
    assert {difference.first for difference in report.sliced} == {"deeprec-one-turn"}
    assert any(line.startswith("For 12 of 12 users deeprec-free wrote no item") for line in report.warnings)
