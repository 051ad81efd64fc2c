"""Whom the stages are trained on: targets, the deal of the people, and the guard of what evaluations ask for."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

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
    Retrieved,
    Retriever,
    ScoredItem,
    Where,
    load_artifact,
)

ALL = 50


@pytest.fixture(scope="module")
def artifact(artifact_folder: Path, dataset: Dataset) -> Artifact:
    """Of the tiny catalogue, as if trained with `--holdout 3`."""
    loaded = load_artifact(artifact_folder)
    return dataclasses.replace(loaded, config=loaded.config | {"holdout": 3})


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


class MostPopular:
    """A recommender of one's own: the items that most people had, as they are before the three last ones."""

    def __init__(self, dataset: Dataset, identity: RecommenderIdentity, catalogue: Catalogue | None = None) -> None:
        self.catalogue = catalogue or dataset.catalogue
        self.identity = identity
        self.counts = Counter(item for user in dataset.users for item in dataset.history(user, 3))

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        masked = {*history, *exclude, *self.catalogue.removed}
        fitting = sorted(
            (item for item in self.catalogue.ids if item not in masked), key=lambda item: -self.counts[item]
        )
        return Retrieved([ScoredItem(item, float(self.counts[item])) for item in fitting[:k]])


def test_a_recommender_of_ones_own_ranks_the_targets(dataset: Dataset) -> None:
    identity = RecommenderIdentity(fingerprint="popular", dataset_fingerprint=dataset.fingerprint, holdout=3)
    popular = MostPopular(dataset, identity)
    selection = select_instances(dataset, popular, max_rank=10)
    ranks = {}
    for user in dataset.users:
        history, target = dataset.history(user, 3), dataset.target(user, 3)
        ranks[user] = 1 + [item.id for item in popular.retrieve(history, k=ALL)].index(target)
    chosen = {one.user: one.trm_rank for one in (*selection.interaction, *selection.recommendation)}
    assert chosen == {user: rank for user, rank in ranks.items() if rank <= 10}
    assert 0 < len(chosen) < len(dataset.users)


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ({"holdout": 3}, "does not say which data it was trained on"),
        ({"holdout": 3, "dataset_fingerprint": "0" * 64}, "trained on other data"),
        ({"holdout": None, "dataset_fingerprint": "same"}, "holdout None"),
        ({"holdout": 2, "dataset_fingerprint": "same"}, "holdout 2.*may have learned targets"),
    ],
)
def test_a_recommender_that_may_have_learned_the_targets_is_refused(
    dataset: Dataset, identity: dict[str, str | int | None], why: str
) -> None:
    if identity.get("dataset_fingerprint") == "same":
        identity = {**identity, "dataset_fingerprint": dataset.fingerprint}
    recommender = MostPopular(dataset, RecommenderIdentity(fingerprint="popular", **identity))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=why):
        select_instances(dataset, recommender)


def test_a_recommender_without_items_of_the_data_is_refused(dataset: Dataset) -> None:
    identity = RecommenderIdentity(fingerprint="popular", dataset_fingerprint=dataset.fingerprint, holdout=3)
    kinds = dataset.catalogue.attribute_kinds
    catalogue = Catalogue([dataset.catalogue.item(item) for item in dataset.catalogue.ids[1:]], kinds)
    with pytest.raises(ConfigError, match=f"lacks 1 of {len(dataset.catalogue)} items"):
        select_instances(dataset, MostPopular(dataset, identity, catalogue))


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
