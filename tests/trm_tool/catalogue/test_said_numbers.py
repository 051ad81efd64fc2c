"""Numbers in words and figures, and what bounds them."""

from typing import Any

import pytest

from deeprec.trm_tool.catalogue.said_numbers import said_numbers
from tests.growth import assert_grows_with_length


@pytest.mark.parametrize(
    ("text", "low", "high", "bound", "about"),
    [
        ("It should cost 20 at the very least.", 20, 20, "min", None),
        ("My budget ends at 20.", 20, 20, "max", "price"),
        ("It must be from 1990 at the latest.", 1990, 1990, "max", "year"),
        ("Not the bargain bin: 20 upwards", 20, 20, "min", None),
        ("under 90 min", 90, 90, "max", None),
        ("20 euros min", 20, 20, "min", "price"),
        ("With page count no higher than 350", 350, 350, "max", None),
        ("nothing over twenty-five bucks", 25, 25, "max", "price"),
        ("two thousand", 2000, 2000, None, None),
        ("nineteen ninety-five or later", 1995, 1995, "min", "year"),
        ("a hundred and twenty max", 120, 120, "max", None),
        ("something from the nineties", 90, 99, None, "year"),
        ("the 1980s", 1980, 1989, None, "year"),
        ("1,500 to spend", 1500, 1500, None, None),
        ("up to 2k", 2000, 2000, "max", None),
        ("between the 80s and the 90s", 80, 99, "range", None),
        ("temperature >= -5", -5, -5, "min", None),
    ],
)
def test_a_number_has_the_bound_of_its_words(text: str, low: int, high: int, bound: Any, about: Any) -> None:
    [number] = said_numbers(text)
    assert (number.low, number.high, number.bound, number.about) == (low, high, bound, about)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        *[
            (text, "max")
            for text in (
                "I don't want to spend over 50",
                "I can't pay more than 50",
                "I can't afford more than 50",
                "I won't pay over 50",
                "I wouldn't spend over 50",
                "avoid anything over 50",
                "don't show me anything over 50",
                "nothing that's over 50",
                "without going over 50",
                "I'm not going above 50",
                "I refuse to pay more than 50",
                "I do not want to spend more than $50",
                "I don’t really want to go above 50",
                "I couldn't spend more than 50",
                "I'd hate to pay over 50",
                "I like horror but I won't go over 50",
                "no horror and under 50",
                "I need nothing over 50",
                "I need a tent that's not over 50",
                "I need a tent for no more than 50",
                "what I need is no more than 50",
                "anything over 50 is too much",
                "over 50 is out of the question",
                "over 50? no thanks",
                "a rug; over 50 would be too expensive",
                "above 50 dollars is not okay",
                "more than 50 I won't pay",
                "50 dollars or more is too much",
                "anything but over 50",
            )
        ],
        ("I don't want anything under 50", "min"),
        ("I won't buy anything below 50", "min"),
        ("under 50 is too cheap", "min"),
        *[
            (text, None)
            for text in (
                "it doesn't have to be under 50",
                "no need to stay under 50",
                "it doesn't need to be under 50",
                "it needn't be under 50",
                "I don't mind going over 50",
                "not necessarily under 50",
                "I don't want a tent over 50",
                "I can't avoid going over 50",
                "over 50 is not a problem",
                "over 50 isn't too much",
                "is over 50 too much?",
                "nothing over 50 is too much",
                "under 50 isn't possible",
            )
        ],
    ],
)
def test_a_negation_turns_a_bound_round_or_leaves_none(text: str, bound: Any) -> None:
    [number] = said_numbers(text)
    assert (number.low, number.bound) == (50, bound)


@pytest.mark.parametrize(
    "text",
    [
        "nothing from the 80s",
        "no films from the 80s",
        "no 80s films",
        "avoid the 80s",
        "anything but the 80s",
        "I'm sick of the 80s",
        "I hate films from the 80s",
        "no 1988 films",
        "nothing from 1988",
        "the 80s are not for me",
        "a western that's not from the sixties",
    ],
)
def test_years_that_are_refused_bound_nothing(text: str) -> None:
    [number] = said_numbers(text)
    assert (number.bound, number.is_undecided) == (None, True)


@pytest.mark.parametrize("text", ["nothing under 20 or over 90", "no more than 90 or less than 20"])
def test_a_negation_holds_for_both_bounds_of_an_alternative(text: str) -> None:
    [number] = said_numbers(text)
    assert (number.bound, number.low, number.high) == ("range", 20, 90)


def test_a_pronoun_a_date_and_a_figure_beyond_measure_bound_nothing() -> None:
    assert said_numbers("not one that is blue, " + "9" * 400) == ()
    assert [number.bound for number in said_numbers("1995-08-19")] == [None, None, None]


@pytest.mark.parametrize("text", ["1," * 1_000, "twenty " * 400, "1" * 1_999 + "x", "no " * 700])
def test_a_long_message_takes_time_that_grows_with_its_length(text: str) -> None:
    assert_grows_with_length(said_numbers, text)


@pytest.mark.parametrize("text", ["under 60 and over 20", "below 60 and more than $20", "at most 60 and at least 20"])
def test_the_bound_of_the_next_number_is_its_own(text: str) -> None:
    assert [(said.bound, said.low) for said in said_numbers(text)] == [("max", 60), ("min", 20)]
