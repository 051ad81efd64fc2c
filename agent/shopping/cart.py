"""Carts: the interface of a shop's own, and one in memory. What a cart does not confirm, the agent does not claim."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from langchain_core.runnables import RunnableConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CartReceipt:
    """What a cart answers to one request."""

    item_id: str
    done: bool
    """Whether the item is now in the cart, or is now gone from it."""
    detail: str = ""
    """Why it was not done, as a sentence for the person."""


class Cart(Protocol):
    """The carts of a shop. It is called from several threads at once, never from the event loop's own.

    A request may come twice, after a killed process goes on: to add what is there already, and to remove what is not
    there, succeeds and changes nothing.
    """

    def add(self, person: str, item_id: str) -> CartReceipt:
        """Put an item into a person's cart. What it raises counts as an outage of the cart."""

    def remove(self, person: str, item_id: str) -> CartReceipt:
        """Take an item out of a person's cart."""

    def items(self, person: str) -> Sequence[str]:
        """Ids of the items in a person's cart, the oldest first."""


class MemoryCart:
    """Carts that are kept in memory, as long as the process lives."""

    def __init__(self) -> None:
        self._carts: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def add(self, person: str, item_id: str) -> CartReceipt:
        """Put an item into a person's cart."""
        with self._lock:
            cart = self._carts.setdefault(person, [])
            if item_id not in cart:
                cart.append(item_id)
        return CartReceipt(item_id=item_id, done=True)

    def remove(self, person: str, item_id: str) -> CartReceipt:
        """Take an item out of a person's cart."""
        with self._lock:
            self._carts[person] = [each for each in self._carts.get(person, ()) if each != item_id]
        return CartReceipt(item_id=item_id, done=True)

    def items(self, person: str) -> Sequence[str]:
        """Ids of the items in a person's cart, the oldest first."""
        with self._lock:
            return tuple(self._carts.get(person, ()))


def cart_owner(person: str | None, config: RunnableConfig) -> str:
    """The key of a turn's cart: the person's, else the thread's own, else that of the one call."""
    if person:
        return str(person)
    thread = config.get("configurable", {}).get("thread_id")
    return f"thread:{thread}" if thread else f"call:{config.get('run_id') or uuid4()}"
