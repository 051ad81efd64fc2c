"""A suite with a recommender of one's own, in plain NumPy: no weights, no torch, no encoder."""

from dataclasses import replace

import numpy as np
import pytest

from deeprec.agent import TraceStore
from deeprec.agent.traces import RunFilter
from deeprec.evals import (
    SYSTEMS,
    Setting,
    load_results,
    load_suite,
    make_cases,
    make_report,
    ndcg_at_k,
    run_suite,
)
from deeprec.trm_tool import ConfigError, Dataset
from tests.evals.suites.test_harness import make_suite
from tests.small_recommender import CoOccurrence
from tests.tiny_server import TinyServer

ALONE = ("popularity", "co-occurrence", "trm", "trm-oracle")


@pytest.fixture
def recommender(dataset: Dataset) -> CoOccurrence:
    made = CoOccurrence(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
    made.identity = replace(made.identity, dataset_fingerprint=dataset.fingerprint, holdout=2)
    return made


def test_lists_of_a_recommender_of_ones_own_are_stored_and_measured(
    store: TraceStore, dataset: Dataset, recommender: CoOccurrence
) -> None:
    label = run_suite(make_suite(*ALONE), store, dataset=dataset, artifact=recommender)
    results = load_results(store, label)
    assert [system.name for system in results.systems] == list(ALONE)
    trm = results.system("trm")
    for user, ndcg in zip(trm.users, trm.measures["ndcg@5 filled"], strict=True):
        found = recommender.retrieve(dataset.history(user, 1), k=5)
        assert ndcg == pytest.approx(ndcg_at_k([item.id for item in found], {dataset.target(user, 1)}, 5))
    # It reads no preference, so the oracle's changes nothing; and nothing measures what needs vectors of items.
    np.testing.assert_array_equal(results.system("trm-oracle").measures["rr_filled"], trm.measures["rr_filled"])
    assert "diversity" not in trm.measures
    run = next(iter(store.traces(RunFilter(system="trm")))).run
    assert (run.trm_fingerprint, run.trm_holdout, run.dataset_fingerprint) == ("counts-1", 2, dataset.fingerprint)
    assert not any("other data" in line for line in make_report(results).warnings)


@pytest.mark.parametrize("name", ["ml-100k", "ml-100k-200", "smoke"])
@pytest.mark.parametrize("holdout", [1, 2])
def test_every_system_of_a_packaged_suite_can_be_made_with_it_and_with_any_holdout(
    dataset: Dataset, recommender: CoOccurrence, name: str, holdout: int
) -> None:
    recommender.identity = replace(recommender.identity, holdout=holdout)
    suite = load_suite(name)
    cases = make_cases(dataset, suite.split)
    setting = Setting(suite=suite, dataset=dataset, recommender=recommender, cases=cases)
    for entry in suite.systems:
        SYSTEMS[entry.system](setting)


def test_agents_search_with_it_and_what_their_lists_earn_is_stored(
    store: TraceStore, dataset: Dataset, recommender: CoOccurrence, server: TinyServer
) -> None:
    suite = make_suite("trm", "one-retrieval-shuffled", "deeprec-guided", users=3, max_retrievals=2)
    label = run_suite(suite, store, dataset=dataset, artifact=recommender, base_url=server.base_url)
    guided = load_results(store, label).system("deeprec-guided")
    assert guided.measures["calls"].tolist() == [2.0] * 3
    assert "reward format" in guided.measures
    assert not {"reward similarity", "reward diversity"} & set(guided.measures)  # no vectors, no encoder
    for trace in store.traces(RunFilter(system="deeprec-guided")):
        own = {item.id for item in recommender.retrieve(trace.run.history, k=4)}
        assert {item.id for item in trace.retrievals[0].items} == own


def test_targets_that_it_may_have_learned_are_refused(
    store: TraceStore, dataset: Dataset, recommender: CoOccurrence
) -> None:
    recommender.identity = replace(recommender.identity, holdout=None)
    with pytest.raises(ConfigError, match=r"does not report how many last items.*set `identity\.holdout`"):
        run_suite(make_suite("trm"), store, dataset=dataset, artifact=recommender)
    recommender.identity = replace(recommender.identity, holdout=1)
    with pytest.raises(ConfigError, match=r"trained with holdout 1, so the targets of the valid split"):
        run_suite(make_suite("trm", split="valid"), store, dataset=dataset, artifact=recommender)


def test_a_system_that_needs_weights_says_so(dataset: Dataset, recommender: CoOccurrence) -> None:
    suite = make_suite("trm")
    setting = Setting(suite=suite, dataset=dataset, recommender=recommender, cases=())
    assert (setting.weights, setting.holdout) == (None, 2)
    with pytest.raises(ConfigError, match="needs the weights of the TRM, and the recommender is a CoOccurrence"):
        _ = setting.artifact
