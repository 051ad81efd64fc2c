"""Queries as arguments of recommenders that take a person's words, and of those that do not."""

from collections.abc import Sequence
from typing import Any

import pytest

from deeprec.trm_tool import (
    ConfigError,
    Dataset,
    Query,
    Retrieved,
    Retriever,
    call_arguments,
    ranks_of,
    retrieve_batch,
    takes_words,
)
from tests.small_recommender import CoOccurrence


class Deaf(CoOccurrence):
    """It takes a preference and no words, and notes what it is asked."""

    asked: list[tuple[Any, ...]]

    def retrieve(self, history: Sequence[str], preference: str | None = None, **options: Any) -> Retrieved:
        self.asked = [*getattr(self, "asked", []), (preference, options)]
        return super().retrieve(history, preference, **options)


@pytest.fixture
def deaf(dataset: Dataset) -> Deaf:
    return Deaf(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])


def test_words_are_passed_on_only_where_retrieve_names_them(retriever: Retriever, deaf: Deaf) -> None:
    assert takes_words(retriever)
    assert not takes_words(deaf)  # its keywords end in a method without words
    query = Query(history=["900"], preference="comedy", trust=0.1, words="for my children", words_trust=0.7)
    assert call_arguments(retriever, query) == (
        (["900"], "comedy"),
        {"trust": 0.1, "where": None, "words": "for my children", "words_trust": 0.7},
    )


@pytest.mark.parametrize(
    ("preference", "words", "joined", "trust"),
    [
        ("comedy", "for my children", "for my children; comedy", 0.7),
        (None, "for my children", "for my children", 0.7),
        ("comedy", "\N{POPCORN}", "comedy", 0.1),
        ("comedy", None, "comedy", 0.1),
        (None, "", None, 0.1),
    ],
)
def test_a_recommender_without_words_gets_them_in_front_of_the_preference(
    deaf: Deaf, preference: str | None, words: str | None, joined: str | None, trust: float
) -> None:
    query = Query(history=["900"], preference=preference, trust=0.1, words=words, words_trust=0.7)
    [found] = retrieve_batch(deaf, [query], k=5)
    [rank] = ranks_of(deaf, [found[0].id], [query])
    assert rank == 1
    assert deaf.asked == [(joined, {"k": k, "trust": trust, "where": None}) for k in (5, len(deaf.catalogue))]


@pytest.mark.parametrize("given", [{"words": 3}, {"words_trust": 1.5}, {"words_trust": float("nan")}])
def test_words_of_another_kind_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(given))} is"):
        Query(**given)
