"""The old checkpoints of a thread are deleted, so that a long conversation keeps a bounded store.

LangGraph writes a checkpoint with all of the state for each step of a turn, and deletes none. Those of the latest turns
are what a resumed run and an undo need.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Checkpointer

from deeprec.agent.shopping.postgres_checkpoints import delete_from_postgres, postgres_savers

PARTS = 2
"""How often in `kept_turns` turns old checkpoints are deleted."""
_DELETIONS = (
    "DELETE FROM writes WHERE thread_id = ? AND checkpoint_id < ?",
    "DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_id < ?",
)


class ThreadCheckpoints:
    """Deletes the old checkpoints of an agent's threads in memory, SQLite and PostgreSQL; other savers keep theirs."""

    def __init__(self, checkpointer: Checkpointer, kept_turns: int | None) -> None:
        """Take what keeps the threads, and how many turns keep their checkpoints; None keeps all."""
        self._saver = checkpointer if isinstance(checkpointer, BaseCheckpointSaver) else None
        self._kept_turns = kept_turns

    async def prune(self, config: RunnableConfig, turn: int) -> None:
        """Delete the checkpoints of a thread that are older than its latest turns.

        The threads of a graph that this agent is a part of are that graph's own.

        Args:
            config: The configuration of the node that runs.
            turn: The number of the turn that begins.
        """
        configurable = config.get("configurable", {})
        is_part = "|" in configurable.get("checkpoint_ns", "")
        if self._saver is None or self._kept_turns is None or is_part or turn % max(1, self._kept_turns // PARTS):
            return
        begun = await _begun_turns(self._saver, configurable["thread_id"], self._kept_turns + 1)
        # The parent of a turn's first checkpoint is the last one of the turn before, which an undo goes back to.
        before = begun[-1].parent_config if len(begun) > self._kept_turns else None
        if before is not None:
            await _delete_before(self._saver, configurable["thread_id"], before["configurable"]["checkpoint_id"])


async def _begun_turns(saver: BaseCheckpointSaver[Any], thread: str, limit: int) -> list[CheckpointTuple]:
    """The first checkpoints of the latest turns, the latest turn first; none of a saver that is left alone.

    They are found from parent to parent, so that turns which were undone do not count.
    """
    begun = list[CheckpointTuple]()
    synchronous = (*_sqlite("sync"), *postgres_savers("sync"))
    if not isinstance(saver, (InMemorySaver, *_sqlite("async"), *postgres_savers("async"), *synchronous)):
        return begun
    config: RunnableConfig | None = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    while config is not None and len(begun) < limit:
        if isinstance(saver, synchronous):
            found = await asyncio.to_thread(saver.get_tuple, config)
        else:
            found = await saver.aget_tuple(config)
        if found is None:  # it is deleted
            break
        if found.metadata.get("source") == "input":
            begun.append(found)
        config = found.parent_config
    return begun


async def _delete_before(saver: Any, thread: str, checkpoint_id: str) -> None:
    """Delete the checkpoints of a thread and of its subgraphs that are older than one; ids are in the order of time."""
    if isinstance(saver, InMemorySaver):
        _delete_from_memory(saver, thread, checkpoint_id)
    elif isinstance(saver, (*postgres_savers("async"), *postgres_savers("sync"))):
        await delete_from_postgres(saver, thread, checkpoint_id)
    elif isinstance(saver, _sqlite("async")):
        async with saver.lock:
            for statement in _DELETIONS:
                await saver.conn.execute(statement, (thread, checkpoint_id))
            await saver.conn.commit()
    else:
        with saver.lock:
            for statement in _DELETIONS:
                saver.conn.execute(statement, (thread, checkpoint_id))
            saver.conn.commit()


def _sqlite(kind: Literal["async", "sync"]) -> tuple[type[Any], ...]:
    """LangGraph's saver of SQLite, where its package is installed."""
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    except ImportError:
        return ()
    return (AsyncSqliteSaver,) if kind == "async" else (SqliteSaver,)


def _delete_from_memory(saver: InMemorySaver, thread: str, checkpoint_id: str) -> None:
    spaces = saver.storage[thread]
    for space, kept in list(spaces.items()):
        for each in [each for each in kept if each < checkpoint_id]:
            del kept[each]
            saver.writes.pop((thread, space, each), None)
        versions = {
            (name, version)
            for stored, _, _ in kept.values()
            for name, version in saver.serde.loads_typed(stored)["channel_versions"].items()
        }
        unused = [key for key in list(saver.blobs) if key[:2] == (thread, space) and key[2:] not in versions]
        for key in unused:
            del saver.blobs[key]
        if not kept:
            del spaces[space]
