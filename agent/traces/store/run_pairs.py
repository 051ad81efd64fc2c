"""Pairs of runs of one group, of which one earned more than the other, kept in sets that have names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import cast
from uuid import UUID

from sqlalchemy import Table, delete, insert, select

from deeprec.agent.traces.records import TraceStoreError
from deeprec.agent.traces.store import schema
from deeprec.agent.traces.store.codec import storable
from deeprec.agent.traces.store.filters import RunNotFoundError
from deeprec.agent.traces.store.store import TraceStore

_MOST_IDS = 500
"""Ids in one query: databases bound how many values it may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPair:
    """Two runs of a group, of which the chosen one earned more than the rejected one."""

    chosen_id: UUID
    rejected_id: UUID
    reward: str
    """The reward by which they differ, as `scheme.component`."""
    chosen_reward: float
    rejected_reward: float
    margin: float = 0.0
    """The smallest gap of two rewards that makes a pair of this set."""
    runs: int
    """Runs of the group with a reward, of which these two are the best and the worst."""

    def __post_init__(self) -> None:
        gap = self.chosen_reward - self.rejected_reward
        if self.chosen_id == self.rejected_id or not (gap > 0 and math.isfinite(gap)):
            raise TraceStoreError(
                f"The runs {self.chosen_id} ({self.chosen_reward}) and {self.rejected_id} ({self.rejected_reward}) are "
                "not a pair: the chosen one has to be another run with a higher, finite reward."
            )


def write_pairs(store: TraceStore, name: str, pairs: Sequence[RunPair]) -> None:
    """Write a set of pairs, in place of what it held before, in one transaction. A pair goes with either of its runs.

    Args:
        store: where; it holds the runs.
        name: the name of the set.
        pairs: the pairs, in any order.

    Raises:
        RunNotFoundError: a run of a pair is not in the store; nothing is written.
        TraceStoreError: two pairs are of the same runs, or the store cannot be written.
    """
    table, kept = cast(Table, schema.RunPair.__table__), storable(name)
    if len({(pair.chosen_id, pair.rejected_id) for pair in pairs}) < len(pairs):
        raise TraceStoreError(f"The set {name!r} holds a pair of runs twice. Give each pair once.")
    ids = sorted({run_id for pair in pairs for run_id in (pair.chosen_id, pair.rejected_id)})
    with store.writing() as connection:
        stored: set[UUID] = set()
        for at in range(0, len(ids), _MOST_IDS):
            page = ids[at : at + _MOST_IDS]
            stored.update(connection.scalars(select(schema.Run.run_id).where(schema.Run.run_id.in_(page))))
        if missing := [run_id for run_id in ids if run_id not in stored]:
            raise RunNotFoundError(f"There is no run {missing[0]}, which a pair of {name!r} needs. Pair stored runs.")
        connection.execute(delete(table).where(table.c.name == kept))
        if pairs:
            connection.execute(insert(table), [{"name": kept, **asdict(pair)} for pair in pairs])


def read_pairs(store: TraceStore, name: str) -> list[RunPair]:
    """Read a set of pairs, by their run ids; empty where there is none of that name.

    Raises:
        TraceStoreError: the store cannot be read.
    """
    table = cast(Table, schema.RunPair.__table__)
    columns = [table.c[field.name] for field in fields(RunPair)]
    query = select(*columns).where(table.c.name == storable(name)).order_by(table.c.chosen_id, table.c.rejected_id)
    with store.reading() as connection:
        return [RunPair(**row) for row in connection.execute(query).mappings()]


def pair_sets(store: TraceStore) -> list[str]:
    """List the names of the sets of pairs in a store, in alphabetical order.

    Raises:
        TraceStoreError: the store cannot be read.
    """
    table = cast(Table, schema.RunPair.__table__)
    with store.reading() as connection:
        return sorted(connection.scalars(select(table.c.name).distinct()))
