"""Whole runs as plain rows, table by table: what the exports read. SQLAlchemy Core, no records in between."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Select, Table, select

from deeprec.agent.traces.admin.disk_usage import run_tables
from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.store.conversations import conversations_like
from deeprec.agent.traces.store.filters import RunFilter
from deeprec.agent.traces.store.schema import Base, Run
from deeprec.agent.traces.store.store import TraceStore
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import replace_folder

Rows = dict[str, list[Mapping[str, Any]]]
"""Table -> rows as column -> value, ordered by key."""


def table_of(name: str) -> Table:
    """A table by its name."""
    return Base.metadata.tables[name]


def read_rows(store: TraceStore, where: RunFilter | None = None, *, batch: int = 200) -> Iterator[Rows]:
    """The rows of every run that matches, `batch` runs at a time, oldest first. Each batch is read in one transaction.

    No transaction stays open between two batches. Runs that start meanwhile come at the end.
    """
    return store.pages(load_rows, where, batch)


def load_rows(connection: Connection, page: Select[Any]) -> list[Rows]:
    """All rows of the runs that `page` selects, as the one element of a list."""
    found: Rows = {"runs": _dicts(connection.execute(page.with_only_columns(*Run.__table__.c)))}
    ids = [row["run_id"] for row in found["runs"]]
    for table in run_tables():
        if table.name != "runs":
            part = select(table).where(table.c.run_id.in_(ids)).order_by(*table.primary_key.columns)
            found[table.name] = _dicts(connection.execute(part))
    return [found]


def turns_beside(store: TraceStore, where: RunFilter | None = None) -> Iterator[ConversationTurn]:
    """The turns of conversations that are exported beside the runs that match, the oldest conversation first."""
    chosen = conversations_like(where)
    for trace in () if chosen is None else store.conversation_traces(chosen):
        yield from trace.turns


def _dicts(result: Any) -> list[Mapping[str, Any]]:
    """The rows of a result; by `mappings()` it would take twice as long."""
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result]


@contextmanager
def staged(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A place beside `path` to write to; what is there moves to `path` when all went well, else it is removed.

    Who may read it is decided by the user's umask, as for any other new file: it holds what people wrote.

    Raises:
        ConfigError: it cannot be made, or cannot take the place of `path`.
    """
    try:
        path = path.resolve() if folder else path
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.parent / f".{path.name[:100]}-{uuid4().hex}{path.suffix}"
        if folder:
            staging.mkdir()
        else:
            staging.touch(exist_ok=False)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Name another place.") from None
    try:
        yield staging
        if folder:
            replace_folder(staging, path)
        else:
            staging.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}. Free its disk, or name another."
        ) from None
    finally:
        if folder:
            shutil.rmtree(staging, ignore_errors=True)
        else:
            staging.unlink(missing_ok=True)
