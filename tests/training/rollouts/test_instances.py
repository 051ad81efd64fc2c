"""Whom the stages are trained on: targets, the deal of the people, and the guard of what evaluations ask for."""

import dataclasses
from typing import Any

import pytest

from deeprec.evals import make_cases
from deeprec.training import Selection, select_instances
from deeprec.trm_tool import (
    Artifact,
    Catalogue,
    ConfigError,
    Dataset,
    HashingEncoder,
    Query,
    RecommenderIdentity,
    Retriever,
)
from tests.small_recommender import CoOccurrence

ALL = 50


def of_data(artifact: Artifact, dataset: Dataset) -> Artifact:
    return dataclasses.replace(artifact, config=artifact.config | {"dataset_fingerprint": dataset.fingerprint})


def with_sequence(dataset: Dataset, user: str, sequence: tuple[str, ...]) -> Dataset:
    return dataclasses.replace(dataset, sequences=dataset.sequences | {user: sequence})


def pairs(selection: Selection) -> set[tuple[str, str]]:
    return {(one.user, one.target) for one in (*selection.interaction, *selection.recommendation)}


def test_the_target_is_the_third_last_item_and_the_history_ends_before_it(artifact: Artifact, dataset: Dataset) -> None:
    selection = select_instances(dataset, artifact, HashingEncoder(), max_rank=ALL)
    chosen = (*selection.interaction, *selection.recommendation)
    assert {one.user for one in chosen} == set(dataset.users)
    for one in chosen:
        assert (*one.history, one.target) == dataset.sequences[one.user][:-2]
    assert sum(selection.left_out.values()) == 0


def test_targets_that_the_recommender_ranks_too_low_are_left_out(artifact: Artifact, dataset: Dataset) -> None:
    retriever = Retriever(artifact, HashingEncoder())
    ranks = {
        case.user: retriever.rank_of(case.target, Query(history=case.history)) for case in make_cases(dataset, "train")
    }
    selection = select_instances(dataset, artifact, HashingEncoder(), max_rank=20)
    chosen = {one.user: one.trm_rank for one in (*selection.interaction, *selection.recommendation)}
    assert chosen == {user: rank for user, rank in ranks.items() if rank <= 20}
    assert 0 < len(chosen) < len(ranks)
    assert selection.left_out["ranked too low"] == len(ranks) - len(chosen)


def test_people_are_dealt_to_the_stages_once_whatever_the_recommender(artifact: Artifact, dataset: Dataset) -> None:
    wide = select_instances(dataset, artifact, max_rank=ALL, interaction_share=0.25, seed=4)
    first, second = ({one.user for one in part} for part in (wide.interaction, wide.recommendation))
    assert (len(first), len(second), first & second) == (3, 9, set())
    assert select_instances(dataset, artifact, max_rank=ALL, interaction_share=0.25, seed=4) == wide
    narrow = select_instances(dataset, artifact, max_rank=20, interaction_share=0.25, seed=4)
    assert {one.user for one in narrow.interaction} <= first
    assert {one.user for one in narrow.recommendation} <= second
    deals = {select_instances(dataset, artifact, max_rank=ALL, seed=seed).interaction for seed in range(4)}
    assert len(deals) == 4


def test_a_target_that_an_evaluation_asks_for_is_never_trained_on(artifact: Artifact, dataset: Dataset) -> None:
    user = dataset.users[0]
    held_out = {(case.user, case.target) for split in ("test", "valid") for case in make_cases(dataset, split)}
    assert not pairs(select_instances(dataset, artifact, max_rank=ALL)) & held_out
    for again in (("893", "886", "900", "851", "900"), ("893", "886", "900", "900", "851")):
        repeated = with_sequence(dataset, user, again)
        selection = select_instances(repeated, of_data(artifact, repeated), max_rank=ALL)
        assert (user, "900") not in pairs(selection)
        assert selection.left_out["target held out"] == 1


def test_people_with_nothing_before_the_target_and_targets_that_cannot_come_back_are_counted(
    artifact: Artifact, dataset: Dataset
) -> None:
    short, seen, gone = dataset.users[:3]
    other = with_sequence(dataset, short, dataset.sequences[short][:3])
    other = with_sequence(other, seen, ("900", "893", "900", "886", "851"))
    removed = frozenset({other.sequences[gone][-3]})
    catalogue = type(artifact.catalogue)(artifact.catalogue, artifact.catalogue.attribute_kinds, removed=removed)
    changed = of_data(dataclasses.replace(artifact, catalogue=catalogue), other)
    selection = select_instances(other, changed, max_rank=ALL)
    assert not {short, seen, gone} & {user for user, _ in pairs(selection)}
    counted = {reason: selection.left_out[reason] for reason in ("too few items", "target seen before")}
    assert counted == {"too few items": 1, "target seen before": 1}
    assert selection.left_out["target removed"] >= 1


@pytest.mark.parametrize(("holdout", "why"), [(2, "holdout 2.*--holdout 3`"), (4, "knows less of each person")])
def test_an_artifact_of_another_holdout_is_refused(
    artifact: Artifact, dataset: Dataset, holdout: int, why: str
) -> None:
    other = dataclasses.replace(artifact, config=artifact.config | {"holdout": holdout})
    with pytest.raises(ConfigError, match=why):
        select_instances(dataset, other)


def test_an_artifact_of_other_data_is_refused(artifact: Artifact, dataset: Dataset) -> None:
    other = with_sequence(dataset, dataset.users[0], dataset.sequences[dataset.users[1]])
    with pytest.raises(ConfigError, match="trained on other data"):
        select_instances(other, artifact)


def own_recommender(dataset: Dataset, items: int | None = None, **identity: str | int | None) -> CoOccurrence:
    """Counts of the items before the three last ones; `items` leaves out all but so many of the catalogue."""
    kept = dataset.catalogue.ids[:items]
    catalogue = Catalogue(map(dataset.catalogue.item, kept), dataset.catalogue.attribute_kinds)
    known = ([item for item in dataset.history(user, 3) if item in catalogue] for user in dataset.users)
    recommender = CoOccurrence(catalogue, known)
    reported = {"dataset_fingerprint": dataset.fingerprint, "holdout": 3} | identity
    recommender.identity = RecommenderIdentity(fingerprint="counts", **reported)  # type: ignore[arg-type]
    return recommender


def test_a_recommender_of_ones_own_ranks_the_targets(dataset: Dataset) -> None:
    recommender = own_recommender(dataset)
    selection = select_instances(dataset, recommender, max_rank=20)
    ranks = {}
    for user in dataset.users:
        history, target = dataset.history(user, 3), dataset.target(user, 3)
        ranks[user] = 1 + [item.id for item in recommender.retrieve(history, k=ALL)].index(target)
    chosen = {one.user: one.trm_rank for one in (*selection.interaction, *selection.recommendation)}
    assert chosen == {user: rank for user, rank in ranks.items() if rank <= 20}
    assert 0 < len(chosen) < len(dataset.users)


@pytest.mark.parametrize(
    ("reported", "why"),
    [
        ({"dataset_fingerprint": None}, "does not report which data it was trained on"),
        ({"dataset_fingerprint": "0" * 64}, "trained on other data"),
        ({"holdout": None}, "does not report how many last items"),
        ({"holdout": 2}, "trained with holdout 2"),
        ({"holdout": 4}, "knows less of each person"),
        ({"items": ALL - 1}, f"lacks 1 of {ALL} items"),
    ],
)
def test_a_recommender_of_ones_own_that_does_not_fit_is_refused(
    dataset: Dataset, reported: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        select_instances(dataset, own_recommender(dataset, **reported))


def test_a_stage_without_people_says_where_they_went(artifact: Artifact, dataset: Dataset) -> None:
    selection = select_instances(dataset, artifact, max_rank=ALL, interaction_share=0)
    assert selection.of("recommendation") == selection.recommendation
    with pytest.raises(ConfigError, match="12 people are in the other stage"):
        selection.of("interaction")
    none = dataclasses.replace(selection, recommendation=(), left_out={"ranked too low": 12})
    with pytest.raises(ConfigError, match="left out were 12 ranked too low"):
        none.of("recommendation")


@pytest.mark.parametrize("setting", [{"max_rank": 0}, {"interaction_share": 1.5}, {"interaction_share": float("nan")}])
def test_settings_that_cannot_work_are_refused(artifact: Artifact, dataset: Dataset, setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        select_instances(dataset, artifact, **setting)  # type: ignore[arg-type]
