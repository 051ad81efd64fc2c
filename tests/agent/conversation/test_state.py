"""The state as data: a strict reader, feedback, and what retrievals get of it."""

import json
from typing import Any

import pytest

from deeprec.agent.conversation import (
    ConversationState,
    StatedCondition,
    describe_state,
    items_in_order,
    read_state,
    retrieval_terms,
    state_difference,
)
from deeprec.trm_tool import ConfigError
from tests.agent.conversation.small_shop import say, small_shop

SHOP = small_shop()


def test_a_state_survives_json() -> None:
    state = say(ConversationState(), "a black lamp under 50, nothing foldable", shop=SHOP).with_shown(["a", "c"])
    state = say(state, "I like the second, only cheaper", "the cheapest lamp", shop=SHOP).with_question("features")
    assert state.required
    assert state.refused
    assert state.preferred
    assert state.order
    assert read_state(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"budget": 3}, "budget"),
        ({"turn": "1"}, "turn"),
        ({"required": [{"attribute": "price"}]}, "required.0"),
        ({"required": [{"attribute": "price", "maximum": 5, "weight": 1}]}, "weight"),
        ({"refused": [{"attribute": "price", "maximum": 5}]}, "price"),
        ({"feedback": [{"item_id": "a", "kind": "adored", "turn": 1}]}, "feedback.0.kind"),
        ({"required": [{"attribute": "price", "maximum": float("nan")}]}, "JSON"),
        ({"similar_to": [{1, 2}]}, "JSON"),
        ([], "mapping"),
    ],
)
def test_a_state_that_is_no_state_is_refused_in_one_line(wrong: Any, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_state(wrong)
    assert named in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_condition_has_values_or_one_end() -> None:
    for wrong in ({}, {"values": ("a",), "minimum": 1.0}, {"minimum": 1.0, "maximum": 2.0}, {"maximum": float("inf")}):
        with pytest.raises(ConfigError, match="price"):
            StatedCondition(attribute="price", **wrong)  # type: ignore[arg-type]


def test_what_was_bought_disliked_or_in_the_cart_does_not_come_back_and_taste_reaches_the_history() -> None:
    state = ConversationState().with_feedback("liked", ["a"]).with_feedback("in_cart", ["b"])
    state = state.with_feedback("disliked", ["c"]).with_feedback("bought", ["d"])
    terms = retrieval_terms(state)
    assert set(terms.exclude) == {"b", "c", "d"}
    assert terms.history == ("a", "b", "d")
    changed = state.with_feedback("liked", ["c"])
    assert changed.items_with("disliked") == ()
    assert changed.without_feedback("in_cart", ["b"]).items_with("in_cart") == ()


def test_constraints_that_one_condition_cannot_say_are_all_kept() -> None:
    state = say(ConversationState(), "only foldable", "it must be dimmable as well", shop=SHOP)
    terms = retrieval_terms(state)
    assert SHOP.passing(terms.hard) == ("b",)
    assert terms.where == {"features": {"in": ["dimmable"]}}


def test_a_superlative_is_answered_within_what_weighs_and_equals_stand_side_by_side() -> None:
    state = say(ConversationState(), "the cheapest rug", shop=SHOP)
    assert items_in_order(state, SHOP)[0] == "h"
    state = say(state, "and the cheapest thing you have", shop=SHOP)
    assert set(items_in_order(state, SHOP)[:2]) == {"a", "h"}
    assert items_in_order(ConversationState(), SHOP) == ()


def test_nobody_claims_a_change_that_did_not_happen() -> None:
    before = say(ConversationState(), "a black rug under 50", shop=SHOP)
    assert describe_state(before) == ("price <= 49", "maybe colour: black", "maybe type: rug")
    assert not state_difference(before, say(before, "hmm, thanks", shop=SHOP))
    after = say(before, "never mind the price", shop=SHOP)
    assert state_difference(before, after).removed == ("price <= 49",)


def test_a_thread_of_many_turns_stays_bounded() -> None:
    state = ConversationState()
    for turn in range(200):
        state = say(state, f"a rug for my quiet corner {turn}, in white", shop=SHOP).with_shown(list("abcdefgh"))
    assert state.turn == 200
    assert len(json.dumps(state.to_dict())) < 40_000
    assert describe_state(state) == ("maybe type: rug", "maybe colour: white")


def test_a_condition_that_makes_no_sense_is_named_in_the_words_of_its_check() -> None:
    both = {"required": [{"attribute": "price", "values": ["low"], "maximum": 5.0}]}
    with pytest.raises(
        ConfigError, match=r"at required\.0: A condition on 'price' has 1 values .* maximum\. Give what"
    ):
        read_state(both)
    with pytest.raises(ConfigError) as ended:
        read_state(both)
    assert "Value error" not in str(ended.value)
