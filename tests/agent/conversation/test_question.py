"""The question that parts the candidates most, and when none is worth a turn."""

import math

import pytest

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, describe_state, question_for
from deeprec.trm_tool import Catalogue, Item
from tests.agent.conversation.small_shop import say, small_shop

SHOP = small_shop()
ALL = list("abcdefgh")


def test_the_attribute_with_the_most_information_is_asked_about() -> None:
    question = question_for(ALL, ConversationState(), SHOP, k=3)
    assert question is not None
    # the price has four ranges of two items; the colour 3, 3 and 2 items; the type 4, 2 and 2
    assert question.attribute == "price"
    assert question.bits == pytest.approx(2.0)
    assert [(option.label, option.items) for option in question.options] == [
        ("20 to 20", 2),
        ("30 to 40", 2),
        ("55 to 60", 2),
        ("80 to 90", 2),
    ]


def test_an_attribute_of_words_has_the_entropy_of_its_values() -> None:
    state = say(ConversationState(), "under 100, any features", shop=SHOP)
    question = question_for(ALL, state, SHOP, k=3)
    assert question is not None
    assert question.attribute == "colour"
    assert question.bits == pytest.approx(2 * 3 / 8 * math.log2(8 / 3) + 2 / 8 * math.log2(8 / 2))
    assert [option.items for option in question.options] == [3, 3, 2]


def test_what_is_known_was_asked_or_does_not_matter_is_not_asked_about() -> None:
    state = say(ConversationState(), "under 100, any colour", shop=SHOP).with_question("type")
    question = question_for(ALL, state, SHOP, k=3)
    assert question is None or question.attribute == "features"


def test_no_question_where_no_answer_would_change_the_list() -> None:
    assert question_for(["a", "b", "c"], ConversationState(), SHOP, k=3) is None  # all are shown anyway
    assert question_for([], ConversationState(), SHOP, k=3) is None
    known = say(ConversationState(), "under 100, any colour, any features", shop=SHOP)
    assert question_for(["e", "f", "g", "h"], known, SHOP, k=3) is None  # all of them are rugs


def test_a_range_of_one_number_is_offered_as_the_number() -> None:
    years = [1990.0] * 3 + [1996.0] * 3 + [2000.0, 2001.0, 2003.0]
    items = [Item(id=str(at), title=f"Film {at}", attributes={"year": year}) for at, year in enumerate(years)]
    films = ConversationCatalogue(Catalogue(items, {"year": "number"}))
    question = question_for([item.id for item in items], ConversationState(), films, k=3)
    assert question is not None
    assert [option.label for option in question.options] == ["1990", "1996", "2000", "2001 to 2003"]
    asked = say(ConversationState(), "a film", shop=films).with_question("year")
    assert describe_state(say(asked, "1996", shop=films)) == ("year >= 1996", "year <= 1996")
