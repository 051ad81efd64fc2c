"""Another kind of item takes the place of an earlier one, whichever attributes say what kind an item is."""

import pytest

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, describe_state
from deeprec.trm_tool import Catalogue, Item
from tests.agent.conversation.small_shop import say

ROWS = (
    ("a", "Lighting", "desk lamp", ("lamp", "office"), 120.0),
    ("b", "Lighting", "lantern", ("lamp", "garden"), 40.0),
    ("c", "Kitchen", "kettle", ("kettle", "kitchen"), 50.0),
    ("d", "Kitchen", "teapot", ("teapot", "kitchen"), 30.0),
)


def shop(kinds: str) -> ConversationCatalogue:
    """A shop whose items have a category and a product type, or tags of their class."""
    attributes = [
        {"category": category, "product_type": kind} if kinds == "categories" else {"class": tags}
        for _, category, kind, tags, _ in ROWS
    ]
    items = [
        Item(id=row[0], title=f"{row[2]} {row[0]}", attributes={**each, "price": row[4]})
        for row, each in zip(ROWS, attributes, strict=True)
    ]
    typed = {"category": "category", "product_type": "category"} if kinds == "categories" else {"class": "tags"}
    return ConversationCatalogue(Catalogue(items, {**typed, "price": "number"}))  # type: ignore[arg-type]


CATEGORIES, TAGS = shop("categories"), shop("tags")


@pytest.mark.parametrize(
    ("catalogue", "messages", "known"),
    [
        (CATEGORIES, ("only lighting, at least 100", "a kettle"), ("only product_type: kettle", "price >= 100")),
        (CATEGORIES, ("something from the kitchen", "a desk lamp"), ("maybe product_type: desk lamp",)),
        (CATEGORIES, ("nothing from the kitchen", "a kettle"), ("maybe product_type: kettle",)),
        (CATEGORIES, ("only lighting", "a lantern"), ("only category: Lighting", "maybe product_type: lantern")),
        (CATEGORIES, ("only lighting", "also a kettle"), ("only category: Lighting", "maybe product_type: kettle")),
        (TAGS, ("only lamps, at least 100", "a kettle"), ("only class: kettle", "price >= 100")),
        (TAGS, ("only lamps", "something for the garden"), ("only class: lamp", "maybe class: garden")),
    ],
)
def test_a_kind_that_no_item_has_beside_an_earlier_one_replaces_it(
    catalogue: ConversationCatalogue, messages: tuple[str, ...], known: tuple[str, ...]
) -> None:
    state = say(ConversationState(), *messages, shop=catalogue)
    assert sorted(describe_state(state)) == sorted(known)


def test_words_of_a_replaced_kind_are_retrieved_for_no_more() -> None:
    state = say(ConversationState(), "only lighting", "a kettle", shop=CATEGORIES)
    assert [each.text for each in state.said] == ["a kettle"]
