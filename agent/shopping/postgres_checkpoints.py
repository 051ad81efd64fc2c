"""Old checkpoints of a thread leave LangGraph's savers of PostgreSQL (package `langgraph-checkpoint-postgres`)."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any, Literal

DELETION = """
WITH gone AS (
  DELETE FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_id COLLATE "C" < %(oldest)s
  RETURNING checkpoint_ns, checkpoint -> 'channel_versions' AS versions
), writes AS (
  DELETE FROM checkpoint_writes WHERE thread_id = %(thread)s AND checkpoint_id COLLATE "C" < %(oldest)s
)
DELETE FROM checkpoint_blobs AS blob
USING gone, LATERAL jsonb_each_text(gone.versions) AS used(channel, version)
WHERE blob.thread_id = %(thread)s AND blob.checkpoint_ns = gone.checkpoint_ns
  AND blob.channel = used.channel AND blob.version = used.version
  AND NOT EXISTS (
    SELECT 1 FROM checkpoints AS kept
    WHERE kept.thread_id = blob.thread_id AND kept.checkpoint_ns = blob.checkpoint_ns
      AND kept.checkpoint_id COLLATE "C" >= %(oldest)s
      AND kept.checkpoint -> 'channel_versions' ->> blob.channel = blob.version
  )
"""
"""One statement, so that a saver never holds a checkpoint without its values: what a kept checkpoint uses stays. Values
that a checkpoint in flight uses are new, or those of its parent, which is kept."""


def postgres_savers(kind: Literal["async", "sync"]) -> tuple[type[Any], ...]:
    """LangGraph's saver of PostgreSQL, where its package is installed."""
    try:
        if kind == "async":
            return (import_module("langgraph.checkpoint.postgres.aio").AsyncPostgresSaver,)
        return (import_module("langgraph.checkpoint.postgres").PostgresSaver,)
    except ImportError:
        return ()


async def delete_from_postgres(saver: Any, thread: str, oldest: str) -> None:
    """Delete the checkpoints of a thread and of its subgraphs that are older than one, by a connection or a pool."""
    asked = {"thread": thread, "oldest": oldest}
    if not isinstance(saver, postgres_savers("async")):
        await asyncio.to_thread(_delete, saver, asked)
        return
    from psycopg import AsyncConnection

    async with saver.lock:
        if isinstance(saver.conn, AsyncConnection):
            await saver.conn.execute(DELETION, asked)
            return
        async with saver.conn.connection() as connection:
            await connection.execute(DELETION, asked)


def _delete(saver: Any, asked: dict[str, str]) -> None:
    from psycopg import Connection

    with saver.lock:
        if isinstance(saver.conn, Connection):
            saver.conn.execute(DELETION, asked)
            return
        with saver.conn.connection() as connection:
            connection.execute(DELETION, asked)
