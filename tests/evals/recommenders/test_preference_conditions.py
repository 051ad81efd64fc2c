from collections import Counter
from dataclasses import replace

import pytest

from deeprec.evals import Case, evaluate_systems, evaluate_trm, make_cases, make_filter_system, make_trm_system
from deeprec.evals.recommenders.preference_conditions import (
    EXACT,
    HALF,
    ONE,
    REWORDED,
    SENTENCES,
    WRONG,
    make_conditions,
)
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder, Retriever


def test_each_condition_says_what_its_name_says(dataset: Dataset, artifact: Artifact) -> None:
    catalogue, cases = dataset.catalogue, make_cases(dataset, positions=3)
    conditions = {each.name: each for each in make_conditions(cases, catalogue, artifact.popularity.tolist(), seed=3)}
    assert list(conditions) == [EXACT, ONE, SENTENCES, REWORDED, HALF, WRONG]
    assert [name for name, each in conditions.items() if not each.oracle] == [WRONG]
    for case in cases:
        true = catalogue.phrases_of(case.target)
        assert conditions[EXACT].phrases[case] == true
        assert conditions[EXACT].preferences[case] == "; ".join(true)
        assert set(conditions[ONE].phrases[case]) < set(true)
        assert len(conditions[ONE].phrases[case]) == 1
        right = [phrase for phrase in conditions[HALF].phrases[case] if phrase in true]
        assert len(right) == (len(true) + 1) // 2
        for name in (SENTENCES, REWORDED):
            assert catalogue.item(case.target).title not in conditions[name].preferences[case]


def test_a_wrong_preference_is_made_for_another_users_target(dataset: Dataset, artifact: Artifact) -> None:
    cases = make_cases(dataset, positions=2)
    wrong = make_conditions(cases, dataset.catalogue, artifact.popularity.tolist())[-1]
    for case in cases:
        others = {dataset.catalogue.phrases_of(other.target) for other in cases if other.user != case.user}
        assert wrong.phrases[case] in others


def test_one_user_has_nobody_to_borrow_from(dataset: Dataset, artifact: Artifact) -> None:
    cases = [case for case in make_cases(dataset) if case.user == dataset.users[0]]
    with pytest.raises(ConfigError, match="at least two users"):
        make_conditions(cases, dataset.catalogue, artifact.popularity.tolist())


def test_the_filter_ranks_what_fits_first_and_by_the_model(dataset: Dataset, artifact: Artifact) -> None:
    catalogue, cases = dataset.catalogue, make_cases(dataset)
    phrases = {case: catalogue.phrases_of(case.target)[:1] for case in cases}
    filtered = make_filter_system("filter", artifact, HashingEncoder(), phrases).score(cases)
    plain = make_trm_system("TRM", artifact, HashingEncoder()).score(cases)
    for line, own, case in zip(filtered, plain, cases, strict=True):
        fits = [row for row, item in enumerate(catalogue.ids) if set(phrases[case]) <= set(catalogue.phrases_of(item))]
        others = sorted(set(range(len(catalogue))) - set(fits))
        assert line[fits].min() > line[others].max()
        assert (line[fits] == own[fits]).all()


def test_several_positions_of_a_user_are_one_value(dataset: Dataset, artifact: Artifact) -> None:
    cases = make_cases(dataset, positions=3)
    row = evaluate_systems([make_trm_system("TRM", artifact, HashingEncoder())], cases, dataset.catalogue)[0]
    users = {user: [] for user in dataset.users}  # type: dict[str, list[bool]]
    for case, rank in zip(cases, row.ranks, strict=True):
        users[case.user].append(rank <= 10)
    assert row.metrics["recall@10"].n == len(users)
    assert row.metrics["recall@10"].mean == pytest.approx(sum(sum(hits) / 3 for hits in users.values()) / len(users))


def test_positions_that_the_artifact_learned_from_are_refused(dataset: Dataset, artifact: Artifact) -> None:
    """Nor one whose target chose the epoch and the trust: with `without_last` 3, the fifth from the end."""
    with pytest.raises(ConfigError, match="--without-last 1"):
        evaluate_trm(artifact, dataset, positions=2)
    cut = replace(artifact, config=artifact.config | {"holdout": 5, "without_last": 3})
    assert evaluate_trm(cut, dataset, positions=4, conditions=True).positions == 4
    with pytest.raises(ConfigError, match="--without-last 4"):
        evaluate_trm(cut, dataset, positions=5)


def test_a_removed_item_is_still_true_of_its_phrases(dataset: Dataset, artifact: Artifact) -> None:
    """A target that was removed since may be the last of its kind."""
    case = make_cases(dataset)[0]
    phrase = artifact.catalogue.phrases_of(case.target)[-1]
    retriever = Retriever(artifact, HashingEncoder())
    retriever.remove_items(sorted(artifact.catalogue.phrases(1)[phrase]))
    changed = replace(artifact, catalogue=retriever.catalogue)
    assert evaluate_trm(changed, dataset, conditions=True).scores


@pytest.mark.parametrize(("setting", "value"), [("trust", -3), ("trust", float("nan")), ("positions", 0)])
def test_settings_that_make_no_sense_are_refused(
    dataset: Dataset, artifact: Artifact, setting: str, value: float
) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is"):
        evaluate_trm(artifact, dataset, **{setting: value})  # type: ignore[arg-type]


def test_all_conditions_are_rows_beside_the_plain_alternative(dataset: Dataset, artifact: Artifact) -> None:
    names = [row.system for row in evaluate_trm(artifact, dataset, conditions=True).scores if row.masked]
    conditions_of_trm = [f"TRM, {name}" for name in (EXACT, ONE, SENTENCES, REWORDED, HALF, WRONG)]
    filtered = [f"TRM, filtered by {name}" for name in (EXACT, ONE)]
    assert names == ["popularity", "co-occurrence", "TRM", *conditions_of_trm, *filtered]


def test_a_position_before_which_nothing_happened_is_no_case(dataset: Dataset) -> None:
    shortest = min(len(sequence) for sequence in dataset.sequences.values())
    cases = make_cases(dataset, positions=shortest)
    assert all(case.history for case in cases)
    assert Counter(case.user for case in cases)[dataset.users[0]] <= shortest
    assert isinstance(cases[0], Case)
