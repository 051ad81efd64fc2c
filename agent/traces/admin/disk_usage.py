"""The disk space that runs take, and returning that of deleted runs to the file system."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    LargeBinary,
    String,
    Table,
    Text,
    cast,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from deeprec.agent.traces.store.database import first_line
from deeprec.agent.traces.store.schema import Base, ConversationTurn, Run
from deeprec.agent.traces.store.store import TraceStore

_ROW_BYTES = 60  # keys, numbers and times of a row, roughly; what is counted is scaled to the real size anyway
_PAGES_A_STEP = 500  # of an incremental vacuum: 1 MB, so that writers get their turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimed:
    """How the space of deleted rows was returned to the file system."""

    how: str
    """A phrase for people."""
    bytes: int
    """The number of bytes by which the database shrank."""
    done: bool
    """Whether it could be done. In SQLite, thoroughly: nothing of what was deleted is left in the files."""


def run_tables() -> list[Table]:
    """The table of runs and every table of their parts."""
    return [table for table in Base.metadata.sorted_tables if "run_id" in table.primary_key.columns]


def stored_tables() -> list[Table]:
    """Every table: those of runs, and that of the turns of conversations."""
    return [*run_tables(), Base.metadata.tables[ConversationTurn.__tablename__]]


def run_bytes() -> ColumnElement[int]:
    """The rough size of a run's rows in bytes, with its turn of a conversation, as an expression over `runs`."""
    total = row_bytes(Run.__table__)  # type: ignore[arg-type]
    for table in stored_tables():
        if table is not Run.__table__:
            part = select(func.sum(row_bytes(table))).where(table.c.run_id == Run.run_id).correlate(Run)
            total = total + func.coalesce(part.scalar_subquery(), 0)
    return total


def bytes_scale(connection: Connection) -> float:
    """The bytes in the database, indexes included, for one byte of `run_bytes`."""
    counted = sum(connection.scalar(select(func.sum(row_bytes(table)))) or 0 for table in stored_tables())
    return database_bytes(connection) / counted if counted else 1.0


def database_bytes(connection: Connection) -> int:
    """The size of the tables, without pages that are free."""
    if connection.dialect.name == "sqlite":
        pages, free, size = (
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)
    sizes = (connection.scalar(select(func.pg_total_relation_size(table.name))) for table in stored_tables())
    return sum(int(size or 0) for size in sizes)


def give_back(store: TraceStore, *, thoroughly: bool = False) -> Reclaimed:
    """Return the space of deleted rows to the file system.

    Args:
        store: whose database.
        thoroughly: rewrite a SQLite file whole, so that no byte of what was deleted or changed stays in it. Without
            it free pages are cut off in small steps, between which others can write.
    Returns:
        what was done. A busy database is reported there, and raises nothing.
    """
    database = store.database
    if database.path is None:
        return _vacuum_server(store)
    files = [database.path, database.path.with_name(database.path.name + "-wal")]
    before = sum(file.stat().st_size for file in files if file.exists())
    connection = database.writers.raw_connection()
    try:
        cursor: Any = connection.cursor()
        how = "an incremental vacuum"
        if thoroughly or cursor.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
            how = "a full vacuum"
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of files that an earlier version made
            cursor.execute("VACUUM")
        else:
            while cursor.execute("PRAGMA freelist_count").fetchone()[0]:
                cursor.execute(f"PRAGMA incremental_vacuum({_PAGES_A_STEP})").fetchall()
        busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        cursor.close()
    except sqlite3.Error as error:
        return Reclaimed(how=f"not now: {first_line(error)}", bytes=0, done=False)
    finally:
        connection.close()
    after = sum(file.stat().st_size for file in files if file.exists())
    if busy:
        how += ", but a reader keeps the write-ahead log from being cut"
    return Reclaimed(how=how, bytes=max(0, before - after), done=not busy)


def _vacuum_server(store: TraceStore) -> Reclaimed:
    try:
        with store.database.writers.connect() as connection:
            free = connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in stored_tables():
                free.exec_driver_sql(f"VACUUM {table.name}")
    except SQLAlchemyError as error:  # the runs are gone all the same, and the caller has to report it
        return Reclaimed(how=f"not now: {first_line(error)}", bytes=0, done=False)
    return Reclaimed(how="a vacuum, which keeps the room for new runs", bytes=0, done=True)


def row_bytes(table: Table) -> ColumnElement[int]:
    """The rough size of a row in bytes."""
    total: ColumnElement[Any] = literal(_ROW_BYTES)
    for column in table.c:
        if isinstance(column.type, LargeBinary):
            total = total + func.coalesce(func.length(column), 0)
        elif isinstance(column.type, String | JSON):
            total = total + func.coalesce(func.length(cast(column, Text)), 0)
    return total
