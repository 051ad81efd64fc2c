"""Whom a policy learns to hear: targets of requests, their difficulty by the words, and what is held out."""

from dataclasses import replace

import pytest

from deeprec.evals import Case, make_request_cases
from deeprec.training import Selection, select_request_instances
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder, Query, Retriever
from deeprec.trm_tool.data import MadeRequestConfig, RequestMaker

ALL = 50


@pytest.fixture
def retriever(artifact: Artifact) -> Retriever:
    return Retriever(artifact, HashingEncoder())


@pytest.fixture
def cases(dataset: Dataset) -> list[Case]:
    made = RequestMaker(dataset, MadeRequestConfig(second_wishes=0.0)).make()
    return list(make_request_cases(made, dataset.catalogue, source="made").cases)


def chosen(selection: Selection) -> dict[str, int]:
    """Key of an instance -> the rank of its target."""
    return {each.key: each.trm_rank for each in (*selection.interaction, *selection.recommendation)}


def test_difficulty_is_the_rank_from_history_and_words(
    cases: list[Case], dataset: Dataset, retriever: Retriever
) -> None:
    selection = select_request_instances(cases, dataset, retriever, max_rank=ALL)
    ranks = {
        case.key: retriever.rank_of(case.target, Query(history=case.history, words=case.message)) for case in cases
    }
    assert chosen(selection) == ranks
    assert ranks != {case.key: retriever.rank_of(case.target, Query(history=case.history)) for case in cases}
    assert {each.message for each in selection.recommendation} <= {case.message for case in cases}
    half = select_request_instances(cases, dataset, retriever, max_rank=10)
    assert chosen(half) == {key: rank for key, rank in ranks.items() if rank <= 10}
    assert half.left_out["ranked too low"] == len(ranks) - len(chosen(half))


def test_nobody_is_in_two_stages(cases: list[Case], dataset: Dataset, retriever: Retriever) -> None:
    twice = [*cases, *(replace(case, conversation=f"again {case.conversation}") for case in cases)]
    found = select_request_instances(twice, dataset, retriever, max_rank=ALL, interaction_share=0.5, seed=3)
    first, second = ({each.user for each in part} for part in (found.interaction, found.recommendation))
    assert first
    assert second
    assert not first & second


def test_held_out_conversations_and_targets_are_never_learned_from(
    cases: list[Case], dataset: Dataset, retriever: Retriever
) -> None:
    user = cases[0].user
    of_test = replace(cases[0], conversation="c-test", target=dataset.target(user, 1))
    same_pair = replace(cases[1], conversation="another conversation")
    asked = [*cases, of_test]
    found = select_request_instances(asked, dataset, retriever, max_rank=ALL, held_out=[cases[0], same_pair])
    assert set(chosen(found)) == {case.key for case in cases[2:]}
    assert (found.left_out["conversation held out"], found.left_out["target held out"]) == (1, 2)


def test_a_learned_pair_is_refused(cases: list[Case], dataset: Dataset, retriever: Retriever) -> None:
    learned = replace(cases[0], target=cases[0].history[0], history=cases[0].history[1:])
    with pytest.raises(ConfigError, match="learned by the recommender"):
        select_request_instances([learned], dataset, retriever)


def test_a_recommender_of_other_data_is_refused(cases: list[Case], dataset: Dataset, artifact: Artifact) -> None:
    other = replace(artifact, config=artifact.config | {"dataset_fingerprint": "other"})
    with pytest.raises(ConfigError, match="trained on other data"):
        select_request_instances(cases, dataset, Retriever(other))
