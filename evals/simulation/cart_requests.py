"""What a content person asks of the cart: to put items into it, to take them out, to say what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from numpy.random import Generator

    from deeprec.evals.simulation.person_words import PersonWords

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
"""Names of positions. A person names no number that could be one of the target."""

CartAction = Literal["put", "take_out", "ask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CartRequest:
    """One request. Whether it can be done depends on what is shown and in the cart once it is said."""

    action: CartAction
    text: str
    position: int | None = None
    """Position of the item in the list that the person sees, from 1; None where they mean no item of it."""


def draw_cart_requests(words: PersonWords, shown: int, accepted: int, rng: Generator) -> list[CartRequest]:
    """Draw the requests of a person who accepted an item, in the order in which they make them.

    They put the accepted item and another one into the cart, ask for something that cannot be done (an item beyond the
    list, one that was never shown, or the removal of one that is not in the cart), take an item out again, and ask what
    is in the cart.

    Args:
        words: Their sentences; a set without sentences about a cart gives no requests.
        shown: Items in the list that they see.
        accepted: Position of the accepted item in it, from 1.
        rng: Draws positions and sentences.
    """
    if not (words.puts and words.puts_unseen and words.takes_out and words.asks_cart):
        return []

    def request(action: CartAction, ways: tuple[str, ...], position: int | None = None) -> CartRequest:
        way = ways[int(rng.integers(len(ways)))]
        ordinal = ORDINALS[position - 1] if position else ""
        return CartRequest(action=action, text=way.format(position=ordinal), position=position)

    others = [position for position in range(1, shown + 1) if position != accepted]
    rng.shuffle(others)
    puts = [accepted, *others[:1]]
    cannot = [request("put", words.puts_unseen)]
    if shown < len(ORDINALS):
        cannot.append(request("put", words.puts, int(rng.integers(shown + 1, len(ORDINALS) + 1))))
    if others[1:]:
        cannot.append(request("take_out", words.takes_out, others[1]))
    return [
        *(request("put", words.puts, position) for position in puts),
        cannot[int(rng.integers(len(cannot)))],
        request("take_out", words.takes_out, puts[int(rng.integers(len(puts)))]),
        request("ask", words.asks_cart),
    ]
