"""A suite of requests end to end: its rows, its intervals by conversation, its slices, and what it refuses."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeprec.agent import TraceStore
from deeprec.agent.traces import CaseRecord, RunFilter
from deeprec.evals import (
    Suite,
    SuiteResults,
    clustered_interval,
    compare_slices,
    compare_systems,
    load_results,
    load_suite,
    make_report,
    render_html,
    run_suite,
)
from deeprec.evals.suites.comparison import slices
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder
from deeprec.trm_tool.data import Request, Said, write_requests
from tests.tiny_server import TinyServer

ROWS: tuple[Any, ...] = (
    "trm",
    "words",
    "words-history",
    "closest-phrases",
    "bm25",
    "dense",
    "requests-popularity",
    {"system": "words-history", "name": "other-words", "words": "other"},
    {"system": "words-history", "name": "silent", "words": "none"},
    {"system": "trm-oracle", "name": "requests-oracle"},
)


def make_suite(*systems: Any, **changes: Any) -> Suite:
    values = {"name": "asked", "baseline": "words-history", "requests": "made", "k": 5, "agent": {}}
    return Suite.model_validate(values | {"systems": systems or ROWS} | changes)


def run(suite: Suite, store: TraceStore, dataset: Dataset, artifact: Artifact) -> SuiteResults:
    return load_results(store, run_suite(suite, store, dataset=dataset, artifact=artifact, encoder=HashingEncoder()))


def lists_of(store: TraceStore, system: str) -> dict[str, list[str]]:
    """User -> the list of a system."""
    found = store.traces(RunFilter(system=system))
    return {str(trace.run.user_id): [place.item_id for place in trace.recommended] for trace in found}


def test_every_row_answers_made_requests(store: TraceStore, dataset: Dataset, artifact: Artifact) -> None:
    results = run(make_suite(), store, dataset, artifact)
    assert [system.name for system in results.systems][-3:] == ["other-words", "silent", "requests-oracle"]
    assert results.of_requests
    assert len({system.users for system in results.systems}) == 1
    assert lists_of(store, "silent") == lists_of(store, "trm")
    assert lists_of(store, "words-history") != lists_of(store, "trm") != lists_of(store, "words")
    assert lists_of(store, "other-words") != lists_of(store, "words-history")
    assert lists_of(store, "closest-phrases") != lists_of(store, "words-history")
    for row in ("words", "closest-phrases", "bm25", "dense", "requests-popularity"):
        assert not any(set(found) & set(dataset.history(user, 1)) for user, found in lists_of(store, row).items())
    messages = {trace.run.message for trace in store.traces(RunFilter(system="silent"))}
    assert messages == {None}
    again = run(make_suite(), store, dataset, artifact)
    assert again.label == results.label
    report = make_report(results, baseline="words-history")
    assert "resample whole conversations" in report.to_dict()["protocol"]
    assert "other-words" in render_html(report)


def test_popularity_among_requests_leaves_out_the_conversation_itself(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    first, second, third = dataset.catalogue.ids[:3]
    asked = [
        Request(conversation="a", message="one", targets=(first, second)),
        Request(conversation="a", turn=1, message="one more", targets=(first,)),
        Request(conversation="b", message="another", targets=(third,)),
    ]
    suite = make_suite("requests-popularity", baseline="requests-popularity", requests=save(tmp_path, asked))
    run(suite, store, dataset, artifact)
    assert lists_of(store, "requests-popularity")["a"][0] == third
    assert lists_of(store, "requests-popularity")["b"][0] == first


def test_search_by_words_finds_the_item_whose_text_has_them(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    target = dataset.catalogue.ids[11]
    asked = [Request(conversation="a", message="Was it Amélie?", targets=(target,))]
    asked += [Request(conversation="c", message=dataset.catalogue.item(target).text, targets=(target,))]
    asked += [Request(conversation="b", message="", targets=("900",))]
    suite = make_suite("bm25", "dense", baseline="bm25", requests=save(tmp_path, asked))
    run(suite, store, dataset, artifact)
    assert lists_of(store, "bm25")["a"][0] == target
    assert lists_of(store, "dense")["c"][0] == target
    assert len(lists_of(store, "bm25")["b"]) == 5


def test_lists_keep_to_the_constraints_of_their_request(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    asked = [Request(conversation="a", message="cheap", targets=("900",), where={"price": {"max": 6}})]
    asked += [Request(conversation="b", message="anything", targets=("893",))]
    run(make_suite(requests=save(tmp_path, asked)), store, dataset, artifact)
    for row in ("trm", "bm25", "requests-popularity", "requests-oracle"):
        assert {dataset.catalogue.item(item).attributes["price"] for item in lists_of(store, row)["a"]} <= {5, 5.5, 6}


def test_intervals_and_tests_take_conversations_as_a_whole(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    items = dataset.catalogue.ids
    asked = [
        Request(conversation=f"c{number // 4}", turn=number % 4, message=f"number {number}", targets=(items[number],))
        for number in range(24)
    ]
    results = run(make_suite("trm", "bm25", baseline="trm", requests=save(tmp_path, asked)), store, dataset, artifact)
    trm = results.system("trm")
    assert len(trm.users) == 24
    assert set(trm.clusters) == {f"c{number}" for number in range(6)}
    assert trm.interval("rr_filled") == clustered_interval(trm.measures["rr_filled"], trm.clusters)
    alike = np.repeat([1.0, 0.0, 1.0], 8)  # whole conversations win or lose
    first = replace(trm, name="first", measures={**trm.measures, "rr_filled": alike})
    second = replace(trm, name="second", measures={**trm.measures, "rr_filled": np.zeros(24)})
    [by_conversation] = compare_systems(first, second, ["rr_filled"])
    alone = {"clusters": trm.users}
    [by_case] = compare_systems(replace(first, **alone), replace(second, **alone), ["rr_filled"])
    assert by_conversation.p_value > 0.1 > by_case.p_value
    assert by_conversation.smallest > by_case.smallest
    width = [found.interval.high - found.interval.low for found in (by_conversation, by_case)]
    assert width[0] > width[1]


def test_the_share_of_the_way_to_the_oracle_is_the_ratio_of_both_differences(
    store: TraceStore, dataset: Dataset, artifact: Artifact
) -> None:
    found = run(make_suite("words-history", "bm25", ROWS[-1]), store, dataset, artifact)
    start, other, oracle = found.systems
    size = len(start.users)
    low, own, high = np.zeros(size), np.tile([0.2, 0.4], size)[:size], np.tile([0.6, 1.0], size)[:size]
    changed = [
        replace(system, measures={**system.measures, "ndcg@5 filled": values})
        for system, values in ((start, low), (other, own), (oracle, high))
    ]
    share = make_report(replace(found, systems=tuple(changed)), baseline="words-history").oracle_shares["bm25"]
    assert share.mean == pytest.approx(own.sum() / high.sum())
    assert share.low < share.mean < share.high
    worse = replace(oracle, measures={**oracle.measures, "ndcg@5 filled": low - 1})
    report = make_report(replace(found, systems=(changed[0], changed[1], worse)), baseline="words-history")
    assert math.isnan(report.oracle_shares["bm25"].mean)


def test_one_conversation_has_means_and_no_interval(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    items = dataset.catalogue.ids[:3]
    asked = [Request(conversation="a", turn=turn, message="one", targets=(item,)) for turn, item in enumerate(items)]
    results = run(make_suite("trm", "bm25", baseline="trm", requests=save(tmp_path, asked)), store, dataset, artifact)
    assert math.isnan(results.system("trm").interval("found").low)
    assert any("one conversation" in warning for warning in make_report(results).warnings)
    with pytest.raises(ConfigError, match="one conversation only"):
        run(make_suite(requests=save(tmp_path, asked)), store, dataset, artifact)


@pytest.mark.parametrize("said", [{"wanted": 5, "unwanted": {"a": 1}}, {}, [1], 5])
def test_an_imported_case_of_an_odd_shape_is_in_no_slice_of_its_words(said: Any) -> None:
    case = CaseRecord(history_length=1, conversation="c", turn=0, words=3, said=said)
    found = slices(SuiteResults(label="s", split="test", k=5, systems=(), cases={"c": case}))
    assert {name: users for name, users in found.items() if "words" in name and users} == {}


def test_slices_follow_what_the_words_express(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    def said(number: int) -> tuple[Said, ...] | None:
        wanted = ("action", "1990s")[: 1 + number % 2]
        return (Said(wanted=wanted, unwanted=("horror",), where={"price": {"max": 9}} if number % 2 else None),)

    asked = [
        Request(
            conversation=f"c{number}",
            message="some words" if number < 40 else "",
            targets=(dataset.catalogue.ids[number % 50],),
            said=said(number) if number < 40 else None,
        )
        for number in range(60)
    ]
    results = run(make_suite("trm", "bm25", baseline="trm", requests=save(tmp_path, asked)), store, dataset, artifact)
    counts = {found.slice: found.interval.n for found in compare_slices(results, "bm25", "trm", "ndcg@5 filled")}
    words = {name: count for name, count in counts.items() if "words" in name}
    assert words == {
        "words with one attribute": 20,
        "words with two attributes or more": 20,
        "words with a negation": 40,
        "words with a bound": 20,
        "no words": 20,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": [{"system": "deeprec-free", "name": "words-history", "asked": True}]}, "asked: true"),
        ({"requests": None, "systems": [{"system": "words-history", "words": "other"}]}, "words: other"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_suite(**changes)


def test_a_file_that_changes_under_its_name_is_another_suite(
    store: TraceStore, dataset: Dataset, artifact: Artifact, tmp_path: Path
) -> None:
    labels = []
    for message in ("one", "two"):
        path = save(tmp_path, [Request(conversation="a", message=message, targets=("900",))])
        labels.append(run(make_suite("trm", baseline="trm", requests=path), store, dataset, artifact).label)
    assert labels[0] != labels[1]


def test_a_suite_names_its_requests_from_its_own_folder(tmp_path: Path) -> None:
    save(tmp_path, [Request(conversation="a", message="one", targets=("900",))])
    (tmp_path / "own.yaml").write_text(
        "name: own\ndata: ml-100k\nrequests: asked.jsonl\nbaseline: trm\nsystems: [trm]\nagent: {}\n"
    )
    assert load_suite(tmp_path / "own.yaml").requests == str(tmp_path / "asked.jsonl")
    assert load_suite("requests").requests == "made"


def save(folder: Path, asked: list[Request]) -> str:
    path = folder / "asked.jsonl"
    write_requests(path, asked)
    return str(path)


@pytest.mark.slow
def test_agents_hear_their_request_or_the_words_that_their_entry_names(
    store: TraceStore, dataset: Dataset, artifact: Artifact, server: TinyServer, tmp_path: Path
) -> None:
    said = (Said(wanted=("horror",)),)
    asked = [
        Request(
            conversation=name, message=f"{name}: some horror", targets=("900",), said=said, where={"price": {"max": 9}}
        )
        for name in ("a", "b")
    ]
    rows = ("words-history", "deeprec-guided", "fused", {"system": "deeprec-guided", "name": "quiet", "words": "none"})
    agent = {"retrieve_k": 4, "max_retrievals": 2, "max_turn_tokens": 200}
    suite = make_suite(*rows, requests=save(tmp_path, asked), agent=agent)
    settings: dict[str, Any] = {"dataset": dataset, "artifact": artifact, "encoder": HashingEncoder()}
    label = run_suite(suite, store, base_url=server.base_url, **settings)
    results = load_results(store, label)
    heard = {trace.run.message for trace in store.traces(RunFilter(system="deeprec-guided"))}
    assert heard == {"a: some horror", "b: some horror"}
    assert {trace.run.message for trace in store.traces(RunFilter(system="quiet"))} == {None}
    assert "words_precision" in results.system("deeprec-guided").measures
    assert "words_precision" in results.system("fused").measures
    assert "words_precision" not in results.system("quiet").measures
    for trace in store.traces(RunFilter(suite=label)):
        prices = {dataset.catalogue.item(place.item_id).attributes["price"] for place in trace.recommended}
        assert max(map(float, prices)) <= 9  # type: ignore[arg-type]
        assert trace.case is not None
        assert trace.case.said == {"wanted": ["horror"], "unwanted": [], "where": []}
