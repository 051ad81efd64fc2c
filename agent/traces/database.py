"""Opening the database of a trace store: pragmas, transactions, migrations, and who the file belongs to."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from deeprec.agent.traces.records import TraceStoreError

VERSION_TABLE = "deeprec_traces_version"
BUSY_TIMEOUT_MS = 10_000
_WRITES = "deeprec_writes"


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
        """Open connections would go on writing into a file that was deleted, without a word.

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


def open_database(target: str | Path, *, create: bool) -> Database:
    """Open a store's database and bring its tables up to date.

    Args:
        target: a file path, or a SQLAlchemy URL.
        create: make the database where there is none; otherwise that is an error.
    Raises:
        TraceStoreError: no such database, a file that is none, one that belongs to another program or to a newer
            version of this one, or one that cannot be opened.
    """
    url = _url(target)
    path: Path | None = None
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        path = _sqlite_path(url)
        name = str(path)
        if not path.is_file():
            if path.exists():
                raise TraceStoreError(f"The trace store {path} is not a file. Name a SQLite file or a database URL.")
            if not create:
                raise TraceStoreError(
                    f"There is no trace store at {path}. Run the agent first, or name it with --store."
                )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TraceStoreError(f"The trace store {path} cannot be made: {error}.") from error
    try:
        readers = create_engine(url)
    except (ArgumentError, ImportError) as error:
        raise TraceStoreError(f"The trace store {name} cannot be opened: {first_line(error)}.") from error
    if path is not None:
        event.listen(readers, "connect", _set_pragmas)
        event.listen(readers, "begin", _begin)
    writers = readers.execution_options(**{_WRITES: True})
    try:
        _migrate(readers, writers, name)
        if path is not None:
            _use_wal(readers)
    except (SQLAlchemyError, sqlite3.Error) as error:
        readers.dispose()
        raise TraceStoreError(f"The trace store {name} cannot be opened: {first_line(error)}.") from error
    except BaseException:
        readers.dispose()
        raise
    return Database(readers, writers, path, 0 if path is None else path.stat().st_ino)


def first_line(error: BaseException) -> str:
    """What the database said, without SQLAlchemy's statement and its link."""
    return (str(getattr(error, "orig", None) or error) or type(error).__name__).splitlines()[0].rstrip(".")


def alembic_config(connection: Connection) -> Config:
    """Alembic's settings for the packaged migrations, on an open connection."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _url(target: str | Path) -> URL:
    if isinstance(target, Path) or "://" not in target:
        return URL.create("sqlite", database=str(Path(target).expanduser()))
    try:
        return make_url(target)
    except ArgumentError as error:
        raise TraceStoreError(f"{target!r} is no database URL: {first_line(error)}.") from error


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise TraceStoreError("A trace store needs a file: an in-memory database ends with its connection.")
    return Path(url.database)


def _set_pragmas(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # `_begin` says how each transaction starts, DDL included
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL: a killed process loses nothing that was committed
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:  # it can be set before the first table only
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # pruning gives room back in steps, beside the writers


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(engine: Engine) -> None:
    """Readers beside a writer. The mode stays with the file, so that most opens find it set."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()
    finally:
        connection.close()


def _migrate(readers: Engine, writers: Engine, name: str) -> None:
    with readers.connect() as connection:
        config = alembic_config(connection)
        scripts = ScriptDirectory.from_config(config)
        head = scripts.get_current_head()
        if _revision(connection, scripts, name) == head:
            return
    with writers.begin() as connection:
        if _revision(connection, scripts, name) != head:  # nobody else was faster
            command.upgrade(alembic_config(connection), "head")


def _revision(connection: Connection, scripts: ScriptDirectory, name: str) -> str | None:
    """The revision that the database is at, None for an empty one."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        if tables:
            raise TraceStoreError(
                f"{name} is not a trace store: it holds another program's tables ({', '.join(sorted(tables)[:3])}). "
                "Nothing was changed; name another file."
            )
        return None
    revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise TraceStoreError(
            f"The trace store {name} is at revision {str(revision)!r}, which this version does not know "
            f"(its newest is {scripts.get_current_head()!r}). Upgrade deeprec-agent to open it."
        )
    return revision
