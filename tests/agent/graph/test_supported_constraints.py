"""Which constraints a person's words support."""

import pytest

from deeprec.agent.graph.supported_constraints import PersonWords
from deeprec.trm_tool import Catalogue, Item, PreferenceReader
from tests.growth import assert_grows_with_length

ROWS = [("Comedy", 1985, 10.5), ("Horror", 1992, 20.0), ("Drama", 1999, 19.99), ("Film-Noir", 1948, 30.0)]
ROWS += [("Action", 1995, 90.0)]
READER = PreferenceReader(
    Catalogue(
        [
            Item(
                id=genre,
                title=genre,
                attributes={"genre": (genre,), "year": float(year), "price": price, "runtime": price + 1},
            )
            for genre, year, price in ROWS
        ],
        {"genre": "tags", "year": "number", "price": "number", "runtime": "number"},
    )
)


def supported(message: str, preference: str, **options: object) -> list[str]:
    words = PersonWords([message], **options)  # type: ignore[arg-type]
    return [each.text for each in READER.read(preference).constraints if words.support(each) is not None]


@pytest.mark.parametrize(
    ("message", "preference", "hard"),
    [
        ("a comedy under 20 bucks", "price <= 20", ["price <= 20"]),
        ("a comedy under twenty", "price < 20", ["price <= 19.99"]),
        ("at least 20", "price <= 20; price >= 20", ["price >= 20"]),
        ("two thousand or newer", "year >= 2000", ["year >= 2000"]),
        ("from the nineties", "year >= 1990; year <= 1999", ["year >= 1990", "year <= 1999"]),
        ("something from the nineties", "only 1990s", ["only 1990s"]),
        ("before the nineties", "year <= 1989; year >= 1990", ["year <= 1989"]),
        ("It must be from 1990 at the latest.", "year <= 1990; year >= 1990", ["year <= 1990"]),
        ("no films from the 90s", "not 1990s; only 1990s; year >= 1990; not 1980s", ["not 1990s"]),
        ("No horror, drama or film noir", "not horror; not drama; not comedy", ["not horror", "not drama"]),
        ("no horror, comedy please", "not horror; not comedy", ["not horror"]),
        ("not a horror but a comedy", "not horror; not comedy", ["not horror"]),
        ("I can't stand dramas. Comedies are fine", "not drama; not comedy", ["not drama"]),
        ("nothing but comedies", "only comedy; not comedy", ["only comedy"]),
        ("comedies only, no matter how old", "only comedy; only drama", ["only comedy"]),
        ("not only comedies", "not comedy; only comedy", []),
        ("I don't mind horror", "not horror", []),
        ("no problem with horror", "not horror", []),
        ("why not horror for once?", "not horror", []),
        ("not bad if it is a drama", "not drama", []),
        ("nothing beats a good horror film", "not horror", []),
        ("I can't get enough of horror", "not horror", []),
        ("I have had enough of horror", "not horror", ["not horror"]),
        ("no sad films", "not film-noir", []),
        ("like Heat (1995), and nothing from before 1980", "year >= 1995; year >= 1980", ["year >= 1980"]),
        ("a happy tragedy, no drama", "not drama; only drama", ["not drama"]),
        ("a comedy under 90 minutes", "price <= 90; runtime <= 90", ["runtime <= 90"]),
        ("a comedy of 90 minutes at most", "price <= 90; runtime <= 90", []),
        ("between 20 and 90 min", "price <= 90; runtime <= 90", ["runtime <= 90"]),
        ("at least 20 pages", "price >= 20; runtime >= 20", []),
        ("for 20 or more players", "price >= 20; runtime >= 20", []),
        ("under 20 bucks", "runtime <= 20; price <= 20", ["price <= 20"]),
        ("newer than 1990", "price >= 1990; year >= 1990", ["year >= 1990"]),
        ("before the nineties", "runtime <= 1989; year <= 1989", ["year <= 1989"]),
        ("I was born in 1992", "year >= 1992; year <= 1992", []),
        ("Blade Runner 2049", "year <= 2049", []),
        ("something out of 1995", "only 1995; year >= 1995", ["only 1995"]),
        ("I have only seen horror so far", "only horror", []),
        ("So far I've seen only horror", "only horror", []),
        ("I only ever watched horror", "only horror", []),
        ("I only watch horror", "only horror", ["only horror"]),
        ("I've never seen a drama and haven't read one", "not drama", []),
        ("I have not watched horror yet", "not horror", []),
        ("I don't watch horror", "not horror", ["not horror"]),
        ("I never watch horror", "not horror", ["not horror"]),
        ("don't want to think and love horror", "not horror; only horror", []),
        ("I hate dramas and I'd really like horror", "not drama; not horror", ["not drama"]),
        ("no horror and drama", "not horror; not drama", ["not horror", "not drama"]),
        ("never a dull moment in a good action film", "not action", []),
        ("I never get tired of horror", "not horror", []),
        ("I am not tired of horror", "not horror", []),
        ("I don't get tired of horror", "not horror", []),
        ("I get bored of dramas", "not drama", ["not drama"]),
        ("nothing wrong with horror, no doubt", "not horror", []),
        ("", "not horror; only comedy; price <= 20", []),
        ("😀😀", "not horror; only comedy; price <= 20", []),
    ],
)  # fmt: skip
def test_what_the_words_support_is_hard(message: str, preference: str, hard: list[str]) -> None:
    assert supported(message, preference) == hard


def test_other_words_for_a_phrase_support_its_refusal_where_the_recommender_knows_them() -> None:
    asked: list[str] = []

    def closest(text: str, n: int) -> list[str]:
        asked.append(text.strip())
        return ["horror", "drama", "comedy"][:n] if "scary" in text else []

    assert supported("A comedy, but nothing scary", "not horror; not film-noir", closest=closest) == ["not horror"]
    assert set(asked) == {"scary"}
    assert supported("A comedy, but nothing scary", "only horror", closest=closest) == []


def test_the_support_shows_the_words_on_one_line() -> None:
    [refusal] = READER.read("not horror").constraints
    assert PersonWords(["A comedy.\nNo\u202e horror, please!"]).support(refusal) == "No horror"
    assert len(PersonWords(["no horror " + "and more " * 50]).support(refusal) or "") <= 80


@pytest.mark.parametrize("text", ["no " * 30_000, "not only, or " * 8_000, "x, or " * 16_000, "😀" * 100_000])
def test_a_huge_message_is_looked_through_in_time_that_grows_with_its_length(text: str) -> None:
    for message in (text[:2_000], text):  # all that is read, and what is cut
        assert_grows_with_length(lambda said: supported(said, "not horror; only comedy; price <= 20"), message)


def test_a_bound_whose_attribute_is_a_guess_is_never_supported() -> None:
    sizes = {"width_cm": 50.0, "height_cm": 90.0, "weight_g": 400.0}
    catalogue = Catalogue([Item(id="1", title="Tent", attributes=sizes)], dict.fromkeys(sizes, "number"))
    reader = PreferenceReader(catalogue)
    for said, preference, hard in (
        ("a tent under 60 cm", "under 60 cm", False),
        ("a tent lighter than 500 grams", "lighter than 500 grams", True),
        ("a tent lighter than 500 grams", "weight g < 500", True),
        ("a tent under 2 kg", "under 2 kg", True),
    ):
        [constraint] = reader.read(preference).constraints
        assert (PersonWords([said]).support(constraint) is not None) == hard
