"""What preferences that follow from a history can be worth: the bench that asks for every phrase."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.preference_actions import NONE, Payoffs, compare, learn, weigh
from deeprec.evals import make_cases, ndcg_from_ranks
from deeprec.trm_tool import Dataset, Query, Retriever

ACTIONS, CASES = 5, 400


def _made(seed: int, *, learnable: bool) -> Payoffs:
    """One action of five pays in each case, the one that the features tell or any; asking for nothing pays a little."""
    rng = np.random.default_rng(seed)
    features = rng.random((CASES, 4 * (ACTIONS - 1)))
    best = 1 + features[:, : ACTIONS - 1].argmax(axis=1)
    pays = best if learnable else rng.integers(1, ACTIONS, size=CASES)
    ndcg = np.zeros((CASES, ACTIONS))
    ndcg[:, 0] = 0.3
    ndcg[np.arange(CASES), pays] = rng.random(CASES)
    return Payoffs(ndcg=ndcg, uncut=ndcg, features=features)


@pytest.mark.slow
def test_what_a_history_tells_is_learnt() -> None:
    scores, learned = compare(*(_made(seed, learnable=True) for seed in range(3)))
    alone, reached = scores["no preference"].mean(), scores["learned"].mean()
    hindsight = scores["the best for each, in hindsight (oracle)"].mean()
    assert alone == pytest.approx(0.3)
    assert reached > 0.36  # .5 is all that the features can tell; 400 cases teach half of it
    assert hindsight > reached
    assert scores["what the history holds most"].mean() == pytest.approx(0.5, abs=0.05)
    assert np.bincount(learned.choices, minlength=ACTIONS)[1:].min() > CASES / 10  # everybody gets an own answer


@pytest.mark.slow
def test_where_chance_decides_the_learned_policy_keeps_to_no_preference() -> None:
    scores, learned = compare(*(_made(seed, learnable=False) for seed in range(3)))
    assert scores["learned"].mean() == pytest.approx(0.3, abs=0.03)
    assert (learned.choices == 0).mean() > 0.8
    assert scores["the best for each, in hindsight (oracle)"].mean() > 0.5  # a ceiling that says nothing of learning


@pytest.mark.slow
def test_equal_seeds_learn_equal_policies_and_nothing_is_chosen_on_test() -> None:
    train, valid, test = (_made(seed, learnable=True) for seed in range(3))
    other = replace(test, ndcg=test.ndcg[::-1], uncut=test.uncut[::-1])
    first, second = learn(train, valid, test), learn(train, valid, other)
    assert (first.choices == second.choices).all()
    assert (first.settings, first.validation) == (second.settings, second.validation)


def test_payoffs_are_those_of_the_recommender_itself(retriever: Retriever, dataset: Dataset) -> None:
    cases = make_cases(dataset, "test")[:4]
    actions = (NONE, *list(retriever.catalogue.phrases())[:3])
    payoffs = weigh(retriever, cases, actions, 0.2)
    assert payoffs.ndcg.shape == payoffs.uncut.shape == (4, 4)
    for case, own in zip(cases, payoffs.ndcg, strict=True):
        alone = retriever.rank_of(case.target, Query(history=case.history))
        asked = retriever.rank_of(case.target, Query(history=case.history, preference=actions[2], trust=0.2))
        assert own[[0, 2]].tolist() == ndcg_from_ranks([alone, asked], 10).tolist()
    for case, own, read in zip(cases, payoffs.uncut, payoffs.features, strict=True):
        assert own[0] == pytest.approx(1 / np.log2(retriever.rank_of(case.target, Query(history=case.history)) + 1))
        shown = [item.id for item in retriever.retrieve(case.history, k=20)]
        for block, part in enumerate((case.history, case.history[-5:], case.history[-1:], shown)):
            held = [[phrase in retriever.catalogue.phrases_of(item_id) for phrase in actions[1:]] for item_id in part]
            assert read[3 * block : 3 * block + 3] == pytest.approx(np.mean(held, axis=0))
