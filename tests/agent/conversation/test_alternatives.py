"""Wishes that "or" joins stay alternatives in the turns that follow."""

import pytest

from deeprec.agent.conversation import ConversationState, describe_state, read_state
from tests.agent.conversation.small_shop import say, small_shop

SHOP = small_shop()


@pytest.mark.parametrize(
    ("messages", "known"),
    [
        (("white or foldable lamps",), ["maybe colour: white, or features: foldable", "maybe type: *"]),
        (
            ("white or foldable lamps", "under 60"),
            ["price <= 59", "maybe colour: white, or features: foldable", "maybe type: *"],
        ),
        (("black or dimmable", "any colour"), ["maybe features: dimmable"]),
        (("black or dimmable", "actually washable or white"), ["maybe features: washable, or colour: white"]),
        (("black and dimmable",), ["maybe colour: black", "maybe features: dimmable"]),
        (("something foldable", "or washable"), ["maybe features: foldable or washable"]),
        (("it must be foldable", "or washable"), ["only features: foldable or washable"]),
        (
            ("something dimmable", "it must be foldable", "or washable"),
            ["maybe features: dimmable", "only features: foldable or washable"],
        ),
        (("black or foldable", "or white"), ["maybe features: foldable, or colour: black or white"]),
        (("black lamps or white rugs",), ["maybe colour: black or white", "maybe type: *"]),
        (("something foldable", "and washable"), ["maybe features: foldable", "maybe features: washable"]),
    ],
)
def test_alternatives_share_a_line_of_what_is_known(messages: tuple[str, ...], known: list[str]) -> None:
    state = say(ConversationState(), *messages, shop=SHOP)
    lines = [line if not line.startswith("maybe type") else "maybe type: *" for line in describe_state(state)]
    assert sorted(lines) == sorted(known)


def test_a_state_that_was_kept_before_alternatives_is_read() -> None:
    state = say(ConversationState(), "white or foldable lamps", shop=SHOP)
    kept = state.to_dict()
    assert read_state(kept) == state
    for each in kept["preferred"]:
        del each["alternative"]
    assert {each.alternative for each in read_state(kept).preferred} == {0}
