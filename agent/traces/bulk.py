"""Whole runs as plain rows, table by table: what the exports read. SQLAlchemy Core, no records in between."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Table, select

from deeprec.agent.traces.filters import RunFilter, filtered, started_after
from deeprec.agent.traces.schema import Base, Run
from deeprec.agent.traces.sizes import run_tables
from deeprec.agent.traces.store import TraceStore
from deeprec.trm_tool.errors import ConfigError

Rows = dict[str, list[Mapping[str, Any]]]
"""Table -> rows as column -> value, ordered by key."""


def table_of(name: str) -> Table:
    """A table by its name."""
    return Base.metadata.tables[name]


def read_rows(store: TraceStore, where: RunFilter | None = None, *, batch: int = 200) -> Iterator[Rows]:
    """The rows of every run that matches, `batch` runs at a time, oldest first. Each batch is read in one transaction.

    No transaction stays open between two batches. Runs that start meanwhile come at the end.
    """
    key = (Run.started_at, Run.run_id)
    after: tuple[Any, Any] | None = None
    runs: Any = select(Run.__table__).order_by(*key).limit(batch)
    while True:
        chosen = filtered(runs, where)
        if after is not None:
            chosen = started_after(chosen, after)
        with store._read() as session:
            found: Rows = {"runs": _dicts(session.execute(chosen))}
            if not found["runs"]:
                return
            ids: list[UUID] = [row["run_id"] for row in found["runs"]]
            for table in run_tables():
                if table.name != "runs":
                    part = select(table).where(table.c.run_id.in_(ids)).order_by(*table.primary_key.columns)
                    found[table.name] = _dicts(session.execute(part))
        yield found
        if len(ids) < batch:
            return
        last = found["runs"][-1]
        after = last["started_at"], last["run_id"]


def _dicts(result: Any) -> list[Mapping[str, Any]]:
    """The rows of a result; by `mappings()` it would take twice as long."""
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result]


@contextmanager
def staged(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A place beside `path` to write to; what is there moves to `path` when all went well, else it is removed.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        else:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=path.suffix, dir=path.parent)
            os.close(handle)
            staging = Path(name)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Name another place.") from None
    try:
        yield staging
        staging.chmod(0o755 if folder else 0o644)  # the temporary one is nobody else's to read
        if folder and path.is_dir():
            _remove(path)
        staging.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}. Free its disk, or name another."
        ) from None
    finally:
        _remove(staging)


def _remove(path: Path) -> None:
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
