"""Clauses that refuse or limit, and where they stand."""

import pytest

from deeprec.trm_tool.catalogue.said_clauses import limiting_clauses, refusing_clauses


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("A comedy. No horror, drama or war, please", ["horror, drama or war"]),
        ("not a drama but not horror either", ["a drama", "horror either"]),
        ("not only comedies", []),
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
