"""Bringing a store's tables to a revision by hand. Opening a store brings them to the newest one by itself."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from deeprec.agent.traces.records import TraceStoreError
from deeprec.agent.traces.store import database
from deeprec.trm_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The steps of a migration; in a dry run those that it would take."""

    before: str | None
    """Revision; None for a database without tables."""
    after: str
    steps: tuple[str, ...]
    """The revisions on the way, in the order in which they are made or undone."""
    down: bool
    dry_run: bool


def migrate(target: str | Path, to: str = "head", *, dry_run: bool = False) -> Migration:
    """Bring the tables of a store to a revision, in one transaction.

    Args:
        target: a SQLite file that is there, or a SQLAlchemy URL.
        to: a revision, or "head" for the newest. Going back loses what the older tables have no room for.
        dry_run: only report.
    Raises:
        ConfigError: no such revision.
        TraceStoreError: no such database, or it is another program's, a newer version's, or cannot be changed.
    """
    url = database.database_url(target)
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        path = database.sqlite_path(url)
        name = str(path)
        if not path.is_file():
            raise TraceStoreError(f"There is no trace store at {path}. Run the agent first, or name another store.")
    engine = database.make_engine(url, name)
    writers = engine.execution_options(**{database.WRITES: True})
    try:
        with (engine if dry_run else writers).begin() as connection:
            config = database.alembic_config(connection)
            scripts = ScriptDirectory.from_config(config)
            before = database.revision_of(connection, scripts, name)
            order = [script.revision for script in reversed(list(scripts.walk_revisions()))]
            after = _named(to, order)
            start, end = (-1 if before is None else order.index(before)), order.index(after)
            down = end < start
            steps = tuple(reversed(order[end + 1 : start + 1])) if down else tuple(order[start + 1 : end + 1])
            if steps and not dry_run:
                (command.downgrade if down else command.upgrade)(config, after)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise TraceStoreError(f"The trace store {name} cannot be migrated: {database.first_line(error)}.") from error
    finally:
        engine.dispose()
    return Migration(before=before, after=after, steps=steps, down=down, dry_run=dry_run)


def _named(to: str, order: list[str]) -> str:
    if to == "head":
        return order[-1]
    if to not in order:
        raise ConfigError(f"{to!r} is not a revision of the trace store. Choose one of {', '.join(order)}, or head.")
    return to
