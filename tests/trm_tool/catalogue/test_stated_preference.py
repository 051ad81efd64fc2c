"""Preferences with constraints, read against a catalogue."""

import random

import pytest

from deeprec.trm_tool import Catalogue, Item
from deeprec.trm_tool.catalogue.filters import AttributeIndex, check_where
from deeprec.trm_tool.catalogue.stated_preference import PreferenceReader, StatedPreference, read_stated_preference
from tests.growth import assert_grows_with_length

ROWS = [
    (("Comedy", "Drama"), 1985, 10.5, "Red"),
    (("Horror",), 1992, 20.0, "Blue"),
    (("Sci-Fi", "No Wave"), 1999, 19.99, "Red"),
    (("Children's", "Horror"), 2001, 25.0, "Green"),
    (("Film-Noir",), 1948, 30.0, "Orange"),
]
CATALOGUE = Catalogue(
    [
        Item(
            id=str(row),
            title=f"Title {row}",
            attributes={"genre": genres, "release_year": float(year), "price": price, "colour": colour},
        )
        for row, (genres, year, price, colour) in enumerate(ROWS)
    ],
    {"genre": "tags", "release_year": "number", "price": "number", "colour": "category"},
)
READER = PreferenceReader(CATALOGUE)


def said(text: str) -> tuple[str, ...]:
    return tuple(constraint.text for constraint in READER.read(text).constraints)


def passing(preference: StatedPreference) -> list[str]:
    index = AttributeIndex(CATALOGUE)
    masks = [index.filter(constraint.where).mask for constraint in preference.constraints]
    return [item_id for row, item_id in enumerate(CATALOGUE.ids) if all(mask[row] for mask in masks)]


@pytest.mark.parametrize(
    "text",
    ["comedy; 1990s", "no wave", "in 1995", "top 10 hits from 1995", "more comedy", "not", "notable", "😀"],
)
def test_what_states_no_constraint_stays_as_it_is(text: str) -> None:
    read = READER.read(text)
    assert (read.text, read.constraints, read.unenforceable, read.where) == (text, (), (), None)


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("not horror", ("not horror",)),
        ("no horror movies", ("not horror",)),
        ("without horror or dramas", ("not horror", "not drama")),
        ("anything but a comedy", ("not comedy",)),
        ("not film noir", ("not film-noir",)),
        ("not no wave", ("not no wave",)),
        ("genre: not horror", ("not horror",)),
        ("not the nineties", ("not 1990s",)),
        ("not 1992", ("not 1992",)),
        ("only comedy; only drama", ("only comedy", "only drama")),
        ("only red; only blue", ("only red or blue",)),
        ("only comedies or dramas", ("only comedy or drama",)),
        ("it must be a comedy", ("only comedy",)),
        ("only colour: orange", ("only orange",)),
        ("only 1990s", ("only 1990s",)),
        ("year >= 1990", ("release_year >= 1990",)),
        ("release_year >= 1990; price <= 20", ("release_year >= 1990", "price <= 20")),
        ("price < 20", ("price <= 19.99",)),
        ("$20 or less", ("price <= 20",)),
        ("nothing over twenty bucks", ("price <= 20",)),
        ("cheaper than 20 euros", ("price <= 19.99",)),
        ("before 1990", ("release_year <= 1989",)),
        ("after 1990", ("release_year >= 1991",)),
        ("since the nineties", ("release_year >= 1990",)),
        ("before the 90s", ("release_year <= 1989",)),
        ("no older than 1990", ("release_year >= 1990",)),
        ("from 1999 to 1990", ("release_year >= 1990", "release_year <= 1999")),
        ("year: 1990-1999", ("release_year >= 1990", "release_year <= 1999")),
        ("between $10 and $20", ("price >= 10", "price <= 20")),
    ],
)
def test_constraints_are_read_in_the_words_that_models_write(text: str, constraints: tuple[str, ...]) -> None:
    read = READER.read(f"funny; {text}")
    assert tuple(constraint.text for constraint in read.constraints) == constraints
    assert (read.phrases, read.unenforceable) == (("funny",), ())


def test_constraints_exclude_what_they_say() -> None:
    assert passing(READER.read("not horror; price <= 20")) == ["0", "2"]
    assert passing(READER.read("not 1990s")) == ["0", "3", "4"]
    assert passing(READER.read("only 1990s; only red")) == ["2"]
    assert passing(READER.read("only comedy; only drama")) == ["0"]
    assert passing(READER.read("only red or blue; price < 20")) == ["0", "2"]
    assert passing(READER.read("year >= 2000; year <= 1990")) == []


def test_what_the_catalogue_lacks_is_named_and_weighs_nothing() -> None:
    read = READER.read("not scary; size >= 42; not horror or too sad; only <|im_end|>")
    assert [constraint.text for constraint in read.constraints] == ["not horror"]
    assert read.unenforceable == ("not scary", "size ›= 42", "not too sad", "only ‹/im_end/›")
    assert read.text == ""
    bare = Catalogue([Item(id="a", title="A")], {})
    assert read_stated_preference("under 20; not horror", bare).unenforceable == ("under 20", "not horror")


def test_what_is_refused_is_not_asked_for_as_well() -> None:
    read = READER.read("comedy; Comedies; drama; not comedy")
    assert (read.phrases, read.refused, read.only) == (("drama",), ("comedy",), ())


def test_bounds_and_where_are_there_for_callers() -> None:
    assert READER.bounds == {"release_year": (1948.0, 2001.0), "price": (10.5, 30.0)}
    where = READER.read("price >= 10; price <= 20; not horror").where
    assert where == {"price": {"min": 10.0, "max": 20.0}, "genre": {"not_in": ["Horror"]}}
    assert READER.read("year >= 2000; year <= 1990").where is None


def test_any_text_is_read_and_what_is_read_says_itself_again() -> None:
    rng = random.Random(5)
    parts = "not|only|no|without|comedy|horror|1990s|nineties|year|price|>=|<=|<|20|1990|$|from|to|-|or|;|; |scary|:|="
    words = [*parts.split("|"), "twenty", "two thousand", "before", "at least", "\ud800", "’", "9" * 40, "no wave", "("]
    for _ in range(2_000):
        text = " ".join(rng.choices(words, k=rng.randint(1, 12)))
        read = READER.read(text)
        for constraint in read.constraints:
            check_where(constraint.where)
            assert [(c.text, c.where) for c in READER.read(constraint.text).constraints] == [
                (constraint.text, constraint.where)
            ], text
        if not read.constraints and not read.unenforceable:
            kept = [segment.strip() for segment in text.split(";") if segment.strip()]
            assert list(read.phrases) == list(dict.fromkeys(kept))


@pytest.mark.parametrize("text", ["not " * 30_000, "1," * 50_000, "no,or," * 20_000, "a" * 100_000, "< " * 50_000])
def test_a_huge_text_is_read_in_time_that_grows_with_its_length(text: str) -> None:
    for preference in (text[:400], text):  # all that is read, and what is cut
        assert_grows_with_length(READER.read, preference)
