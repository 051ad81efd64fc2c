"""Carts: the interface of a shop's own, and two that come with the agent, in memory and in a file.

What a cart does not confirm, the agent does not claim.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from langchain_core.runnables import RunnableConfig

CART_TABLE = "cart_items"
LOCKED_S = 10.0
"""Seconds that a cart in a file waits while another process writes to it."""


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


class SqliteCart:
    """Carts in an SQLite file, which may hold other tables too, such as those of LangGraph's checkpoints."""

    def __init__(self, path: Path | str, *, first: Mapping[str, Sequence[str]] | None = None) -> None:
        """Open the file, or make it.

        Args:
            path: The file.
            first: Person -> ids of items that are put into the person's cart where the file has no carts yet.

        Raises:
            sqlite3.DatabaseError: it is not an SQLite file.
        """
        self._path = str(path)
        rows = [(person, item_id) for person, items in (first or {}).items() for item_id in items]
        with closing(sqlite3.connect(self._path, timeout=LOCKED_S)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (CART_TABLE,)).fetchall():
                connection.execute(
                    f"CREATE TABLE {CART_TABLE} "
                    "(at INTEGER PRIMARY KEY, person TEXT NOT NULL, item_id TEXT NOT NULL, UNIQUE (person, item_id))"
                )
                connection.executemany("INSERT OR IGNORE INTO cart_items (person, item_id) VALUES (?, ?)", rows)

    def add(self, person: str, item_id: str) -> CartReceipt:
        """Put an item into a person's cart."""
        self._run("INSERT OR IGNORE INTO cart_items (person, item_id) VALUES (?, ?)", person, item_id)
        return CartReceipt(item_id=item_id, done=True)

    def remove(self, person: str, item_id: str) -> CartReceipt:
        """Take an item out of a person's cart."""
        self._run("DELETE FROM cart_items WHERE person = ? AND item_id = ?", person, item_id)
        return CartReceipt(item_id=item_id, done=True)

    def items(self, person: str) -> Sequence[str]:
        """Ids of the items in a person's cart, the oldest first."""
        rows = self._run("SELECT item_id FROM cart_items WHERE person = ? ORDER BY at", person)
        return tuple(item_id for (item_id,) in rows)

    def _run(self, statement: str, *values: str) -> list[tuple[str]]:
        with closing(sqlite3.connect(self._path, timeout=LOCKED_S)) as connection, connection:
            return connection.execute(statement, values).fetchall()


def cart_owner(person: str | None, config: RunnableConfig) -> str:
    """The key of a turn's cart: the person's, else the thread's own, else that of the one call."""
    if person:
        return str(person)
    thread = config.get("configurable", {}).get("thread_id")
    return f"thread:{thread}" if thread else f"call:{config.get('run_id') or uuid4()}"
