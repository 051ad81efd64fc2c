"""What a preference holds of a message: right and wrong segments, what was heard and what was missed."""

import math

import pytest

from deeprec.evals.metrics.heard_words import compare_with_words, make_support_reward, make_word_support, measure_heard
from deeprec.trm_tool import Retriever
from tests.made_runs import made_record, made_retrieval, made_trace

SAID = {"wanted": ["comedy", "1990s"], "unwanted": ["horror"], "where": ["release_year"]}


def test_segments_are_right_where_the_message_expresses_them() -> None:
    found = compare_with_words(["Comedy; not horror; release year >= 1990", "comedy; drama"], SAID)
    assert found.right == ("comedy", "not horror", "release year >= 1990")
    assert found.wrong == ("drama",)
    assert found.heard == ("comedy", "not horror", "release_year")
    assert found.missed == ("1990s",)
    assert (found.precision, found.recall) == (0.75, 0.75)


@pytest.mark.parametrize(
    ("preference", "right"),
    [
        ("only comedies", 1),
        ("a funny comedy of the nineties", 1),
        ("not comedy", 0),
        ("horror", 0),
        ("without horror", 1),
        ("price <= 20", 0),
        ("comedy\n1990s", 2),
    ],
)
def test_what_is_refused_is_no_preference_for_it(preference: str, right: int) -> None:
    assert len(compare_with_words([preference], SAID).right) == right


def test_what_cannot_be_computed_is_missing() -> None:
    assert math.isnan(compare_with_words([], SAID).precision)
    assert compare_with_words([], SAID).recall == 0
    assert math.isnan(compare_with_words(["comedy"], {}).recall)


def test_words_of_unknown_meaning_support_what_they_name_and_find(retriever: Retriever) -> None:
    support = make_word_support(retriever)
    found = support("some horror, or a comedy")
    assert found.named == ("horror", "comedy")
    assert not set(found.named) & set(found.typical)
    trace = made_trace(
        made_record(message="some horror, or a comedy"),
        retrievals=(made_retrieval(0, preference="horror; nonsense"), made_retrieval(1, preference=None)),
    )
    assert measure_heard(trace, None, support) == {"words_precision": 0.5, "words_recall": 0.5}
    assert measure_heard(trace, {"wanted": ["horror"]}, support) == {"words_precision": 0.5, "words_recall": 1.0}
    assert make_support_reward(retriever)(trace) == 0.5


@pytest.mark.parametrize(("message", "preference"), [(None, "horror"), ("some horror", None)])
def test_runs_without_words_or_preferences_have_no_measure(
    message: str | None, preference: str | None, retriever: Retriever
) -> None:
    trace = made_trace(made_record(message=message), retrievals=(made_retrieval(0, preference=preference),))
    assert measure_heard(trace, None, make_word_support(retriever)) == {}
    assert math.isnan(make_support_reward(retriever)(trace))
