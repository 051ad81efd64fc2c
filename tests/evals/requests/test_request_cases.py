"""Cases from requests: one for each request and target, and what is left out is counted."""

from dataclasses import replace
from pathlib import Path

import pytest

from deeprec.evals import Case, check_request_cases, make_request_cases
from deeprec.evals.requests.leaks import held_out_cases
from deeprec.evals.requests.request_cases import made_request_cases, read_request_cases, with_other_words
from deeprec.trm_tool import Artifact, Catalogue, ConfigError, DataError, Dataset
from deeprec.trm_tool.data import Request, read_fold, write_requests


def request(conversation: str = "c1", **values: object) -> Request:
    return Request(**{"conversation": conversation, "message": "something funny", **values})  # type: ignore[arg-type]


def test_a_request_is_a_case_for_each_of_its_targets(catalogue: Catalogue) -> None:
    first, second, third = catalogue.ids[:3]
    asked = request(turn=2, history=(first,), targets=(second, third), where={"price": {"max": 9}}, person="ann")
    found = make_request_cases([asked, request("c2", targets=(first,))], catalogue, source="here")
    assert [(case.user, case.target, case.cluster) for case in found.cases] == [
        ("ann", second, "c1"),
        ("ann", third, "c1"),
        ("c2", first, "c2"),
    ]
    assert len({case.key for case in found.cases}) == 3
    assert found.cases[0].where == {"price": {"max": 9}}
    assert found.cases[1].message == "something funny"
    assert found.notes == ()
    assert len({*found.cases, replace(found.cases[0])}) == 3  # cases with constraints can be keys


def test_what_the_catalogue_lacks_and_removed_targets_are_counted_and_named(catalogue: Catalogue) -> None:
    first, second = catalogue.ids[:2]
    without_first = Catalogue(catalogue, catalogue.attribute_kinds, removed=[first])
    asked = [
        request("a", targets=("strange",)),
        request("b", targets=(first, second), history=("odd",)),
        request("c", targets=()),
    ]
    found = make_request_cases(asked, without_first, source="here")
    assert [case.target for case in found.cases] == [second]
    assert found.cases[0].history == ()
    assert set(found.left_out.values()) == {1}
    assert "'strange'" in found.notes[-1]
    assert "'odd'" in found.notes[-1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "no request with a target"),
        ([request(targets=("strange",))], "requests whose targets the catalogue lacks.*'strange'"),
        ([request(targets=("900",), message="")], "no words to measure"),
    ],
)
def test_requests_that_cannot_be_measured_are_refused(asked: list[Request], message: str, catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError, match=message):
        make_request_cases(asked, catalogue, source="here")


def test_a_file_of_another_catalogue_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    other = Catalogue(
        [replace(item, title=f"Another {row}") for row, item in enumerate(catalogue)], catalogue.attribute_kinds
    )
    path = tmp_path / "requests.jsonl"
    write_requests(path, [request(targets=("900",))], catalogue=other)
    with pytest.raises(DataError, match="catalogue"):
        read_request_cases(path, catalogue)


def test_made_requests_are_about_the_targets_of_the_split(dataset: Dataset) -> None:
    made = made_request_cases(dataset, dataset.catalogue, "test").cases
    assert len(made) > 6
    assert all(
        case.target == dataset.target(case.user, 1) and case.history == dataset.history(case.user, 1) for case in made
    )
    assert all(case.message and case.said for case in made)
    training = made_request_cases(dataset, dataset.catalogue, "test", words="training").cases
    assert not {case.message for case in made} & {case.message for case in training}


def test_other_words_are_those_of_another_conversation(dataset: Dataset) -> None:
    made = made_request_cases(dataset, dataset.catalogue, "test").cases
    changed = with_other_words(made)
    assert [case.key for case in changed] == [case.key for case in made]
    assert sorted(str(case.message) for case in changed) == sorted(str(case.message) for case in made)
    assert [case.message for case in changed] == [*(case.message for case in made[1:]), made[0].message]
    with pytest.raises(ConfigError, match="one conversation only"):
        with_other_words(made[:1])


def test_a_learned_pair_is_refused_and_an_unknown_person_is_not(dataset: Dataset, artifact: Artifact) -> None:
    user = dataset.users[0]
    learned, held_out = dataset.history(user, 3)[-1], dataset.target(user, 1)
    stranger = Case(user="stranger", history=(), target=learned, conversation="c1", message="hello")
    notes = check_request_cases(artifact, dataset, [stranger, replace(stranger, user=user, target=held_out)])
    assert "1 people of the requests are not in the data" in notes[0]
    with pytest.raises(ConfigError, match=r"1 pairs of user and target .* learned by the recommender"):
        check_request_cases(artifact, dataset, [stranger, replace(stranger, user=user)])


def test_conversations_that_the_recommender_may_have_learned_are_refused(dataset: Dataset, artifact: Artifact) -> None:
    inside, outside = (
        next(name for name in map(str, range(99)) if (name in read_fold("1/2")) == is_inside)
        for is_inside in (True, False)
    )
    learned = replace(artifact, metrics={"requests": {}}, config=artifact.config | {"without_fold": "1/2"})
    case = Case(user="stranger", history=(), target="900", conversation=inside, message="hello")
    check_request_cases(learned, dataset, [case])
    both = [case, replace(case, conversation=outside)]
    with pytest.raises(ConfigError, match=f"may have learned 1 conversations .* such as '{outside}'"):
        check_request_cases(learned, dataset, both)
    assert held_out_cases(learned, both) == [case]
    assert held_out_cases(artifact, both) == both
    unsure = replace(artifact, metrics={"requests": {}})
    assert "left no fold of them out" in check_request_cases(unsure, dataset, both)[1]
