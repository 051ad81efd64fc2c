"""What came of a conversation's cart: what was asked for and not done, done and not asked for, and claimed falsely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deeprec.evals.simulation.cart_claims import CartClaims
    from deeprec.evals.simulation.cart_requests import CartRequest


@dataclass(slots=True)
class CartRecord:
    """Compares each reply with the cart's contents before and behind it."""

    reader: CartClaims
    items: frozenset[str] = frozenset()
    """Ids of the items in the cart at this moment."""
    asked: int = 0
    """Requests that could be done."""
    missed: list[str] = field(default_factory=list)
    """Those that were not done, in the person's words."""
    unasked: list[str] = field(default_factory=list)
    """Changes of the cart that nobody asked for, a short text each."""
    claims: int = 0
    false_claims: list[str] = field(default_factory=list)

    def note(
        self,
        text: str,
        items: Sequence[str],
        *,
        added: Sequence[str] = (),
        removed: Sequence[str] = (),
        request: CartRequest | None = None,
        meant: str | None = None,
    ) -> None:
        """Note a reply.

        Args:
            text: Its text.
            items: Ids of the items in the cart behind it.
            added: Ids of the items that it claims as data to have put into the cart.
            removed: Those that it claims to have taken out.
            request: What the person asked of the cart.
            meant: Id of the item that the request means; None where it means none that is shown.
        """
        before, after = self.items, frozenset(items)
        about = frozenset() if meant is None else frozenset((meant,))
        claims, false = self.reader.false_claims(text, before, after, tuple(about))
        false += [f"added {item_id}" for item_id in added if item_id not in after]
        false += [f"removed {item_id}" for item_id in removed if item_id in after or item_id not in before]
        self.claims += claims + len(added) + len(removed)
        self.false_claims += false
        wanted = before
        if request is not None:
            wanted = before | about if request.action == "put" else before - about
            wanted = before if request.action == "ask" else wanted
            if request.action == "ask" or wanted != before:
                is_done = self.reader.names(text, after) if request.action == "ask" else not (after ^ wanted) & about
                self.asked += 1
                self.missed += [] if is_done else [request.text]
        self.unasked += [
            f"{item_id} {'came' if item_id in after else 'left'}" for item_id in sorted((after ^ wanted) - about)
        ]
        self.items = after
