"""A file whose threads were kept before its carts were: what the threads know is in the carts."""

from pathlib import Path

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from deeprec.agent.shopping import MemoryCart, SqliteCart, build_shopping_agent
from deeprec.agent.shopping.thread_carts import carts_of_threads
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.small_recommender import WordCounts


async def test_a_cart_that_only_the_thread_knows_is_kept(tmp_path: Path) -> None:
    path, shop = tmp_path / "threads.db", WordCounts(catalogue())
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        assert await carts_of_threads(saver) == {}
        for thread, parts in (("t1", {"person": "ann"}), ("t2", {})):
            before = Talk(build_shopping_agent(None, shop, cart=MemoryCart(), checkpointer=saver), thread, **parts)
            await before.says("only white rugs")
            await before.says("add the first to my cart")
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        carts = await carts_of_threads(saver)
        assert carts.keys() == {"ann", "thread:t2"}
        cart = SqliteCart(path, first=carts)
        after = Talk(build_shopping_agent(None, shop, cart=cart, checkpointer=saver), "t1", person="ann")
        reply = await after.says("what is in my cart?")
        assert [card["item_id"] for card in reply["items"]] == list(carts["ann"]) == list(cart.items("ann"))
        await after.says("take the first out of my cart")
        assert cart.items("ann") == ()
        assert await carts_of_threads(saver) == {}  # the carts are the file's own now
        assert SqliteCart(path, first=carts).items("ann") == ()
