"""Readers over many runs at once that all see the store as it was when the first of them read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from deeprec.agent.traces.records import CaseRecord, TraceStoreError
from deeprec.agent.traces.store.columns import read_columns
from deeprec.agent.traces.store.filters import RunFilter, filtered
from deeprec.agent.traces.store.rows import load_cases
from deeprec.agent.traces.store.schema import Base, Recommendation, Run

_BLOCK = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCount:
    """The number of runs with the same values in some columns."""

    values: tuple[Any, ...]
    """One for each column that was counted by, in the order given."""
    runs: int
    first: datetime
    """Start of the oldest of them."""
    last: datetime
    """Start of the newest of them."""


class Snapshot:
    """One transaction that reads; `TraceStore.snapshot` opens it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def columns(
        self,
        table: str,
        names: Sequence[str],
        where: RunFilter | None = None,
        *,
        more: Mapping[str, ColumnElement[Any]] | None = None,
    ) -> dict[str, Any]:
        """Read columns of one table, for the runs that match.

        Args:
            table: "runs", or a table of their parts: "turns", "retrievals", "retrieved_items", "recommendations",
                "rewards", "metrics", "cases".
            names: of its columns.
            where: which runs; None for all.
            more: name -> further expressions over the table.
        Returns:
            name -> a column (`columns.py`). Runs come oldest first, rows of parts in the order of their key.
        Raises:
            TraceStoreError: a value that its column cannot hold.
        """
        found = Base.metadata.tables[table]
        query: Select[Any] = select(*(found.c[name] for name in names))
        order: Sequence[Any] = (found.c.started_at, found.c.run_id) if table == "runs" else tuple(found.primary_key)
        if table == "runs":
            query = filtered(query, where)
        elif where is not None:
            query = query.where(found.c.run_id.in_(filtered(select(Run.run_id), where)))
        chosen = {name: found.c[name] for name in names} | dict(more or {})
        return read_columns(self._connection, chosen, query.order_by(*order))

    def runs(self, names: Sequence[str], where: RunFilter | None = None) -> Iterator[Row[Any]]:
        """Read columns of `runs` for the runs that match, oldest first, one named row a run."""
        query = filtered(select(*(getattr(Run, name) for name in names)), where).order_by(Run.started_at, Run.run_id)
        yield from self._connection.execute(query, execution_options={"yield_per": _BLOCK})

    def count_runs(self, *by: str, where: RunFilter | None = None) -> list[RunCount]:
        """Count the runs that match by columns of `runs`; what was run last comes last."""
        columns = [getattr(Run, name) for name in by]
        first, last = func.min(Run.started_at), func.max(Run.started_at)
        query = filtered(select(*columns, func.count(), first, last).select_from(Run), where)
        return [
            RunCount(values=tuple(values), runs=runs, first=began, last=ended)
            for *values, runs, began, ended in self._connection.execute(query.group_by(*columns).order_by(last))
        ]

    def newest_label(self, suite: str) -> str:
        """The label of a suite that was run last; `suite` is its name, or the label itself.

        Raises:
            TraceStoreError: the store has no runs of it.
        """
        labels = self.count_runs("suite", where=RunFilter(suite=suite))
        if not labels:
            raise TraceStoreError(
                f"The trace store has no runs of a suite {suite[:80]!r}. Run it first: `deeprec eval run {suite[:80]}`."
            )
        return str(labels[-1].values[0])

    def cases(self, run_ids: Sequence[UUID]) -> dict[UUID, CaseRecord]:
        """The cases of some runs; runs that have none are missing."""
        return load_cases(self._connection, run_ids)

    def count_items(self, where: RunFilter | None = None) -> dict[str | None, int]:
        """System -> how many different items the lists of its runs show."""
        shown: Any = select(Run.system, func.count(Recommendation.item_id.distinct()).label("items"))
        shown = shown.join(Recommendation, Run.run_id == Recommendation.run_id)
        shown = filtered(shown, where).where(Recommendation.listing == "recommended").group_by(Run.system)
        return {row.system: row.items for row in self._connection.execute(shown)}
