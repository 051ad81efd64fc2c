"""What a sentence plainly refuses, limits itself to and bounds, and sentences that only look as if they did."""

import pytest

from deeprec.trm_tool import Catalogue, Item, PreferenceReader
from deeprec.trm_tool.catalogue.plain_constraints import PlainConstraints

GENRES = ("Comedy", "Horror", "Drama", "War", "Western", "Country", "Sci-Fi")
FILMS = Catalogue(
    [
        Item(
            id=str(number),
            title=title,
            attributes={"genre": (GENRES[number % 7],), "year": 1950.0 + 7 * number, "runtime": 80.0 + 5 * number},
        )
        for number, title in enumerate(("No Country for Old Men", "Only Horror (1990)", *"ABCDEFGH"))
    ],
    {"genre": "tags", "year": "number", "runtime": "number"},
)
SHOP = Catalogue(
    [
        Item(id=f"{kind}-{colour}", title=kind, attributes={"type": kind, "colour": colour, "price": price})
        for kind, price in (("tent", 120.0), ("lamp", 30.5), ("phone", 300.0))
        for colour in ("red", "blue", "black")
    ],
    {"type": "category", "colour": "category", "price": "number"},
)  # fmt: skip
READERS = {id(catalogue): PlainConstraints(catalogue, PreferenceReader(catalogue)) for catalogue in (FILMS, SHOP)}


def plain(text: str, catalogue: Catalogue) -> list[str]:
    return [constraint.text for constraint, _ in READERS[id(catalogue)].read(text).constraints]


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("a comedy, no horror", ["not horror"]),
        ("Something funny. No horror please, and nothing with war.", ["not horror", "not war"]),
        ("something new, nothing from the 80s", ["not 1980s"]),
        ("a comedy, but not from the eighties", ["not 1980s"]),
        ("no horror, war or western", ["not horror", "not war", "not western"]),
        ("neither horror nor drama", ["not horror", "not drama"]),
        ("I hate horror", ["not horror"]),
        ("We really don't want westerns tonight", ["not western"]),
        ("I can't stand dramas. Comedies are fine", ["not drama"]),
        ("anything but sci-fi", ["not sci-fi"]),
        ("everything except war films", ["not war"]),
        ("It should not be a western", ["not western"]),
        ("one that isn't horror", ["not horror"]),
        ("please avoid horror movies", ["not horror"]),
        ("i am fed up with westerns", ["not western"]),
        ("a drama without any horror!", ["not horror"]),
        ("I don't like horror and I love comedies", ["not horror"]),
        ("only comedies", ["only comedy"]),
        ("comedies only, please", ["only comedy"]),
        ("It must be a western or a drama", ["only western or drama"]),
        ("I only watch sci-fi", ["only sci-fi"]),
        ("nothing but comedies", ["only comedy"]),
        ("a comedy before 1980", ["year <= 1979"]),
        ("a drama from after 1970, not horror", ["not horror", "year >= 1971"]),
        ("a comedy under 90 minutes", ["runtime <= 89"]),
        ("at most 100 min, no drama", ["not drama", "runtime <= 100"]),
        ("between 1960 and 1980", ["year >= 1960", "year <= 1980"]),
        ("Spare us whatever is horror", ["not horror"]),
        ("Dating to 1990 or later", ["year >= 1990"]),
        ("like Only Horror (1990), but no war", ["not war"]),
        ("Something for the weekend that my wife and I can watch, no war movies", ["not war"]),
        ("Any recommendations? I do not like westerns.", ["not western"]),
        ("Looking for a drama. Definitely not horror.", ["not horror"]),
        ("Give me a good laugh without westerns or war", ["not western", "not war"]),
        ("i dont want horror", ["not horror"]),
        ("I am so tired of dramas, show me a comedy", ["not drama"]),
        ("no more dramas!!", ["not drama"]),
        ("No Horror.", ["not horror"]),
        ("NO HORROR PLEASE", ["not horror"]),
        ("not a western, not a war film", ["not western", "not war"]),
        ("must be sci-fi", ["only sci-fi"]),
        ("It has to be a comedy.", ["only comedy"]),
        ("comedy only", ["only comedy"]),
        ("We want something exclusively sci-fi.", ["only sci-fi"]),
        ("nothing older than 1980", ["year >= 1980"]),
        ("newer than 1990", ["year >= 1991"]),
        ("no longer than 100 minutes", ["runtime <= 100"]),
        ("please keep it under 100 minutes", ["runtime <= 99"]),
        ("a film of at least 90 minutes, and no drama please", ["runtime >= 90", "not drama"]),
        ("something before the seventies", ["year <= 1969"]),
        ("nothing from before 1990", ["year >= 1990"]),
        ("would you recommend any horror that is not drama", ["not drama"]),
    ],
)
def test_films_that_are_plainly_refused(text: str, stated: list[str]) -> None:
    assert sorted(plain(text, FILMS)) == sorted(stated)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("a tent, nothing red please", ["not red"]),
        ("a tent, no red tents please", ["not red"]),
        ("a lamp under 50", ["price <= 30.5"]),
        ("a tent for less than 200 dollars, not in blue", ["not blue", "price <= 120"]),
        ("tents, only black ones", ["only black"]),
        ("my budget is 150", ["price <= 150"]),
        ("not the cheap end: 100 and up", ["price >= 100"]),
        ("a phone. 300 or less.", ["price <= 300"]),
        ("phone, max 200, not black", ["price <= 200", "not black"]),
        ("tent between 100 and 150 euros", ["price >= 100", "price <= 150"]),
        ("I need a lamp. It must not be red.", ["not red"]),
        ("lamp, cheaper than 40", ["price <= 30.5"]),
        ("something that costs no more than $150", ["price <= 150"]),
        ("nothing above 200 please", ["price <= 200"]),
        ("up to 130", ["price <= 130"]),
        ("black or blue but never red", ["not red"]),
        ("a red tent, no lamp", ["not lamp"]),
        ("no red, no blue", ["not red", "not blue"]),
        ("the phone has to be black", ["only black"]),
        ("2 tents under 130 each", ["price <= 120"]),
        ("is there a tent under 130?", ["price <= 120"]),
        ("nothing red under 150", ["not red", "price <= 120"]),
        ("a tent that isn't red under 150", ["not red", "price <= 120"]),
        ("a tent that is not red between 100 and 150", ["not red", "price >= 100", "price <= 150"]),
        ("a lamp that is not black for less than 70", ["not black", "price <= 30.5"]),
        ("I don't want to pay 150 or more", ["price <= 120"]),
        ("we can't afford 150 and up", ["price <= 120"]),
        ("never 100 or less, those break", ["price >= 120"]),
        ("stay away from anything over 200", ["price <= 200"]),
        ("steer clear of everything under 100", ["price >= 100"]),
        ("please leave out everything over 200", ["price <= 200"]),
        ("stay below 150 and away from red", ["not red", "price <= 120"]),
        ("a lamp, 20 to 45", ["price >= 20", "price <= 45"]),
        ("tents 100 to 130 euros", ["price >= 100", "price <= 130"]),
        ("my budget is 35 to 150, thanks", ["price >= 35", "price <= 150"]),
    ],
)
def test_products_that_are_plainly_refused(text: str, stated: list[str]) -> None:
    assert sorted(plain(text, SHOP)) == sorted(stated)


THINGS = Catalogue(
    [
        Item(
            id=str(n),
            title=f"Thing {n}",
            attributes={
                "kind": "tent",
                "weight_g": 400.0 + n * 100,
                "price": 20.0 + n,
                "width_cm": 50.0,
                "height_cm": 9.0,
            },
        )
        for n in range(30)
    ],
    {"kind": "category", "weight_g": "number", "price": "number", "width_cm": "number", "height_cm": "number"},
)
READERS[id(THINGS)] = PlainConstraints(THINGS, PreferenceReader(THINGS))


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("a tent lighter than 500 grams", ["weight_g <= 499"]),
        ("a tent heavier than 600", ["weight_g >= 601"]),
        ("a tent under 2 kg", ["weight_g <= 1999"]),
        ("at most 1.5 kg, and under 40 euros", ["weight_g <= 1500", "price <= 39"]),
        ("a tent under 40", ["price <= 39"]),
        ("a tent with a width of at most 60 cm", ["width_cm <= 60"]),
        ("a tent under 60 cm", []),  # its width or its height
        ("a tent under 90 pages", []),
    ],
)
def test_a_unit_and_its_attribute_decide_together(text: str, stated: list[str]) -> None:
    assert sorted(plain(text, THINGS)) == sorted(stated)


def test_a_bound_whose_unit_fits_several_attributes_is_doubtful() -> None:
    reader = PreferenceReader(THINGS)
    [guess] = reader.read("under 60 cm").constraints
    assert (guess.text, guess.is_doubtful) == ("width_cm <= 59", True)
    [sure] = reader.read("height under 60 cm").constraints
    assert (sure.text, sure.is_doubtful) == ("height_cm <= 59", False)
    assert reader.read("under 90 pages").unenforceable == ("under 90 pages",)


@pytest.mark.parametrize(
    "text",
    [
        "I can't get enough of horror",
        "nothing beats a good western",
        "there is nothing like a good western",
        "not only comedies",
        "No Country for Old Men was great",
        "something like 'no country for old men'",
        'like "No Horror Tonight", please',
        "I don't know any good comedy",
        "Isn't there a good horror film?",
        "Don't you have any westerns?",
        "It doesn't have to be a comedy",
        "it need not be a drama",
        "I would never say no to a western",
        "I can't live without horror",
        "I don't hate horror",
        "no comedy is too silly for me",
        "no horror fan would miss it",
        "if I did not like horror, I would watch drama",
        "I used to hate horror",
        "my sister hates horror",
        "not sure if comedy or drama",
        "horror or not, whatever",
        "there is no shortage of war films",
        "I have no horror films yet",
        "why is there no horror here?",
        "not necessarily a comedy",
        "not too much horror",
        "no horror if possible",
        "I've never seen a western",
        "I have only seen horror so far",
        "the only comedy that I liked was Heat",
        "if only there were comedies",
        "a comedy rather than a drama",
        "No problem with horror",
        "I do not mind war films",
        "no horror with zombies",
        "he said no horror was better",
        "2001: A Space Odyssey, or Blade Runner 2049",
        "I was born before 1990",
        "I have seen over 100 westerns",
        "we are over 50 and like comedies",
        "a comedy from the nineties",
        "films for kids under 10",
        "like Heat (1995)",
        "I watched it before 1990",
        "What is horror without comedy?",
        "People who don't like horror are strange",
        "Just comedies",
        "Everyone raves about horror but I hate it",
        "The western that nobody should miss",
        "It's a shame there are no good westerns nowadays",
        "I wouldn't call it horror",
        "Not since Halloween have I enjoyed horror",
        "without a doubt a comedy",
        "You can never go wrong with a western",
        "Never mind the horror",
        "nothing says Christmas like a comedy",
        "my kids refuse to watch anything but horror",
        "comedy, drama, anything",
        "My only condition: good comedy",
        "I need a laugh after 1999 was so bad",
        "A film like Apollo 13 or Only Horror",
        "no idea, maybe horror",
        "I've got nothing against horror",
        "Horror is not my thing",
        "Not a bad western in sight",
        "no less than a great drama",
        "is horror not boring?",
        "can you do without horror?",
        "I'm not saying horror is bad",
        "no need for drama",
        "No one makes westerns like Leone",
        "it doesn't matter whether horror or drama",
        "",
        "😀😀 !!",
    ],
)
def test_films_that_only_seem_to_be_refused(text: str) -> None:
    assert plain(text, FILMS) == []


@pytest.mark.parametrize(
    "text",
    [
        "a Nothing phone",
        "red or blue, I don't care",
        "I'm over 50 and need a lamp",
        "no tents in red",
        "more than 3 friends recommended this tent",
        "a tent, not necessarily red",
        "under 18 people in it",
        "no phones under 100 unless they are red",
        "a lamp for over 20 people",
        "my old tent was not red",
        "I already own 3 tents, more than enough",
        "tent with less than 5 poles",
        "at least 2 of them",
        "nothing between 50 and 100",
        "I don't want anything between 20 and 50 euros",
        "avoid the 30-60 range",
        "nothing red over 150",
        "no red tents below 150",
        "keep away from tents over 100",
        "I can't stay away from red",
        "a tent for 2 to 4 people",
        "not too expensive and blue",
    ],
)
def test_products_that_only_seem_to_be_refused(text: str) -> None:
    assert plain(text, SHOP) == []


@pytest.mark.parametrize(
    "text",
    [
        "My kids only like comedy, but I want horror",
        "I usually only watch comedies, but tonight I want horror",
        "My husband wants no horror, I love horror",
        "They want no comedy",
    ],
)
def test_the_taste_of_others_and_habits_state_nothing(text: str) -> None:
    assert plain(text, FILMS) == []


def test_letters_that_are_longer_in_lower_case_end_nothing() -> None:
    assert plain("İ" * 12 + " no horror", FILMS) == ["not horror"]


@pytest.mark.parametrize(
    "text", ["something for my kids with no horror", "a movie for my wife without horror", "with my parents no horror"]
)
def test_what_the_speaker_refuses_for_others_holds(text: str) -> None:
    assert plain(text, FILMS) == ["not horror"]
