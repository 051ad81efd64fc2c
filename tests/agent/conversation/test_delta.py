"""Deltas that a model proposes: the right parts survive the wrong ones, and guesses take nothing hard away."""

import sys
from typing import Any

import pytest

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    DeltaProblem,
    StateDelta,
    apply_delta,
    check_delta,
    delta_of_message,
    describe_state,
    read_delta,
)
from deeprec.trm_tool import Catalogue, Item
from tests.agent.conversation.small_shop import propose, say, small_shop
from tests.growth import assert_grows_with_length

SHOP = small_shop()
RIGHT = [
    {"kind": "set", "attribute": "colour", "values": ["black"]},
    {"kind": "set", "attribute": "price", "maximum": "50"},
    {"kind": "exclude", "attribute": "features", "values": ["Foldable"]},
    {"kind": "set", "attribute": "Type", "values": "rugs", "hard": False},
    {"kind": "set", "attribute": "budget", "minimum": 30},
]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"kind": "set", "attribute": "colr", "values": ["black"]}, "did you mean 'colour'"),
        ({"kind": "set", "attribute": "colour", "values": ["teal"]}, "the nearest are 'sage green', 'white'"),
        ({"kind": "set", "attribute": "colour", "maximum": 3}, "holds words"),
        ({"kind": "put", "attribute": "colour", "values": ["black"]}, "use set, exclude, relax, clear"),
        ({"kind": "set", "attribute": "price", "maximum": "cheap"}, "finite number"),
        ({"kind": "set", "attribute": "colour"}, "neither a value nor a bound"),
        ({"kind": "exclude", "attribute": "price", "minimum": 3}, "neither a value nor a bound"),
        ({"kind": "set", "attribute": ["colour"], "values": ["black"]}, "name an attribute"),
        ({"kind": "set", "attribute": "price", "maximum": 10**5000}, "finite number"),
        ("colour=black", "is an object"),
    ],
)
def test_one_wrong_field_does_not_cancel_five_right_ones(wrong: Any, reason: str) -> None:
    words = "only black, nothing foldable, between 30 and 50, perhaps a rug"
    state, problems = propose(ConversationState(), words, {"changes": [*RIGHT, wrong]}, shop=SHOP)
    assert [reason in each for each in problems].count(True) == 1
    assert all(len(each.splitlines()) == 1 for each in problems)
    assert set(describe_state(state)) == {
        "only colour: black",
        "price >= 30",
        "price <= 50",
        "not features: foldable",
        "maybe type: rug",
    }


@pytest.mark.parametrize(
    "value", [None, [], "x", {"changes": 3}, {"changes": "set"}, {"delta": []}, {"changes": [None]}]
)
def test_what_is_no_delta_changes_nothing_and_is_named(value: Any) -> None:
    delta, problems = read_delta(value, turn=1)
    assert delta == StateDelta(turn=1)
    assert len(problems) == 1
    assert isinstance(problems[0], DeltaProblem)


def test_what_the_words_do_not_support_weighs() -> None:
    changes = {"changes": [{"kind": "set", "attribute": "price", "maximum": 50}, *RIGHT[:1]]}
    state, problems = propose(ConversationState(), "something for a dark corner", changes, shop=SHOP)
    assert (state.required, problems) == ((), [])
    assert describe_state(state) == ("maybe price <= 50", "maybe colour: black")


def test_a_guess_takes_no_constraint_away() -> None:
    before = say(ConversationState(), "only black, nothing foldable, under 60", shop=SHOP)
    changes = [
        {"kind": "set", "attribute": "colour", "values": ["white"]},
        {"kind": "set", "attribute": "features", "values": ["foldable"]},
        {"kind": "exclude", "attribute": "colour", "values": ["black"]},
        {"kind": "relax", "attribute": "price"},
        {"kind": "clear"},
    ]
    state, problems = propose(before, "hm, something cosy", {"changes": changes}, shop=SHOP)
    assert (state.required, state.refused) == (before.required, before.refused)
    assert len(problems) == 4
    assert SHOP.passing([{each.attribute: each.condition} for each in state.required]) == ("a", "c", "e")


def test_a_model_may_withdraw_what_the_words_name() -> None:
    before = say(ConversationState(), "only black, under 60", shop=SHOP)
    changes = {"changes": [{"kind": "relax", "attribute": "price"}]}
    state, problems = propose(before, "hm, about the budget, that was silly", changes, shop=SHOP)
    assert (describe_state(state), problems) == (("only colour: black",), [])


def test_a_persons_own_edit_needs_no_words() -> None:
    delta, _ = read_delta({"changes": RIGHT[:1]}, turn=0, source="person")
    assert check_delta(delta, ConversationState(), SHOP, "").delta.changes[0].hard


def test_an_ambiguous_reference_comes_back_as_such() -> None:
    state = say(ConversationState(), "lamps", shop=SHOP).with_shown(["a", "b", "c"])
    [unclear] = delta_of_message("add the black one to my cart", state, SHOP).unresolved
    assert (unclear.words, unclear.item_ids) == ("the black one", ("a", "c"))


@pytest.mark.parametrize(
    "message",
    [
        "only " * 5_000,
        "not black or " * 2_000,
        "the second and " * 2_000,
        "any colour is " * 1_000,
        "under 50 and over " * 1_000,
        "a" * 100_000,
        "\ue000\ue001 \x00 the \ue000 one, <|im_end|> \ud800",
        "",
        "?!…",
    ],
)
def test_a_hostile_message_claims_nothing(message: str) -> None:
    state = say(ConversationState(), "lamps", shop=SHOP).with_shown(["a", "b", "c"])
    delta = delta_of_message(message, state, SHOP)
    assert not delta.actions
    assert not delta.feedback
    assert len(delta.said) <= 2_000


@pytest.mark.parametrize(
    "piece",
    [
        "only ",
        "not black or ",
        "no teal ",
        "the second and ",
        "the black one, ",
        "number 1 ",
        "den ersten und ",
        "like it ",
        "the first liked ",
        "which is the second ",
        "start over ",
        "too expensive, ",
        "any colour is ",
        "under 50 and over ",
        "1 ",
        "1990s ",
        "ohne Horror ",
        ", ",
        "a",
    ],
)
def test_a_hostile_message_is_read_in_time_that_grows_with_its_length(piece: str) -> None:
    state = say(ConversationState(), "lamps", shop=SHOP).with_shown(["a", "b", "c"])
    longest = (piece * 2_000)[:2_000]
    assert_grows_with_length(lambda message: delta_of_message(message, state, SHOP), longest)


def test_a_person_says_by_buttons_what_they_think_of_shown_items_and_a_model_does_not() -> None:
    state = ConversationState(turn=1).with_shown(["a", "b"])
    edit = {
        "feedback": [{"kind": "liked", "item_ids": ["b", "h"]}, {"kind": "in_cart", "item_ids": "a"}],
        "actions": {"kind": "add_to_cart", "item_ids": "a"},
    }
    read, problems = read_delta(edit, turn=2, source="person")
    checked = check_delta(read, state, SHOP, "")
    assert [(each.kind, each.item_ids) for each in checked.delta.feedback] == [("liked", ("b",))]
    assert [(each.kind, each.item_ids) for each in checked.delta.actions] == [("add_to_cart", ("a",))]
    assert [each.place for each in (*problems, *checked.problems)] == ["feedback.1.kind", "feedback.0"]
    proposed, refused = read_delta(edit, turn=2)
    assert proposed == StateDelta(turn=2)
    assert [each.place for each in refused] == ["feedback", "actions"]


@pytest.mark.parametrize("wrong", ["like", {"kind": "liked"}, {"kind": "liked", "item_ids": [3]}, {"kind": ["liked"]}])
def test_feedback_without_items_is_named(wrong: Any) -> None:
    read, problems = read_delta({"feedback": [wrong]}, turn=1, source="person")
    assert (read, len(problems)) == (StateDelta(turn=1), 1)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("a rug, anything over 50 is too much", {"price <= 50", "maybe type: rug"}),
        ("over 50? no thanks", {"price <= 50"}),
        ("nothing under 20 or over 90", {"price >= 20", "price <= 90"}),
    ],
)
def test_a_bound_is_read_with_the_words_that_refuse_it(words: str, lines: set[str]) -> None:
    assert set(describe_state(say(ConversationState(), words, shop=SHOP))) == lines


@pytest.mark.parametrize("words", ["nothing fancy under 50", "nothing from the 80s", "no 1988 rugs"])
def test_a_bound_or_a_year_that_is_not_read_is_named(words: str) -> None:
    delta = delta_of_message(words, ConversationState(), SHOP)
    assert delta.changes == ()
    assert "not read as a limit" in delta.unresolved[0].reason


def test_a_question_whether_something_lacks_a_value_refuses_none() -> None:
    state = say(ConversationState(), "lamps", shop=SHOP).with_shown(["a", "b"])
    assert say(state, "is it without black?", shop=SHOP).refused == ()


@pytest.mark.parametrize(
    "words", ["a rug, it doesn't have to be under 50 dollars", "I don't mind going over 50 dollars"]
)
def test_a_bound_that_a_negation_leaves_open_is_not_set(words: str) -> None:
    assert not say(ConversationState(), words, shop=SHOP).required


def test_a_refusal_in_other_words_than_the_persons_weighs() -> None:
    shop = small_shop()
    shop.closest = lambda text, n: ["white"][:n] if "bright" in text else []
    excluded = [{"kind": "exclude", "attribute": "colour", "values": ["white"], "hard": True}]
    state, _ = propose(ConversationState(), "a rug, as long as it isn't bright", {"changes": excluded}, shop=shop)
    assert "rather not colour: white" in describe_state(state)
    assert state.refused == ()


@pytest.mark.parametrize(
    "words",
    [
        "don't add the first to my cart",
        "I don't want to add the first to my cart",
        "never put the second in my cart",
        "should I put the first in my cart?",
        "why did you put the first in my cart?",
        "please do not remove the first from my cart",
        "if I add the first to my cart, what is the total?",
        "bitte nicht den ersten in den Warenkorb legen",
        "lege den ersten nicht in den Warenkorb",
        "nimm den ersten nicht aus dem Warenkorb",
        "den ersten nehme ich nicht",
    ],
)
def test_an_action_that_is_not_asked_for_is_not_done_and_named(words: str) -> None:
    state = say(ConversationState(), "lamps", shop=SHOP).with_shown(["a", "b"])
    delta = delta_of_message(words, state.with_feedback("in_cart", ["a"]), SHOP)
    assert (delta.actions, delta.feedback, delta.changes) == ((), (), ())
    assert "not read as a request" in delta.unresolved[0].reason


@pytest.mark.parametrize(
    "words",
    ["add the first to my cart", "can you put the first in the cart?", "I don't like b, add the first to my cart"],
)
def test_an_action_that_is_asked_for_is_requested(words: str) -> None:
    state = say(ConversationState(), "lamps", shop=SHOP).with_shown(["a", "b"])
    assert [each.item_ids for each in delta_of_message(words, state, SHOP).actions] == [("a",)]


@pytest.mark.parametrize("words", ["I don't dislike the first", "I don't hate the second"])
def test_a_dislike_that_is_denied_is_none(words: str) -> None:
    state = say(ConversationState(), "lamps", shop=SHOP).with_shown(["a", "b"])
    assert delta_of_message(words, state, SHOP).feedback == ()


@pytest.mark.parametrize(
    ("words", "removed", "unclear"),
    [
        ("remove the rug and the lamp from my cart", ("e", "a"), []),
        ("take the rug e and the desk lamp out of my cart", ("e", "a"), []),
        ("remove the rug, and the sage green lamp from my cart", ("e",), ["the sage green lamp"]),
    ],
)
def test_what_is_removed_together_is_found_one_by_one(words: str, removed: tuple[str, ...], unclear: list[str]) -> None:
    delta = delta_of_message(words, ConversationState().with_feedback("in_cart", ["e", "a"]), SHOP)
    assert [each.item_ids for each in delta.actions] == [removed]
    assert ([each.words for each in delta.unresolved], delta.changes) == (unclear, ())


def test_black_and_white_in_a_removal_are_not_taken_apart() -> None:
    state = ConversationState().with_feedback("in_cart", ["e", "a"])
    delta = delta_of_message("remove the black and white rug from my cart", state, SHOP)
    assert (delta.actions, len(delta.unresolved)) == ((), 1)


@pytest.mark.parametrize(
    "words", ["no white rugs", "no black lamp under 50 dollars", "I don't want black or white under 50"]
)
def test_a_refusal_that_is_not_applied_is_named(words: str) -> None:
    delta = delta_of_message(words, ConversationState(), SHOP)
    assert delta.changes == ()
    assert any("Nothing is left out" in each.reason for each in delta.unresolved)


def test_away_from_refuses_behind_a_comma() -> None:
    lines = describe_state(say(ConversationState(), "stay under 50, away from black", shop=SHOP))
    assert "not colour: black" in lines


def test_a_long_refusal_takes_steps_in_proportion() -> None:
    def steps(count: int) -> int:
        calls = 0

        def count_call(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count_call)
        try:
            delta_of_message("no " + "black/white/" * count, ConversationState(), SHOP)
        finally:
            sys.setprofile(None)
        return calls

    assert steps(40) < 3 * steps(20)


@pytest.mark.parametrize("words", ["Black, but not black", "nothing black, a black one", "a black one, nothing black"])
def test_a_refusal_wins_over_a_wish_of_the_same_value_and_is_named(words: str) -> None:
    delta = delta_of_message(words, ConversationState(), SHOP)
    state = apply_delta(ConversationState(), delta)
    assert describe_state(state) == ("not colour: black",)
    assert "black" not in delta.said.lower()
    assert any("asks for that and refuses it" in each.reason for each in delta.unresolved)


def test_a_correction_may_ask_for_what_it_refused_and_a_wish_for_several_values_keeps_the_rest() -> None:
    assert describe_state(say(ConversationState(), "not black, sorry, I mean black", shop=SHOP)) == (
        "maybe colour: black",
    )
    state = say(ConversationState(), "a lamp, but no floor lamp", shop=SHOP)
    assert set(describe_state(state)) == {"maybe type: desk lamp", "not type: floor lamp"}


FILMS = ConversationCatalogue(
    Catalogue(
        [
            Item(id=str(at), title=title, attributes={"genre": (genre,), "release_year": float(year)})
            for at, (title, genre, year) in enumerate(
                [
                    ("Star Wars (1977)", "War", 1977),
                    ("Alien (1979)", "Horror", 1979),
                    ("Rocky Horror Picture Show, The (1975)", "Comedy", 1975),
                    ("War, The (1994)", "War", 1994),
                    ("War Comedy (1998)", "Comedy", 1998),
                ]
            )
        ],
        {"genre": "tags", "release_year": "number"},
    )
)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("something like Star Wars but without war", ["not genre: War"]),
        ("without war, like Star Wars", ["not genre: War"]),
        ("something like star wars, no horror", ["not genre: Horror"]),
        ("I loved The Rocky Horror Picture Show", []),
        ("nothing like Star Wars", []),
        ("stars of wars", ["maybe genre: War"]),
        ("War Comedy", ["maybe genre: War", "maybe genre: Comedy"]),
        ("The War", ["maybe genre: War"]),
        ("War, but not war", ["not genre: War"]),
    ],
)
def test_words_inside_a_title_are_no_wish(words: str, known: list[str]) -> None:
    assert describe_state(say(ConversationState(), words, shop=FILMS)) == tuple(known)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("<script>alert(1)</script>", ()),
        ("chapter (1)", ()),
        ("1", ()),
        ("under 2", ()),
        ("I have 1 brother who likes films with much to laugh at", ()),
        ("before 1990", ("release_year <= 1989",)),
        ("1979", ("release_year >= 1979", "release_year <= 1979")),
        ("1980 to 1992", ("release_year >= 1980", "release_year <= 1992")),
    ],
)
def test_a_number_answers_a_question_only_where_it_can(words: str, known: tuple[str, ...]) -> None:
    state = ConversationState().with_question("release_year")
    assert describe_state(say(state, words, shop=FILMS)) == known


def test_a_number_alone_that_is_no_answer_is_named_and_any_budget_is_one() -> None:
    delta = delta_of_message("1", ConversationState().with_question("release_year"), FILMS)
    assert ["1975 to 1998" in each.reason for each in delta.unresolved] == [True]
    state = ConversationState().with_question("price")
    assert describe_state(say(state, "500", shop=SHOP)) == ("price <= 500",)
    assert describe_state(say(state, "40 or so for 12 of my friends and for their children", shop=SHOP)) == ()


@pytest.mark.parametrize(
    ("words", "added"),
    [
        ("put 3 and 4 in my cart", [("c", "d")]),
        ("add #1, 2 and 4 to the basket", [("a", "b", "d")]),
        ("put 2 in my cart", [("b",)]),
        ("put 2 and 9 in my cart", [("b",)]),
        ("put 9 in my cart", []),
    ],
)
def test_items_are_put_into_the_cart_by_their_numbers(words: str, added: list[tuple[str, ...]]) -> None:
    delta = delta_of_message(words, ConversationState().with_shown(list("abcd")), SHOP)
    assert [each.item_ids for each in delta.actions] == added
    assert [each.words for each in delta.unresolved] == (["9"] if "9" in words else [])


@pytest.mark.parametrize(
    ("words", "similar", "liked"),
    [
        ("I liked Alien, more like that", ["1"], ["1"]),
        ("like star wars", ["0"], []),
        ("something like The Rocky Horror Picture Show, but newer", ["2"], []),
        ("similar to the film Rocky Horror Picture Show", ["2"], []),
        ("I loved Star Wars and Alien", [], ["0", "1"]),
        ("I like horror", [], []),  # a title of one word is written with a capital
        ("I'd like war", [], []),
        ("I like War Comedy", [], []),  # which names values and nothing else
        ("I haven't seen Alien, nor liked Alien", [], []),
        ("I never liked Alien", [], []),
        ("nobody liked Alien", [], []),
        ("who liked Alien?", [], []),
        ("did you like Alien?", [], []),
        ("my ex loved Alien, so please not that", [], []),
        ("My wife and I loved Alien", [], ["1"]),
        ("I would like Alien", [], []),  # asks for it
        ("I'd love Alien", [], []),
        ("I'd like something like Alien", ["1"], []),
        ("I like star wars of all kinds", [], []),
        ("i love star wars", [], []),  # any noun may follow
        ("I love Alien films", [], []),
        ("I loved Star Wars 2", [], []),
        ("I hated Alien but loved Star Wars", [], ["0"]),
        ("I hated Alien but want something with snow", [], []),
        ("I liked Alien but want something with snow", ["1"], ["1"]),
        ("I don't mind films like Alien", [], []),
    ],
)
def test_a_title_of_the_catalogue_is_an_example(words: str, similar: list[str], liked: list[str]) -> None:
    state = say(ConversationState(), words, shop=FILMS)
    assert (list(state.similar_to), list(state.items_with("liked"))) == (similar, liked)


@pytest.mark.parametrize(
    ("words", "disliked"),
    [
        ("something not like Star Wars", ["0"]),
        ("I don't want something like Alien", ["1"]),
        ("no films like Alien", ["1"]),
        ("not similar to Alien", ["1"]),
        ("I do not like Alien", ["1"]),
        ("I haven't seen anything like Alien", []),
        ("she hates Alien", []),
    ],
)
def test_what_new_items_are_not_to_resemble_is_disliked(words: str, disliked: list[str]) -> None:
    state = say(ConversationState(), words, shop=FILMS)
    assert (list(state.items_with("disliked")), state.similar_to) == (disliked, ())


@pytest.mark.parametrize(
    ("words", "bought"),
    [("I've already seen Alien", ["1"]), ("I haven't seen Alien", []), ("Have you seen Alien?", [])],
)
def test_what_a_person_has_not_seen_is_not_theirs(words: str, bought: list[str]) -> None:
    assert list(say(ConversationState(), words, shop=FILMS).items_with("bought")) == bought


@pytest.mark.parametrize(
    "words",
    [
        "has to be set in Japan",
        "was looking for something set in Japan",
        "when it is raining I want something cosy",
        "who has a film about chess for me?",
        "Are space movies on your list?",
        "Ist es möglich, eine Kneipe zu sehen?",
        "see you in hell type of story",
    ],
)
def test_a_request_in_the_form_of_a_question_or_farewell_is_kept(words: str) -> None:
    delta = delta_of_message(words, ConversationState(), FILMS)
    assert (delta.unresolved, delta.said_words or delta.said) == ((), words.rstrip("?"))


@pytest.mark.parametrize("words", ["how long is the first?", "who directed Alien?", "Is it dubbed?", "who is in it"])
def test_a_question_before_any_list_is_no_wish(words: str) -> None:
    delta = delta_of_message(words, ConversationState(), FILMS)
    assert (delta.said, delta.changes) == ("", ())
    assert [each.reason.partition(".")[0] for each in delta.unresolved] == ["No list was shown yet"]


@pytest.mark.parametrize(
    "words", ["is there something with robots?", "how about something with robots?", "do you have robots?"]
)
def test_a_question_for_items_is_a_wish(words: str) -> None:
    delta = delta_of_message(words, ConversationState(), FILMS)
    assert "robots" in delta.said or [each.words for each in delta.missing] == ["robots"]
    assert delta.unresolved == ()


def test_what_is_left_of_a_german_message_is_kept_as_it_was_written() -> None:
    delta = delta_of_message("ein Film mit Robotern, keine Horrorfilme, nicht zu lang", ConversationState(), FILMS)
    assert [each.words for each in delta.changes] == ["Horrorfilme"]
    [said] = apply_delta(ConversationState(), delta).said
    assert said.words == "ein Film mit Robotern, nicht zu lang"
    assert said.text != said.words
