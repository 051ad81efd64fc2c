"""Redaction of a person: what identifies them or shows their taste is removed, what statistics need stays (ADR 8)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, func, select, text, update

from deeprec.agent.traces.admin.disk_usage import Reclaimed, give_back
from deeprec.agent.traces.admin.retention import may_be_running
from deeprec.agent.traces.records import TraceStoreError
from deeprec.agent.traces.store.codec import encode_logprobs, encode_tokens, storable
from deeprec.agent.traces.store.schema import Base, Recommendation, RetrievedItem, Run, Turn
from deeprec.agent.traces.store.store import TraceStore

MARK = "redacted"
"""Replacement of a text that may not be empty."""

ERASED: dict[str, dict[str, Any]] = {
    "runs": {
        "user_id": None,
        "thread_id": None,
        "caller_run_id": None,
        "tags": None,
        "caller_metadata": None,
        "history": [],
        "message": None,
        "detail": None,
    },
    "turns": {
        "prompt_ids": encode_tokens(()),  # token ids decode to text
        "completion_ids": encode_tokens(()),
        "logprobs": encode_logprobs(()),
        "text": "",
        "thought": None,
        "preference": None,
        "detail": None,
        "messages": None,
        "inputs": None,
    },
    "retrievals": {"preference": None, "unenforced": [], "detail": None, "inputs": None, "constraints": None},
    # A score is a function of history, preference and item: whoever has the recommender could find the items by it.
    "retrieved_items": {"score": math.nan},
    "recommendations": {"score": None},
    "rewards": {},
    "metrics": {},
    "cases": {"phrases": [], "conversation": None, "turn": None, "said": None},
}
"""Column -> what is written in its place, by table."""
RENAMED: dict[str, tuple[str, ...]] = {
    "runs": ("target_id", "group_id"),
    "turns": ("items",),
    "retrieved_items": ("item_id",),
    "recommendations": ("item_id",),
}
"""Columns whose values get names that mean nothing outside. Equal items of a run stay equal, and a group a group."""
TRIMMED: dict[str, tuple[str, ...]] = {"runs": ("config", "fork")}
"""Columns that lose a part: what the request says of its person (`WORDS`), the text of an edited preference."""
WORDS = ("where", "exclude", "earlier")
"""The parts of `config` that say something of a person: constraints, items not wanted, an earlier conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactReport:
    """The runs that redaction changed or, in a dry run, would change."""

    dry_run: bool
    runs: int
    turns: int
    children: int
    """Runs among `runs` that name nobody, but were forked from a run of the person."""
    oldest: datetime | None
    """Start of the oldest of them."""
    newest: datetime | None
    tenants: tuple[str, ...] = ()
    """Tenants that `runs` name, in alphabetical order."""
    reclaimed: Reclaimed | None = None
    """How the old bytes were removed from the database's files; None in a dry run."""


def redact_person(store: TraceStore, user_id: str, *, tenant: str | None = None, dry_run: bool = True) -> RedactReport:
    """Redact every run of a person, and every run that was forked from one. Pinned runs too.

    History, message, free text, tokens with their logprobs, scores and the user id go. Item ids and the group id are
    replaced by names that mean nothing outside the run (the group). So counts, latencies, tokens written, statuses,
    ranks (also of the held-out item), provenance and rewards stay what they were. It is one transaction: all of it or
    nothing. Then a SQLite file is rewritten, during which writers wait, so that no old byte stays in it. That is done
    even where no run is left to redact, so that calling again finishes what a full disk prevented.

    Args:
        store: where.
        user_id: as the runs have it.
        tenant: redact only in the runs of this tenant and their forks; None redacts the id in the runs of every tenant.
        dry_run: only report.
    Raises:
        TraceStoreError: a run of the person may still be running, or the store cannot be written; nothing was changed.
    """
    person, now = storable(user_id), datetime.now(UTC)
    tenant = None if tenant is None else storable(tenant)
    if dry_run:
        with store.reading() as connection:
            return _report(connection, runs_of_person(connection, person, now, tenant=tenant), dry_run=True)
    with store.writing() as connection:
        runs = runs_of_person(connection, person, now, tenant=tenant, lock=True)
        report = _report(connection, runs, dry_run=False)
        with_zeros = connection.dialect.name == "sqlite"
        before = connection.execute(text("PRAGMA secure_delete")).scalar() if with_zeros else 0
        if with_zeros:
            connection.execute(text("PRAGMA secure_delete=ON"))
        try:
            redact_runs(connection, runs, now)
        finally:
            if with_zeros:
                connection.execute(text(f"PRAGMA secure_delete={int(before or 0)}"))
    reclaimed = give_back(store, thoroughly=True)
    return replace(report, reclaimed=reclaimed)


def runs_of_person(
    connection: Connection, person: str, now: datetime, *, tenant: str | None = None, lock: bool = False
) -> list[Any]:
    """The runs of a person and their forks, oldest first; with a tenant, no run that names another one.

    Rows of (run_id, started_at, tenant, user_id, group_id, config, fork, target_id).
    """
    first, forks = select(Run.run_id).where(Run.user_id == person), select(Run.run_id)
    if tenant is not None:
        first = first.where(Run.tenant == tenant)
        forks = forks.where((Run.tenant == tenant) | Run.tenant.is_(None))
    own = first.cte("of_person", recursive=True)
    of_person = own.union(forks.where(Run.parent_id == own.c.run_id))
    chosen = (
        Run.run_id.in_(select(of_person.c.run_id)),
        (Run.redacted_at.is_(None)) | (Run.user_id == person),
    )
    going = connection.execute(select(Run.run_id).where(*chosen, may_be_running(now)).limit(1)).scalar()
    if going is not None:
        raise TraceStoreError(
            f"Run {going} of this person may still be running, and would write on. Nothing was changed; "
            "try again when it has ended, or an hour after its start if it was killed."
        )
    columns = (Run.run_id, Run.started_at, Run.tenant, Run.user_id, Run.group_id, Run.config, Run.fork, Run.target_id)
    query = select(*columns).where(*chosen).order_by(Run.started_at, Run.run_id)
    return list(connection.execute(query.with_for_update() if lock else query))


def _report(connection: Connection, runs: Sequence[Any], *, dry_run: bool) -> RedactReport:
    turns = 0
    for batch in _batches([run.run_id for run in runs]):
        turns += connection.scalar(select(func.count()).where(Turn.run_id.in_(batch))) or 0
    starts = [run.started_at for run in runs]
    return RedactReport(
        dry_run=dry_run,
        runs=len(runs),
        turns=turns,
        children=sum(run.user_id is None for run in runs),
        oldest=min(starts, default=None),
        newest=max(starts, default=None),
        tenants=tuple(sorted({run.tenant for run in runs if run.tenant is not None})),
    )


def redact_runs(connection: Connection, runs: Sequence[Any], now: datetime) -> None:
    """Remove what identifies a person or shows what they like from the rows of `runs_of_person`."""
    groups: dict[str, str] = {}
    for batch in _batches(runs):
        ids = [run.run_id for run in batch]
        names = _rename_items(connection, ids)
        for table in Base.metadata.sorted_tables:
            if ERASED.get(table.name):
                connection.execute(update(table).where(table.c.run_id.in_(ids)).values(ERASED[table.name]))
        for run in batch:
            target = None if run.target_id is None else _name(names[run.run_id], run.target_id)
            group = run.group_id
            if group is not None and group not in groups:
                groups[group] = f"{MARK}:{uuid4()}"
            connection.execute(
                update(Run)
                .where(Run.run_id == run.run_id)
                .values(
                    target_id=target,
                    group_id=None if group is None else groups[group],
                    config={name: None if name in WORDS else value for name, value in run.config.items()},
                    fork={**run.fork, "preference": MARK} if run.fork and "preference" in run.fork else run.fork,
                    redacted_at=now,
                )
            )


def _rename_items(connection: Connection, ids: list[UUID]) -> dict[UUID, dict[str, str]]:
    """Give the items of each run names by the order in which the run met them; run -> item id -> name."""
    names: dict[UUID, dict[str, str]] = defaultdict(dict)
    places: dict[Any, tuple[str, ...]] = {
        RetrievedItem: ("run_id", "position", "rank"),
        Recommendation: ("run_id", "listing", "rank"),
    }
    for table, keys in places.items():
        columns = [table.__table__.c[key] for key in keys]
        rows = connection.execute(select(*columns, table.item_id).where(table.run_id.in_(ids)).order_by(*columns)).all()
        renamed = [
            {
                **{f"at_{key}": value for key, value in zip(keys, row, strict=False)},
                "name": _name(names[row[0]], row[-1]),
            }
            for row in rows
        ]
        if renamed:
            at = [column == bindparam(f"at_{column.key}") for column in columns]
            connection.execute(update(table.__table__).where(*at).values(item_id=bindparam("name")), renamed)
    turns = connection.execute(
        select(Turn.run_id, Turn.position, Turn.items).where(Turn.run_id.in_(ids)).order_by(Turn.run_id, Turn.position)
    ).all()
    for run_id, position, items in turns:
        if items:
            connection.execute(
                update(Turn)
                .where(Turn.run_id == run_id, Turn.position == position)
                .values(items=[_name(names[run_id], item) for item in items])
            )
    return names


def _name(names: dict[str, str], item_id: str) -> str:
    return names.setdefault(item_id, f"{MARK}:{len(names) + 1}")


def _batches(rows: Sequence[Any], size: int = 200) -> list[Any]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
