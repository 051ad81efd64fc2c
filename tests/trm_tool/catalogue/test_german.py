"""German refusals, limits and bounds are read by a table, at the places where they were said."""

import pytest

from deeprec.trm_tool import Catalogue, Item, PreferenceReader
from deeprec.trm_tool.catalogue.german import is_german, read_in_english
from deeprec.trm_tool.catalogue.plain_constraints import PlainConstraints
from tests.growth import assert_grows_with_length

SHOP = Catalogue(
    [
        Item(
            id=f"{number}",
            title=f"Film {number}",
            attributes={"genre": (genre,), "year": 1960.0 + 5 * number, "price": 10.0 * number},
        )
        for number, genre in enumerate(("Horror", "Western", "Thriller", "Drama", "Musical", "Horror", "Drama"), 1)
    ],
    {"genre": "tags", "year": "number", "price": "number"},
)
PLAIN = PlainConstraints(SHOP, PreferenceReader(SHOP))


@pytest.mark.parametrize(
    ("said", "stated"),
    [
        ("Ohne Horror, bitte", ["not horror"]),
        ("Ich suche was Spannendes, aber bitte keinen Western", ["not western"]),
        ("Bloß keine Horrorfilme", ["not horror"]),
        ("kein Drama, kein Thriller oder Musical", ["not drama", "not thriller", "not musical"]),
        ("Horror und Western mag ich nicht", ["not horror", "not western"]),
        ("Ein Abend mit Freunden. Western bitte nicht.", ["not western"]),
        ("nur Thriller", ["only thriller"]),
        ("nichts von vor 1980", ["year >= 1980"]),
        ("ab 1980", ["year >= 1980"]),
        ("nicht neuer als 1985", ["year <= 1985"]),
        ("vor 1970, kein Musical", ["not musical", "year <= 1969"]),
        ("nicht über 50 Euro", ["price <= 50"]),
        ("höchstens fünfzig Euro", ["price <= 50"]),
        ("mindestens 30 Euro", ["price >= 30"]),
        ("zwischen 20 und 60 Euro", ["price >= 20", "price <= 60"]),
        ("ab 30 Euro, aber nicht mehr als 50 Euro", ["price >= 30", "price <= 50"]),
        ("40 Euro oder weniger", ["price <= 40"]),
        ("Weder Western noch Drama", ["not western", "not drama"]),
        ("Auf keinen Fall Horror", ["not horror"]),
        ("Alles außer Horror", ["not horror"]),
        ("Ausschließlich Western", ["only western"]),
        ("Mit Horror kann ich nichts anfangen", ["not horror"]),
        ("Drama geht gar nicht", ["not drama"]),
        ("spätestens 1980", ["year <= 1980"]),
        ("maximal 60€", ["price <= 60"]),
        ("keinesfalls über 50 Euro", ["price <= 50"]),
        ("mehr als 50 Euro will ich nicht ausgeben", ["price <= 50"]),
        # A negation behind what it negates
        ("alles, nur Horror nicht", ["not horror"]),
        ("nur Horror nicht", ["not horror"]),
        ("nur bitte Horror nicht", ["not horror"]),
        ("nur Drama und nicht Horror", ["not horror", "only drama"]),
        ("ich mag Horror nicht", ["not horror"]),
        ("ich mag horror heute nicht", ["not horror"]),
        ("Ich kann Horror nicht leiden", ["not horror"]),
        ("Horror ist nichts für mich", ["not horror"]),
        ("Horror ist nicht mein Ding", ["not horror"]),
        ("Horror gefällt mir nicht", ["not horror"]),
        ("Horror nein danke", ["not horror"]),
        ("Horror? Nein danke", ["not horror"]),
        ("Drama ja, Horror nein", ["not horror"]),
        ("auf Horror habe ich keine Lust", ["not horror"]),
        ("ich will Drama und Thriller mag ich nicht", ["not thriller"]),
        ("mehr als 50 Euro möchte ich dafür nicht ausgeben", ["price <= 50"]),
        ("mehr als 50 Euro kann ich leider nicht zahlen", ["price <= 50"]),
        ("mehr als 50 Euro gebe ich nicht aus", ["price <= 50"]),
        ("teurer als 50 Euro darf sie nicht sein", ["price <= 50"]),
        ("über 50 Euro ist mir zu teuer", ["price <= 50"]),
        ("über 50 Euro kommt nicht in Frage", ["price <= 50"]),
        ("über 50 Euro? Nein danke", ["price <= 50"]),
        ("50 Euro oder mehr ist mir zu viel", ["price <= 49"]),
        ("vor 1980 ist mir zu alt", ["year >= 1980"]),
        # No statement, or one that must not be read as its opposite
        ("keine Lampe, die mehr als 50 Euro kostet", []),
        ("eine Lampe, sie muss nicht unter 50 Euro sein", []),
        ("unter 20 Euro muss es nicht sein", []),
        ("50 Euro oder weniger muss es nicht sein", []),
        ("zwischen 20 und 50 Euro ist mir zu teuer", []),
        ("mehr als 50 Euro und das ist mir zu teuer", []),
        ("über 50 Euro ist mir nicht zu teuer", []),
        ("über 50 Euro kostet die Lampe nicht", []),
        ("Teppiche, die mehr als 50 Euro kosten, mag ich nicht", []),
        ("Drama für über 50 Euro mag ich nicht", []),
        ("ich mag Horror nicht so sehr", []),
        ("es muss kein Horror sein", []),
        ("muss nicht Horror sein", []),
        ("nicht unbedingt Horror", []),
        ("Ich habe nichts gegen Horror", []),
        ("nicht ohne Western", []),
        ("Wenn es ohne Horror geht, gut", []),
        ("Meine Frau mag keinen Horror", []),
        ("nicht nur Thriller", []),
        ("Warum gibt es hier keinen Horror?", []),
        ("ein Film über 60 Jahre Ehe", []),
    ],
)
def test_what_is_said_plainly_in_german_is_read_as_in_english(said: str, stated: list[str]) -> None:
    assert [each.text for each, _ in PLAIN.read(said).constraints] == stated


def test_the_words_are_those_that_the_person_wrote() -> None:
    found = PLAIN.read("Ich mag Dramen, aber ohne Horror und nicht über 50 Euro")
    assert [words for _, words in found.constraints] == ["ohne Horror und", "nicht über 50 Euro"]
    assert PLAIN.read("Bitte nicht gruselig").lacking == (("not gruselig", "nicht gruselig"),)


@pytest.mark.parametrize(
    "said",
    [
        "nothing red under 50",
        "a film like Das Boot, without war",
        "Die Hard or Man Bites Dog",
        "Das Boot",
        "I was in the mood for von Trier",
        "no quiero terror",
        "",
        "1990 2.500",
    ],
)
def test_other_languages_come_back_as_they_are(said: str) -> None:
    assert read_in_english(said).text == said
    assert not is_german(said)


def test_a_place_in_the_reading_leads_to_what_was_written() -> None:
    said = "Keine Horrorfilme, nur Zeichentrick aus den 90er Jahren, höchstens 1.500 Euro. Krimis mag ich nicht!"
    reading = read_in_english(said)
    assert reading.text == "no Horror films, only Zeichentrick from the 90s, at most 1,500 Euro. not Krimis!"
    for word, written in (("no Horror", "Keine Horrorfilme"), ("only", "nur"), ("at most 1,500", "höchstens 1.500")):
        at = reading.text.index(word)
        assert reading.written(at, at + len(word)) == written
    assert reading.written(0, len(reading.text)) == said


def test_values_and_titles_stay_as_they_are_written() -> None:
    said = "nur War und Drama, ich habe Die Hard gesehen, das war gut"
    values = [(said.index(word), said.index(word) + len(word)) for word in ("War", "Drama")]
    values.append((said.index("war"), said.index("war") + 3))
    titles = [(said.index("Die Hard"), said.index("Die Hard") + 8)]
    reading = read_in_english(said, values, titles)
    assert reading.text == "only War and Drama, i have Die Hard seen, the is gut"
    assert read_in_english("Das graue Kissen", titles=[(0, 16)]).text == "Das graue Kissen"
    assert read_in_english("ohne war", [(5, 8)]).text == "without war"


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("ich mag den zweiten", "i like the second"),
        ("ich mag den zweiten nicht", "i don't like the second"),
        ("ich mag den ersten nicht mehr", "i don't like the first any more"),
        ("den ersten in den Warenkorb bitte", "put the first in my cart"),
        ("bitte nicht den ersten in den Warenkorb legen", "don't put the first in my cart"),
        ("lege den ersten nicht in den Warenkorb", "don't put the first in my cart"),
        ("nimm den ersten nicht aus dem Warenkorb", "don't remove the first from my cart"),
        ("ich nehme den ersten doch nicht", "don't put the first in my cart"),
        ("den ersten nehme ich nicht", "don't put the first in my cart"),
        ("ich habe den ersten noch nicht gesehen", ""),
    ],
)
def test_the_verb_of_what_is_asked_about_items_comes_first(said: str, read: str) -> None:
    assert read_in_english(said).text == read


@pytest.mark.parametrize(
    "hostile",
    [
        "ohne " * 2_000,
        "a, " * 3_000 + "mag ich nicht",
        "ab und oder " * 800,
        "ohne ab 1" * 1_000,
        "bitte " * 330 + "den ersten",
    ],
)
def test_a_long_message_is_read_in_time_that_grows_with_its_length(hostile: str) -> None:
    assert_grows_with_length(read_in_english, hostile)
