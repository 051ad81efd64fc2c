import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from deeprec.agent.cli.main import app
from deeprec.evals import (
    Case,
    all_attributes,
    evaluate_systems,
    evaluate_trm,
    make_cases,
    make_cooccurrence_scorer,
    make_popularity_scorer,
    make_system,
    make_trm_system,
)
from deeprec.trm_tool import (
    Artifact,
    ArtifactError,
    Catalogue,
    ConfigError,
    DataError,
    Dataset,
    HashingEncoder,
    Item,
    Retriever,
    TextRole,
    load_artifact,
)

NAMES = ["popularity", "co-occurrence", "TRM", "TRM + target's attributes"]


def with_holdout(artifact: Artifact, holdout: int) -> Artifact:
    return dataclasses.replace(artifact, config=artifact.config | {"holdout": holdout})


def test_a_case_ends_just_before_its_target(dataset: Dataset) -> None:
    for split, holdout in (("test", 1), ("valid", 2), ("train", 3)):
        for case in make_cases(dataset, split):
            sequence = dataset.sequences[case.user]
            assert (*case.history, case.target) == sequence[: len(sequence) - holdout + 1]


def test_all_systems_are_scored_on_all_users_masked_and_not(artifact: Artifact, dataset: Dataset) -> None:
    evaluation = evaluate_trm(artifact, dataset)
    assert [row.system for row in evaluation.scores] == NAMES * 2
    assert [row.masked for row in evaluation.scores] == [True] * 4 + [False] * 4
    assert [row.system for row in evaluation.scores if row.oracle] == NAMES[3:] * 2
    for row in evaluation.scores:
        assert list(row.metrics) == ["recall@10", "ndcg@10", "recall@20", "ndcg@20"]
        assert {interval.n for interval in row.metrics.values()} == {len(dataset.users)}
        assert row.metrics["recall@10"].mean == np.mean(row.ranks <= 10)


@pytest.mark.parametrize("oracle", [False, True])
def test_ranks_are_places_in_the_list_that_the_retriever_gives(
    retriever: Retriever, artifact: Artifact, dataset: Dataset, oracle: bool
) -> None:
    cases = [*make_cases(dataset), Case(user="new", history=(), target="893")]
    preferences = all_attributes(cases, artifact.catalogue) if oracle else None
    system = make_trm_system("TRM", artifact, HashingEncoder(), preferences=preferences, oracle=oracle)
    for row in evaluate_systems([system], cases, artifact.catalogue):
        for case, rank in zip(cases, row.ranks, strict=True):
            wish = "; ".join(retriever.catalogue.phrases_of(case.target)) if oracle else None
            found = retriever.retrieve(case.history, wish, k=50, include_seen=not row.masked)
            assert [item.id for item in found].index(case.target) + 1 == rank


def test_the_oracle_gets_attributes_and_nobody_else_does(artifact: Artifact, dataset: Dataset) -> None:
    encoded: list[str] = []

    class Listening(HashingEncoder):
        def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
            encoded.extend(texts)
            return super().encode(texts, role=role)

    cases = make_cases(dataset)
    make_trm_system("TRM", artifact, Listening()).score(cases)
    assert encoded == []
    make_trm_system("TRM", artifact, Listening(), preferences=all_attributes(cases, artifact.catalogue)).score(cases)
    assert set(encoded) == {"; ".join(artifact.catalogue.phrases_of(case.target)) for case in cases}
    for case in cases:
        assert artifact.catalogue.item(case.target).title.lower() not in artifact.catalogue.phrases_of(case.target)


def test_without_the_oracle_the_target_changes_no_score(artifact: Artifact, dataset: Dataset) -> None:
    cases = make_cases(dataset)
    moved = [dataclasses.replace(case, target="900") for case in cases]
    systems = [
        make_trm_system("TRM", artifact, HashingEncoder()),
        make_system("co-occurrence", make_cooccurrence_scorer(dataset, holdout=1)),
    ]
    for system in systems:
        assert (system.score(cases) == system.score(moved)).all()


def test_the_test_target_changes_no_baseline(artifact: Artifact, dataset: Dataset) -> None:
    moved = {user: (*items[:-1], "900") for user, items in dataset.sequences.items()}
    other = dataclasses.replace(dataset, sequences=moved)
    histories = [case.history for case in make_cases(dataset)]
    for make in (make_popularity_scorer, make_cooccurrence_scorer):
        for holdout in (1, 2):
            scores = [make(data, holdout=holdout)(histories) for data in (dataset, other)]
            assert (scores[0] == scores[1]).all()


@pytest.mark.parametrize(("holdout", "split"), [(0, "test"), (1, "valid"), (0, "valid"), (2, "train")])
def test_an_artifact_that_learned_the_targets_is_refused(
    artifact: Artifact, dataset: Dataset, holdout: int, split: str
) -> None:
    with pytest.raises(ConfigError, match=f"holdout {holdout}.*{split} split.*Train it again with `--holdout"):
        evaluate_trm(with_holdout(artifact, holdout), dataset, split=split)


@pytest.mark.parametrize(("holdout", "split"), [(1, "test"), (2, "test"), (2, "valid"), (3, "valid"), (3, "train")])
def test_an_artifact_that_did_not_is_evaluated(artifact: Artifact, dataset: Dataset, holdout: int, split: str) -> None:
    evaluation = evaluate_trm(with_holdout(artifact, holdout), dataset, split=split)
    assert (evaluation.split, evaluation.holdout) == (split, holdout)
    assert f"without the last {holdout} item" in evaluation.protocol


def test_an_artifact_that_lacks_items_of_the_data_is_refused(artifact: Artifact, dataset: Dataset) -> None:
    longer = Catalogue([*dataset.catalogue, Item(id="new", title="New")], dataset.catalogue.attribute_kinds)
    with pytest.raises(ConfigError, match=r"lacks 1 of 51 items of tiny.*'new'"):
        evaluate_trm(artifact, dataclasses.replace(dataset, catalogue=longer))


def test_other_data_than_that_of_the_training_is_noted(artifact: Artifact, dataset: Dataset) -> None:
    assert not any("fingerprint" in note for note in evaluate_trm(artifact, dataset).notes)
    fewer = dataclasses.replace(dataset, users=dataset.users[1:])
    assert any("fingerprints differ" in note for note in evaluate_trm(artifact, fewer).notes)


def test_what_weakens_the_figures_is_noted(artifact: Artifact, dataset: Dataset) -> None:
    notes = " ".join(evaluate_trm(artifact, dataset).notes)
    assert f"{dataset.tied_targets} of 12 users have tied last two time stamps" in notes
    assert "12 users are too few" in notes


def test_a_target_seen_before_cannot_be_found_when_seen_items_are_masked(artifact: Artifact, dataset: Dataset) -> None:
    user = dataset.users[0]
    sequences = dataset.sequences | {user: ("900", "893", "886", "900")}
    again = dataclasses.replace(dataset, sequences=sequences)
    evaluation = evaluate_trm(artifact, again)
    assert any("1 targets were in the history" in note for note in evaluation.notes)
    for row in evaluation.scores:
        assert math.isinf(row.ranks[0]) == row.masked


def test_data_without_users_is_refused(artifact: Artifact, dataset: Dataset) -> None:
    with pytest.raises(DataError, match="no users"):
        evaluate_trm(artifact, dataclasses.replace(dataset, users=(), sequences={}))


def test_systems_share_users_and_masking(dataset: Dataset) -> None:
    score = make_popularity_scorer(dataset, holdout=1)
    systems = [make_system(name, score) for name in ("first", "second")]
    scores = evaluate_systems(systems, make_cases(dataset), dataset.catalogue, cutoffs=(5,))
    for first, second in (scores[:2], scores[2:]):
        assert (first.ranks == second.ranks).all()
        assert first.metrics == second.metrics


class TestCommand:
    def test_json_holds_every_figure_and_the_protocol(self, artifact_folder: Path, atomic_folder: Path) -> None:
        outcome = CliRunner().invoke(app, ["trm", "eval", str(artifact_folder), "--data", str(atomic_folder), "--json"])
        assert outcome.exit_code == 0, outcome.output
        result = json.loads(outcome.stdout)
        assert result["users"] == 12
        assert result["items"] == 50
        assert result["artifact_fingerprint"] == load_artifact(artifact_folder).fingerprint
        assert [row["system"] for row in result["scores"]] == NAMES * 2
        assert {"mean", "low", "high", "n"} == set(result["scores"][0]["metrics"]["ndcg@20"])
        for words in ("Leave-one-out on 12 users", "full catalogue of 50 items", "catalogue order", "item id"):
            assert words in result["protocol"]

    def test_people_get_a_table_with_its_protocol(self, artifact_folder: Path, atomic_folder: Path) -> None:
        outcome = CliRunner(env={"COLUMNS": "200"}).invoke(
            app, ["trm", "eval", str(artifact_folder), "--data", str(atomic_folder), "--split", "valid"]
        )
        assert outcome.exit_code == 0, outcome.output
        assert "valid targets of 12 users" in outcome.stdout
        assert "attributes (oracle)" in outcome.stdout
        assert "last item but one" in outcome.stdout
        assert "Note: 12 users are too few" in outcome.stdout

    def test_a_mistake_is_named(self, artifact_folder: Path, atomic_folder: Path) -> None:
        for arguments, kind, words in (
            ([str(artifact_folder), "--data", str(atomic_folder), "--split", "dev"], ConfigError, "no split 'dev'"),
            ([str(artifact_folder), "--data", str(atomic_folder / "absent")], DataError, "does not exist"),
            ([str(atomic_folder), "--data", str(atomic_folder)], ArtifactError, "config.json"),
        ):
            outcome = CliRunner().invoke(app, ["trm", "eval", *arguments])
            assert isinstance(outcome.exception, kind)
            assert words in str(outcome.exception)
