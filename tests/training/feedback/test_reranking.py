"""Ranking again: against a whole ranking by hand, bounds, and agreement of two scores."""

from __future__ import annotations

import math
from uuid import uuid4

import numpy as np
import pytest

from deeprec.training.feedback.knowledge_runs import KnowledgeRun
from deeprec.training.feedback.reranking import (
    best_of_each,
    choose_trust,
    first_items,
    measure_rows,
    pairwise_agreement,
    reranked_ranks,
)
from deeprec.trm_tool import Dataset, Query, Retriever


def run_about(dataset: Dataset, user: str, knowledge: str | None, group: str | None = None) -> KnowledgeRun:
    history = dataset.history(user, 1)
    return KnowledgeRun(
        run_id=uuid4(),
        group_id=group or user,
        key=user,
        user=user,
        history=history,
        message=None,
        target=dataset.target(user, 1),
        split="test",
        knowledge=knowledge,
        query=Query(history=history, preference=knowledge),
    )


def test_the_first_items_are_ranked_again_by_the_knowledge(dataset: Dataset, retriever: Retriever) -> None:
    runs = [run_about(dataset, user, "comedy; 1990s") for user in dataset.users]
    first = first_items(retriever, runs, 20)
    ranks = reranked_ranks(retriever, runs, first, trust=0.7)
    assert {True, False} == set(np.isinf(ranks).tolist())
    for run, own, rank in zip(runs, first, ranks.tolist(), strict=True):
        assert own == [item.id for item in retriever.retrieve(run.history, k=20)]
        if run.target not in own:
            assert rank == math.inf
            continue
        whole = retriever.retrieve(run.history, "comedy; 1990s", trust=0.7, k=50)
        assert rank == 1 + [item.id for item in whole if item.id in own].index(run.target)


def test_without_knowledge_the_order_is_the_recommenders(dataset: Dataset, retriever: Retriever) -> None:
    runs = [run_about(dataset, user, None) for user in dataset.users]
    first = first_items(retriever, runs, 20)
    pairs = zip(runs, first, strict=True)
    own = [1.0 + items.index(run.target) if run.target in items else math.inf for run, items in pairs]
    assert reranked_ranks(retriever, runs, first).tolist() == own


def test_the_best_of_a_group_and_the_chosen_trust(dataset: Dataset, retriever: Retriever) -> None:
    runs = [
        run_about(dataset, "u0", "comedy", "a"),
        run_about(dataset, "u0", "drama", "a"),
        run_about(dataset, "u1", "x"),
    ]
    assert best_of_each(np.array([7.0, 3.0, math.inf]), runs) == {"a": 3.0, "u1": math.inf}
    exact = [
        run_about(dataset, user, "; ".join(dataset.catalogue.phrases_of(dataset.target(user, 1))))
        for user in dataset.users
    ]
    first = first_items(retriever, exact, 50)
    values = {
        trust: (1 / reranked_ranks(retriever, exact, first, trust=trust)).mean() for trust in (0.1, 0.4, 0.7, 1.0)
    }
    chosen = choose_trust(retriever, exact, 50)
    assert (1 / reranked_ranks(retriever, exact, first, trust=chosen)).mean() >= max(values.values())


def test_rows_are_paired_with_the_recommender_alone_and_with_untuned_knowledge() -> None:
    ranks = {
        "alone": np.array([1.0, 3.0, math.inf]),
        "untuned": np.array([2.0, 1.0, math.inf]),
        "better": np.array([1.0, 1.0, math.inf]),
    }
    alone, untuned, better = measure_rows(ranks, 20, ["a", "b", "c"], alone="alone", untuned="untuned")
    assert alone.above_alone["map"].mean == 0
    assert better.metrics["map"].mean == pytest.approx(2 / 3)
    assert better.above_alone["ndcg@10"].mean == pytest.approx((1 - 0.5) / 3)
    assert better.above_alone["recall@10"].mean == 0
    assert untuned.above_untuned["map"].mean == 0
    assert better.above_untuned["map"].mean == pytest.approx((1 - 0.5) / 3)


def test_agreement_counts_the_pairs_that_two_scores_order() -> None:
    groups, people = ["a", "a", "a", "b", "b", "c"], ["p", "p", "p", "q", "q", "r"]
    first = [0.1, 0.2, 0.3, 0.5, 0.4, 0.9]
    assert pairwise_agreement(groups, first, first, people).mean == 1
    assert pairwise_agreement(groups, first, [-score for score in first], people).mean == 0
    found = pairwise_agreement(groups, first, [0.1, 0.1, 0.2, 0.1, 0.2, 0.0], people)
    assert (found.mean, found.n) == (pytest.approx(2 / 3), 3)  # a tie counts for neither, and no pair crosses groups
