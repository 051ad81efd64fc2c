"""Simulated people say their needs bit by bit, judge items by the card alone, and lose patience."""

import math
from typing import Any

import pytest

from deeprec.evals import (
    TEST_PERSON_WORDS,
    TRAINING_PERSON_WORDS,
    Need,
    NeedCard,
    PersonConfig,
    PersonWords,
    Reply,
    ShownItem,
    SimulatedPerson,
)
from deeprec.trm_tool import ConfigError

COMEDY = Need("genre", "is", "comedy", "tag", "Comedy")
NO_HORROR = Need("genre", "is_not", "horror", "tag", "Horror")
SEVENTIES = Need("release_year", "is", "1970s", "year", "1970s")
CHEAP = Need("price", "at_most", 20.0, "price")
CARD = NeedCard((COMEDY, NO_HORROR, SEVENTIES, CHEAP))
FITTING = {"genre": ("Comedy",), "release_year": 1975.0, "price": 9.0}


def shown(*changes: dict[str, Any]) -> Reply:
    items = (ShownItem(f"i{number}", {**FITTING, **change}) for number, change in enumerate(changes))
    return Reply(text="How about these?", items=tuple(items))


def opened(card: NeedCard = CARD, **settings: Any) -> SimulatedPerson:
    person = SimulatedPerson(card, **settings)
    person.opening()
    return person


@pytest.mark.parametrize("words", [TEST_PERSON_WORDS, TRAINING_PERSON_WORDS])
def test_needs_are_said_one_a_turn(words: PersonWords) -> None:
    person = SimulatedPerson(CARD, words=words, config=PersonConfig(patience=9))
    opening = person.opening()
    assert any(way in opening for way in words.requests.values["comedy"])
    assert person.stated == (COMEDY,)
    for known in (2, 3, 4, 4):
        person.answer(Reply(text="Tell me more"))
        assert len(person.stated) == known
    assert person.stated == CARD.needs


def test_a_fitting_item_is_accepted_by_its_id_whatever_else_is_shown() -> None:
    said = opened().answer(shown({"genre": ("War",)}, {}, {}))
    assert (said.move, said.accepted) == ("accepts", "i1")
    assert "second" in said.text


def test_an_item_below_what_they_look_at_is_not_seen() -> None:
    person = opened(config=PersonConfig(attention=2))
    assert person.answer(shown({"genre": ("War",)}, {"genre": ("War",)}, {})).accepted is None


def test_a_refused_value_is_said_to_be_wrong() -> None:
    person = opened()
    said = person.answer(shown({"genre": ("Comedy", "Horror")}))
    assert said.move == "criticises"
    assert any(way in said.text for way in ("scary", "terrifying, with monsters or ghosts"))
    assert NO_HORROR in person.stated


@pytest.mark.parametrize(
    ("change", "ways", "later"),
    [
        ({"release_year": 1994.0}, ("Older than those", "Those are all so new"), SEVENTIES),
        ({"release_year": 1950.0}, ("Newer than those", "Those are all so old"), SEVENTIES),
        ({"price": 50.0}, ("Cheaper than those", "Those are all so dear"), CHEAP),
    ],
)
def test_what_is_wrong_is_a_comparison_first_and_exact_if_it_did_not_help(
    change: dict[str, Any], ways: tuple[str, ...], later: Need
) -> None:
    person = opened()
    assert person.answer(shown(change, change)).text in ways
    assert later not in person.stated
    exact = person.answer(shown(change, change)).text
    assert exact not in ways
    assert later in person.stated
    assert any(sign in exact for sign in ("1970s", "seventies", "20"))


def test_items_on_both_sides_of_a_decade_are_no_reason_for_a_comparison() -> None:
    person = opened()
    person.answer(shown({"release_year": 1994.0}, {"release_year": 1950.0}))
    assert SEVENTIES in person.stated


def test_a_question_is_answered_from_the_card_or_with_indifference() -> None:
    person = opened()
    said = person.answer(Reply(text="What may it cost?", asks="price"))
    assert said.move == "answers"
    assert "20" in said.text
    assert CHEAP in person.stated
    assert person.answer(Reply(text="Who made it?", asks="studio")).text in TEST_PERSON_WORDS.indifferent
    both = person.answer(Reply(text="Which?", asks="studio", items=shown({"genre": ("War",)}).items))
    assert both.text.startswith(tuple(TEST_PERSON_WORDS.indifferent))
    assert both.move == "criticises"


def test_patience_ends() -> None:
    person = opened(config=PersonConfig(patience=3))
    moves = [person.answer(shown({"genre": ("War",)})).move for _ in range(3)]
    assert moves == ["criticises", "criticises", "gives_up"]


def test_satisfaction_is_the_share_of_needs_met_and_missing_without_items() -> None:
    person = opened()
    assert person.answer(shown({"price": 50.0}, {"genre": ("War",), "price": 50.0})).satisfaction == (3 / 4 + 2 / 4) / 2
    assert math.isnan(person.answer(Reply(text="Hm")).satisfaction)
    assert person.answer(Reply()).text.startswith(tuple(TEST_PERSON_WORDS.nothing_shown))


def test_the_seed_draws_the_words() -> None:
    openings = {SimulatedPerson(CARD, seed=seed).opening() for seed in range(8)}
    assert len(openings) > 3
    assert SimulatedPerson(CARD, seed=1).opening() == SimulatedPerson(CARD, seed=1).opening()


def test_a_bound_or_a_refusal_can_come_first() -> None:
    assert "20" in SimulatedPerson(NeedCard((CHEAP,))).opening()
    assert SimulatedPerson(NeedCard((NO_HORROR,))).opening()


@pytest.mark.parametrize("setting", [{"patience": 0}, {"attention": 0}, {"attention": 11}])
def test_settings_that_cannot_work_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        PersonConfig(**setting)
