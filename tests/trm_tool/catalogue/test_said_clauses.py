"""Clauses that refuse or limit, and where they stand."""

import time

import pytest

from deeprec.trm_tool.catalogue.said_clauses import limiting_clauses, refusing_clauses


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("A comedy. No horror, drama or war, please", ["horror, drama or war"]),
        ("not a drama but not horror either", ["a drama", "horror either"]),
        ("not only comedies", []),
        ("not too expensive and washable", ["too expensive"]),
        ("not too dark and not too slow", ["too dark", "too slow"]),
        ("steer well clear of horror", ["horror"]),
        ("I can't stay away from horror", []),
        ("no horror, war films or, say, drama", ["horror, war films or"]),
    ],
)
def test_what_is_refused_stands_where_it_is_found(text: str, about: list[str]) -> None:
    clauses = list(refusing_clauses(text))
    assert [clause.about.strip() for clause in clauses] == about
    assert all(text[each.start :].startswith(each.about) for each in clauses)
    assert all(text[each.mark :].startswith(each.text) for each in clauses)


def test_what_is_limited_stands_where_it_is_found() -> None:
    text = "Hello. From Fox, only comedies"
    [clause] = limiting_clauses(text)
    assert (clause.text, text[clause.start :]) == ("only comedies", " only comedies")


@pytest.mark.parametrize(
    "text",
    [
        "no " + "a" * 100_000,
        "no x, " + "a" * 100_000,
        "no x, " + "a " * 50_000,
        "no x" + ", b or" * 15_000,
        "no" + " " * 100_000,
    ],
    ids=["a word", "a word behind a comma", "words", "a list", "spaces"],
)
def test_a_hostile_message_takes_linear_time(text: str) -> None:
    started = time.process_time()
    list(refusing_clauses(text))
    assert time.process_time() - started < 0.5
