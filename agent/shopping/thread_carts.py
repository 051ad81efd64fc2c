"""The carts that the threads of a file know of, for a file whose threads were kept before its carts were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deeprec.agent.conversation import read_state
from deeprec.agent.shopping.cart import CART_TABLE, cart_owner
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


async def carts_of_threads(saver: AsyncSqliteSaver) -> dict[str, Sequence[str]]:
    """Read what was in the carts of a file's threads when each was left.

    Returns:
        Owner of a cart -> ids of its items; empty where the file has carts of its own already.
    """
    rows = await saver.conn.execute_fetchall("SELECT 1 FROM sqlite_master WHERE name = ?", (CART_TABLE,))
    if list(rows):
        return {}
    carts: dict[str, Sequence[str]] = {}
    for (thread,) in await saver.conn.execute_fetchall("SELECT DISTINCT thread_id FROM checkpoints"):
        found = await saver.aget_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
        values = {} if found is None else found.checkpoint["channel_values"]
        try:
            items = read_state(values.get("conversation") or {}).items_with("in_cart")
        except ConfigError:  # the thread itself reports it when it goes on
            continue
        owner = cart_owner(values.get("person"), {"configurable": {"thread_id": thread}})
        carts[owner] = tuple(dict.fromkeys((*carts.get(owner, ()), *items)))
    return carts
