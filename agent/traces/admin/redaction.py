"""Redaction of a person: what identifies them or shows their taste is removed, what statistics need stays (ADR 8)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, text, update
from sqlalchemy.orm import aliased

from deeprec.agent.traces.admin.disk_usage import Reclaimed, give_back, run_tables
from deeprec.agent.traces.admin.retention import may_be_running
from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.records import TraceStoreError
from deeprec.agent.traces.store.codec import encode_logprobs, encode_tokens, storable
from deeprec.agent.traces.store.conversations import load_conversation_turns
from deeprec.agent.traces.store.rows import conversation_turn_values
from deeprec.agent.traces.store.schema import ConversationTurn as TurnRow, Recommendation, RetrievedItem, Run, Turn
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
    "run_pairs": {},
    "conversation_turns": {
        "user_id": None,
        "reply": "",
        "question": None,
        **dict.fromkeys(("history", "problems", "actions"), ()),
        **{name: {} for name in ("delta", "state_before", "state_after")},
    },
}
"""Column -> what is written in its place, by table."""
RENAMED: dict[str, tuple[str, ...]] = {
    "runs": ("target_id", "group_id"),
    "turns": ("items",),
    "retrieved_items": ("item_id",),
    "recommendations": ("item_id",),
    "conversation_turns": ("turn_id", "conversation_id", "thread_id", "message_id", "message", "shown"),
}
"""Columns whose values get names that mean nothing outside. Equal items of a run (a conversation) stay equal, a group
stays a group, and a conversation a conversation."""
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
    """Runs among `runs` that name nobody, but were forked from a run of the person, or are the search of their turn."""
    oldest: datetime | None
    """Start of the oldest of them."""
    newest: datetime | None
    tenants: tuple[str, ...] = ()
    """Tenants that `runs` and `conversation_turns` name, in alphabetical order."""
    conversation_turns: int = 0
    """Turns of the person's conversations."""
    reclaimed: Reclaimed | None = None
    """How the old bytes were removed from the database's files; None in a dry run."""


def redact_person(store: TraceStore, user_id: str, *, tenant: str | None = None, dry_run: bool = True) -> RedactReport:
    """Redact every run of a person, every run that was forked from one, and their conversations. Pinned runs too.

    History, message, free text, tokens with their logprobs, scores and the user id go. Item ids and the group id are
    replaced by names that mean nothing outside the run (the group). So counts, latencies, tokens written, statuses,
    ranks (also of the held-out item), provenance and rewards stay what they were. Of the turns of a conversation stay
    their number, the kind of reply, the number of shown items and the times. Turns that name nobody are the person's
    where another turn of their conversation, or the run of their search, is. It is one transaction: all of it or
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
            runs = runs_of_person(connection, person, now, tenant=tenant)
            return _report(connection, runs, turns_of_person(connection, person, tenant=tenant), dry_run=True)
    with store.writing() as connection:
        runs = runs_of_person(connection, person, now, tenant=tenant, lock=True)
        turns = turns_of_person(connection, person, tenant=tenant)
        report = _report(connection, runs, turns, dry_run=False)
        with_zeros = connection.dialect.name == "sqlite"
        before = connection.execute(text("PRAGMA secure_delete")).scalar() if with_zeros else 0
        if with_zeros:
            connection.execute(text("PRAGMA secure_delete=ON"))
        try:
            redact_runs(connection, runs, now)
            redact_turns(connection, turns, now)
        finally:
            if with_zeros:
                connection.execute(text(f"PRAGMA secure_delete={int(before or 0)}"))
    reclaimed = give_back(store, thoroughly=True)
    return replace(report, reclaimed=reclaimed)


def runs_of_person(
    connection: Connection, person: str, now: datetime, *, tenant: str | None = None, lock: bool = False
) -> list[Any]:
    """The runs of a person and their forks, oldest first; with a tenant, no run that names another one.

    A run that names nobody is the person's where it is the search of a turn of theirs.

    Rows of (run_id, started_at, tenant, user_id, group_id, config, fork, target_id).
    """
    searches = select(TurnRow.run_id).where(*_is_turn_of(person, tenant))
    is_own = Run.user_id == person
    if tenant is not None:
        is_own = is_own & (Run.tenant == tenant)
    is_search = Run.user_id.is_(None) & Run.run_id.in_(searches)
    first, forks = select(Run.run_id).where(is_own | is_search), select(Run.run_id)
    if tenant is not None:
        first, forks = (query.where((Run.tenant == tenant) | Run.tenant.is_(None)) for query in (first, forks))
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


def turns_of_person(connection: Connection, person: str, *, tenant: str | None = None) -> list[ConversationTurn]:
    """The turns of a person's conversations, in the order of each."""
    return load_conversation_turns(connection, select(TurnRow).where(*_is_turn_of(person, tenant)))


def _is_turn_of(person: str, tenant: str | None) -> tuple[ColumnElement[bool], ...]:
    """Conditions on `conversation_turns`: a turn of a person, or one that names nobody in a conversation of theirs."""
    turn = aliased(TurnRow)
    runs = select(Run.run_id).where(Run.user_id == person)
    conversations = select(turn.conversation_id).where(
        (turn.user_id == person) | (turn.user_id.is_(None) & turn.run_id.in_(runs))
    )
    theirs = TurnRow
    is_theirs = theirs.conversation_id.in_(conversations) & (theirs.user_id.is_(None) | (theirs.user_id == person))
    is_new = theirs.redacted_at.is_(None) | (theirs.user_id == person)
    return (is_theirs, is_new) if tenant is None else (is_theirs, is_new, theirs.tenant == tenant)


def _report(connection: Connection, runs: Sequence[Any], said: Sequence[Any], *, dry_run: bool) -> RedactReport:
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
        tenants=tuple(sorted({each.tenant for each in (*runs, *said) if each.tenant is not None})),
        conversation_turns=len(said),
    )


def redact_runs(connection: Connection, runs: Sequence[Any], now: datetime) -> None:
    """Remove what identifies a person or shows what they like from the rows of `runs_of_person`."""
    groups: dict[str, str] = {}
    for batch in _batches(runs):
        ids = [run.run_id for run in batch]
        names = _rename_items(connection, ids)
        for table in run_tables():
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


def redact_turns(connection: Connection, turns: Sequence[ConversationTurn], now: datetime) -> None:
    """Remove what identifies a person or shows what they like from their turns."""
    threads: dict[UUID, str] = defaultdict(lambda: f"{MARK}:{uuid4()}")
    names: dict[UUID, dict[str, str]] = defaultdict(dict)
    for turn in turns:
        redacted = replace(
            turn,
            thread_id=threads[turn.conversation_id],
            message_id=f"{MARK}:{uuid4()}",
            message="" if turn.is_edit else MARK,
            shown=tuple(_name(names[turn.conversation_id], item_id) for item_id in turn.shown),
            redacted_at=now,
            **ERASED["conversation_turns"],
        )
        row = update(TurnRow).where(TurnRow.turn_id == turn.turn_id)
        connection.execute(row.values(**conversation_turn_values(redacted)))


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
