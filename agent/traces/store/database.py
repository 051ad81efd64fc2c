"""Opening the database of a trace store: pragmas, transactions, migrations, and who the file belongs to."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from deeprec.agent.traces.records import TraceStoreError
from deeprec.agent.traces.store.schema import Base

VERSION_TABLE = "deeprec_traces_version"
BUSY_TIMEOUT_MS = 10_000
"""Longest wait of a write for another one."""
CONNECT_TIMEOUT_S = 10
PAGE_BYTES = 2048
"""Page size of a new SQLite file. A turn takes some kilobytes, which waste less of small pages."""
CHECKPOINT_PAGES = 4000
"""Pages of the log after which a writer folds it into the file and waits for the disk."""
_LOCK_KEY = 0x0DEE9
WRITES = "deeprec_writes"


@dataclass(frozen=True, slots=True)
class Database:
    """An open database: two faces of one connection pool, and the file behind it."""

    readers: Engine
    """Its transactions read."""
    writers: Engine
    """Its transactions take the write lock when they begin, so that none has to be upgraded half-way."""
    path: Path | None = None
    """SQLite's file; None for a server."""
    inode: int = 0

    def check_in_place(self) -> None:
        """Check that SQLite's file is the one that was opened: connections write into a deleted one without an error.

        Raises:
            TraceStoreError: SQLite's file is no longer there, or is another one.
        """
        if self.path is None:
            return
        try:
            in_place = self.path.stat().st_ino == self.inode
        except OSError:
            in_place = False
        if not in_place:
            raise TraceStoreError(f"The trace store {self.path} was removed or replaced since it was opened.")


def check_stored(target: str | Path) -> None:
    """Raise TraceStoreError when no store is there: a path of a SQLite file, or the URL of one. Nothing is opened."""
    url = database_url(target)
    if url.get_backend_name() == "sqlite" and not (path := sqlite_path(url)).exists():
        raise TraceStoreError(f"There is no trace store at {path}. Run the agent first, or name another store.")


def open_database(target: str | Path, *, create: bool) -> Database:
    """Open a store's database and bring its tables up to date.

    Args:
        target: a file path, or a SQLAlchemy URL.
        create: make the database where there is none; otherwise that is an error.
    Raises:
        TraceStoreError: no such database, a file that is none, one that belongs to another program or to a newer
            version of this one, or one that cannot be opened.
    """
    if not create:
        check_stored(target)
    url = database_url(target)
    path: Path | None = None
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        path = sqlite_path(url)
        name = str(path)
        if path.exists() and not path.is_file():
            raise TraceStoreError(f"The trace store {path} is not a file. Name a SQLite file or a database URL.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TraceStoreError(f"The trace store {path} cannot be made: {error}.") from error
    engine = make_engine(url, name)
    readers, writers = engine, engine.execution_options(**{WRITES: True})
    if url.get_backend_name() == "postgresql":
        # Several queries of one reader see one state of the database, as in SQLite.
        readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    try:
        _migrate(readers, writers, name)
        if path is not None:
            _use_wal(readers)
            readers.dispose()  # a connection that has migrated may keep a statement open, which stops a checkpoint
    except (SQLAlchemyError, sqlite3.Error) as error:
        readers.dispose()
        raise TraceStoreError(f"The trace store {name} cannot be opened: {first_line(error)}.") from error
    except BaseException:
        readers.dispose()
        raise
    return Database(readers, writers, path, 0 if path is None else path.stat().st_ino)


def make_engine(url: URL, name: str) -> Engine:
    """A pool of connections, each set up as it opens."""
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url)
            event.listen(engine, "connect", _set_pragmas)
            event.listen(engine, "begin", _begin)
        elif url.get_backend_name() == "postgresql":
            # A server may restart between two steps of a run; a packet to one that is gone is not waited for.
            timeouts = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": 3000 * CONNECT_TIMEOUT_S}
            unsaid = {name: value for name, value in timeouts.items() if name not in url.query}
            engine = create_engine(url, pool_pre_ping=True, connect_args=unsaid)
            event.listen(engine, "connect", _set_lock_timeout)
        else:
            engine = create_engine(url)
    except ImportError as error:
        what = "its driver, psycopg, is not installed. Install it with: pip install 'deeprec-agent[postgres]'"
        if "psycopg" not in str(error):
            what = first_line(error)
        raise TraceStoreError(f"The trace store {name} cannot be opened: {what}.") from error
    except ArgumentError as error:
        raise TraceStoreError(f"The trace store {name} cannot be opened: {first_line(error)}.") from error
    return engine


def first_line(error: BaseException) -> str:
    """The first line of the database's own error, without SQLAlchemy's statement and its link."""
    return (str(getattr(error, "orig", None) or error) or type(error).__name__).splitlines()[0].rstrip(".")


def alembic_config(connection: Connection) -> Config:
    """Alembic's settings for the packaged migrations, on an open connection."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def database_url(target: str | Path) -> URL:
    """The URL of a store's database.

    Raises:
        TraceStoreError: a URL that cannot be read, or one of another database or driver.
    """
    if isinstance(target, Path) or "://" not in target:
        return URL.create("sqlite", database=str(Path(target).expanduser()))
    try:
        url = make_url(target)
    except ArgumentError as error:
        raise TraceStoreError(f"{target!r} is not a database URL: {first_line(error)}.") from error
    kind, name = url.get_backend_name(), url.render_as_string(hide_password=True)
    if kind not in ("sqlite", "postgresql", "postgres"):
        raise TraceStoreError(f"{name} is in {kind!r}; a trace store is a SQLite file or a PostgreSQL database.")
    if kind == "postgresql" and url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise TraceStoreError(f"{name} names another driver, and a trace store takes psycopg 3: write postgresql://.")
    # psycopg 3 under both names that servers hand out; SQLAlchemy before 2.1 takes the first for psycopg2.
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def sqlite_path(url: URL) -> Path:
    """The file of a SQLite database.

    Raises:
        TraceStoreError: it has none, because it is in memory.
    """
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise TraceStoreError("A trace store needs a file: an in-memory database ends with its connection.")
    return Path(url.database)


def _set_pragmas(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # `_begin` starts each transaction, DDL included
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:  # settings that only an empty file takes
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # pruning gives room back in steps, beside the writers
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL: a killed process loses nothing that was committed
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")


def _set_lock_timeout(connection: Any, _: ConnectionPoolEntry) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
    connection.commit()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(engine: Engine) -> None:
    """Readers beside a writer. The mode stays with the file, so that most opens find it set."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        patience = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                cursor.execute("PRAGMA journal_mode=WAL").fetchall()
            except sqlite3.OperationalError:  # others who open it just now; SQLite does not wait for them here
                if time.monotonic() > patience:
                    raise
                time.sleep(0.02)
        cursor.close()
    finally:
        connection.close()


def _migrate(readers: Engine, writers: Engine, name: str) -> None:
    with readers.connect() as connection:
        config = alembic_config(connection)
        scripts = ScriptDirectory.from_config(config)
        head = scripts.get_current_head()
        if revision_of(connection, scripts, name) == head:
            return
    with writers.begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's write lock is taken already
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
        if revision_of(connection, scripts, name) != head:  # nobody else was faster
            command.upgrade(alembic_config(connection), "head")


def revision_of(connection: Connection, scripts: ScriptDirectory, name: str) -> str | None:
    """The revision that the database is at, None for an empty one."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        if connection.dialect.name == "sqlite" and tables:
            raise TraceStoreError(
                f"{name} is not a trace store: it holds another program's tables ({', '.join(sorted(tables)[:3])}). "
                "Nothing was changed; name another file."
            )
        taken = sorted(tables & set(Base.metadata.tables))
        if taken:
            raise TraceStoreError(
                f"The database {name} has tables of another program under names that the trace store needs "
                f"({', '.join(taken)}). Nothing was changed; make a schema for the traces and name it in the URL: "
                "?options=-csearch_path%3Ddeeprec."
            )
        return None
    revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise TraceStoreError(
            f"The trace store {name} is at revision {str(revision)!r}, which this version does not know "
            f"(its newest is {scripts.get_current_head()!r}). Upgrade deeprec-agent to open it."
        )
    return revision
