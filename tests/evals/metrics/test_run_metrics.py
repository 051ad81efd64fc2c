import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deeprec.evals import (
    make_list_measures,
    measure_run,
    names_target,
    ndcg_from_ranks,
    ranks_from_reciprocals,
    recall_from_ranks,
)
from deeprec.trm_tool import Catalogue, ScoredItem, load_artifact
from tests.evals.metrics.test_rewards import make_trace


def test_a_run_is_measured_as_a_person_would_count_it() -> None:
    trace = make_trace(["893", "893", "900"], searches=["a", "b", "c"], ungrounded=2, latency_ms=1500.0)
    found = [["893", "886"], ["886", "900"], ["900", "879"]]
    retrievals = tuple(
        replace(old, items=tuple(ScoredItem(id=item, score=0.1) for item in items))
        for old, items in zip(trace.retrievals, found, strict=True)
    )
    turns = tuple(replace(turn, completion_tokens=5, prompt_tokens=7 * turn.position) for turn in trace.turns)
    measures = measure_run(replace(trace, retrievals=retrievals, turns=turns, recommended=trace.written[2:]))
    assert measures == {
        "rr_written": 0.5,  # the repeat takes no place
        "rr_filled": 1.0,
        "found": 1.0,
        "found_in": 2.0,
        "calls": 3.0,
        "items_found": 4.0,
        "new_per_call": 1.0,
        "listed": 2.0,
        "repeated": 1.0,
        "ungrounded": 2.0,
        "seen": 0.0,
        "in_history": 0.0,
        "valid": 0.0,
        "tokens": 20.0,
        "prompt_tokens": 21.0,
        "seconds": 1.5,
    }


def test_what_a_run_does_not_have_is_missing_and_not_zero() -> None:
    measures = measure_run(make_trace(target=None, searches=[], turns=()))
    missing = {name for name, value in measures.items() if math.isnan(value)}
    assert missing == {
        *("rr_written", "rr_filled", "found", "found_in"),
        *("in_history", "new_per_call", "valid", "seconds"),
    }


def test_a_target_that_is_not_listed_has_reciprocal_rank_zero() -> None:
    measures = measure_run(make_trace(["893"], target="879"))
    assert measures["rr_written"] == 0.0
    assert measures["found"] == 1.0


def test_ranks_come_back_from_their_reciprocals_exactly() -> None:
    ranks = np.array([1, 3, 7, 49, 1682, math.inf, math.nan])
    np.testing.assert_array_equal(ranks_from_reciprocals(1 / ranks), ranks)
    assert recall_from_ranks(ranks_from_reciprocals([1 / 10, 1 / 11, 0]), 10).tolist() == [1, 0, 0]
    assert ndcg_from_ranks(ranks_from_reciprocals([1 / 3]), 10)[0] == pytest.approx(0.5)


def test_diversity_and_popularity_of_a_list(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    measure = make_list_measures(artifact)
    rows = artifact.catalogue.rows(["900", "893"])
    texts = artifact.text_embeddings[rows].double()
    cosine = float(cosine_of(texts[0].numpy(), texts[1].numpy()))
    found = measure(["900", "893", "900", "no such item"])
    assert found["diversity"] == pytest.approx(1 - cosine)
    counts = artifact.popularity
    below = [((counts < counts[row]).sum() + (counts <= counts[row]).sum()) / 2 / len(counts) for row in rows]
    assert found["popularity"] == pytest.approx(np.mean(below))
    assert math.isnan(measure(["900"])["diversity"])
    assert math.isnan(measure([])["popularity"])


def test_a_preference_that_holds_the_targets_title_is_reported(catalogue: Catalogue) -> None:
    leaky = make_trace(target="893", searches=["something like toy story 2"])
    nothing_found = tuple(replace(retrieval, items=()) for retrieval in leaky.retrievals)
    assert names_target(replace(leaky, retrievals=nothing_found), catalogue) == 1.0
    assert names_target(make_trace(target="893", searches=["Comedy"]), catalogue) == 0.0
    assert math.isnan(names_target(make_trace(target=None), catalogue))
    assert math.isnan(names_target(make_trace(searches=[]), catalogue))


def test_a_title_that_was_shown_before_is_no_leak(catalogue: Catalogue) -> None:
    found_first = make_trace(target="893", searches=["Comedy", "like Toy Story 2"])  # the first search finds 893
    assert names_target(found_first, catalogue) == 0.0
    asked = make_trace(target="893", searches=["like Toy Story 2"])
    assert names_target(replace(asked, run=replace(asked.run, message="Toy Story 2 please")), catalogue) == 0.0
    assert names_target(replace(asked, run=replace(asked.run, history=("893",))), catalogue) == 0.0


def cosine_of(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
