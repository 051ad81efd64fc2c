"""A catalogue of eight lamps and rugs, on which one sees what a conversation does."""

from collections.abc import Sequence

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    apply_delta,
    check_delta,
    delta_of_message,
    read_delta,
)
from deeprec.trm_tool import Catalogue, Item

ROWS = (
    ("a", "desk lamp", "black", ("dimmable",), 20.0),
    ("b", "desk lamp", "white", ("dimmable", "foldable"), 30.0),
    ("c", "floor lamp", "black", ("foldable",), 55.0),
    ("d", "floor lamp", "sage green", (), 80.0),
    ("e", "rug", "black", ("washable",), 40.0),
    ("f", "rug", "white", ("washable",), 60.0),
    ("g", "rug", "sage green", ("washable",), 90.0),
    ("h", "rug", "white", (), 20.0),
)


def small_shop() -> ConversationCatalogue:
    items = [
        Item(
            id=key, title=f"{kind} {key}", attributes={"type": kind, "colour": colour, "features": tags, "price": price}
        )
        for key, kind, colour, tags, price in ROWS
    ]
    kinds = {"type": "category", "colour": "category", "features": "tags", "price": "number"}

    def closest(text: str, n: int) -> Sequence[str]:
        return ("sage green", "white")[:n] if text == "teal" else ()

    return ConversationCatalogue(Catalogue(items, kinds), closest)  # type: ignore[arg-type]


def say(state: ConversationState, *messages: str, shop: ConversationCatalogue) -> ConversationState:
    for message in messages:
        state = apply_delta(state, delta_of_message(message, state, shop))
    return state


def propose(
    state: ConversationState, words: str, changes: object, *, shop: ConversationCatalogue
) -> tuple[ConversationState, list[str]]:
    """What a model's delta makes of a state behind a message, and why parts of it were left out."""
    state = say(state, words, shop=shop)
    proposed, problems = read_delta(changes, turn=state.turn)
    checked = check_delta(proposed, state, shop, words)
    return apply_delta(state, checked.delta), [each.reason for each in (*problems, *checked.problems)]
