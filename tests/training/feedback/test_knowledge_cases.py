"""Which items the parts of recommender feedback read: no history reaches a target that is held out from it."""

import pytest

from deeprec.training.feedback.knowledge_cases import DISTANCES, knowledge_cases
from deeprec.trm_tool import ConfigError, Dataset


@pytest.mark.parametrize("requests", [False, True])
@pytest.mark.parametrize("split", DISTANCES)
def test_a_history_ends_right_before_its_target(dataset: Dataset, split: str, requests: bool) -> None:
    cases = knowledge_cases(dataset, split, requests=requests)
    assert cases
    for case in cases:
        sequence, distance = dataset.sequences[case.user], DISTANCES[split]
        assert case.target == sequence[-distance]
        assert case.history == sequence[: len(sequence) - distance]
        assert case.target not in sequence[len(sequence) - distance + 1 :]
        assert bool(case.message) is requests


def test_the_words_of_tests_are_not_those_of_training(dataset: Dataset) -> None:
    said = {split: knowledge_cases(dataset, split, requests=True) for split in DISTANCES}
    assert {str(case.conversation).split("-")[1] for case in said["train"] + said["learn"]} == {"training"}
    assert {str(case.conversation).split("-")[1] for case in said["valid"] + said["test"]} == {"test"}


def test_the_same_people_are_chosen_for_every_split(dataset: Dataset) -> None:
    chosen = [[case.user for case in knowledge_cases(dataset, split, people=5, seed=3)] for split in DISTANCES]
    assert all(users == chosen[0] for users in chosen)
    assert [case.user for case in knowledge_cases(dataset, "test", people=5, seed=4)] != chosen[0]


def test_nobody_and_no_split_are_refused(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="There is no split 'last'"):
        knowledge_cases(dataset, "last")
    with pytest.raises(ConfigError, match="nobody to write knowledge about"):
        knowledge_cases(dataset.without_last(5), "learn")
