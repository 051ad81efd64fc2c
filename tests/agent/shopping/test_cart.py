"""The carts that come with the agent."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deeprec.agent.shopping import Cart, MemoryCart, SqliteCart


@pytest.fixture(params=["memory", "file"])
def cart(request: pytest.FixtureRequest, tmp_path: Path) -> Cart:
    return MemoryCart() if request.param == "memory" else SqliteCart(tmp_path / "threads.db")


def test_a_cart_has_each_item_once_in_order_and_is_one_persons(cart: Cart) -> None:
    for item_id in ("b", "a", "b"):
        assert cart.add("ann", item_id).done
    cart.add("bo", "c")
    assert (tuple(cart.items("ann")), tuple(cart.items("bo")), tuple(cart.items("eve"))) == (("b", "a"), ("c",), ())
    assert cart.remove("ann", "b").done
    assert cart.remove("ann", "not there").done
    cart.add("ann", "b")
    assert tuple(cart.items("ann")) == ("a", "b")


def test_many_threads_use_it_at_once(cart: Cart) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: cart.add("ann", str(number % 20)), range(60)))
    assert sorted(cart.items("ann"), key=int) == [str(number) for number in range(20)]


def test_a_cart_in_a_file_is_there_again(tmp_path: Path) -> None:
    SqliteCart(tmp_path / "threads.db").add("ann", "'; DROP TABLE cart_items; --")
    assert SqliteCart(str(tmp_path / "threads.db")).items("ann") == ("'; DROP TABLE cart_items; --",)
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        SqliteCart(tmp_path / "notes.txt")
