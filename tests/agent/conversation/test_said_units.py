"""Bounds with a unit, on attributes that have one in their names."""

import pytest

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, delta_of_message
from deeprec.trm_tool import Catalogue, Item


@pytest.fixture(scope="module")
def tents() -> ConversationCatalogue:
    items = [
        Item(id=str(n), title=f"Tent {n}", attributes={"weight_g": 99.5 * n, "price": 20.5 * n}) for n in range(1, 30)
    ]
    return ConversationCatalogue(Catalogue(items, {"weight_g": "number", "price": "number"}), None)


@pytest.mark.parametrize(
    ("message", "maximum"),
    [
        ("nothing above 2 kg", 2000.0),
        ("at most 1600 g", 1600.0),
        ("weight at most 1.6 kg please", 1600.0),
    ],
)
def test_a_unit_decides_the_attribute_and_the_scale(tents: ConversationCatalogue, message: str, maximum: float) -> None:
    [change] = delta_of_message(message, ConversationState(), tents).changes
    assert (change.attribute, change.minimum, change.maximum, change.hard) == ("weight_g", None, maximum, True)


def test_a_unit_of_something_else_bounds_nothing(tents: ConversationCatalogue) -> None:
    delta = delta_of_message("under 90 minutes", ConversationState(), tents)
    assert not delta.changes
    assert [each.words for each in delta.missing] == ["under 90 minutes"]
