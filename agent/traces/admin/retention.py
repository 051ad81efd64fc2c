"""Retention of runs: pinning, and pruning by age, policy, status and size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, not_, select, update

from deeprec.agent.traces.admin.disk_usage import Reclaimed, bytes_scale, give_back, row_bytes, run_bytes
from deeprec.agent.traces.store.conversations import ConversationFilter, matching
from deeprec.agent.traces.store.filters import RunFilter, filtered, find_run
from deeprec.agent.traces.store.schema import ConversationTurn, Run
from deeprec.agent.traces.store.store import TraceStore
from deeprec.trm_tool.errors import ConfigError

ABANDONED_AFTER = timedelta(hours=1)
"""A run that is still "running" this long after its start was killed."""
BATCH = 100
"""Runs that are deleted in one transaction: writers wait for no more than that."""

_AGE, _RUNS, _BYTES, _ALL = "older than asked for", "more runs than asked for", "more bytes than asked for", "matches"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRules:
    """Which runs are deleted. The first five fields select runs, the last three those of the selected that are deleted.

    Where none of the last three is given, every selected run is deleted. The first that applies is a run's reason.

    A turn of a conversation is deleted with the run of its search. One without a stored run has a tenant, a suite, an
    age and a size of its own; it stays where a rule asks for a policy, an adapter version or a status.
    """

    policy_model: str | None = None
    adapter_version: str | None = None
    status: str | None = None
    """An outcome, "running" (killed runs), or "incomplete" (in which the store failed)."""
    suite: str | None = None
    tenant: str | None = None
    older_than_days: float | None = None
    """Age by the start of the run."""
    max_runs: int | None = None
    """The newest stay. Pinned runs count, and take their place first."""
    max_bytes: int | None = None
    """The newest stay, as above. What a run takes is an estimate, and pages keep gaps for later runs, so that the file
    ends somewhat larger."""

    def __post_init__(self) -> None:
        if all(getattr(self, field.name) is None for field in fields(self)):
            raise ConfigError(
                "No rule says which runs are to go. Give an age, a number of runs or bytes to keep, a policy, an "
                "adapter version, a status, a suite or a tenant."
            )
        for name in ("older_than_days", "max_runs", "max_bytes"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"PruneRules.{name} is {value}, below 0. Give 0 or more.")
        if self.older_than_days is not None and self.older_than_days > 100_000:
            raise ConfigError(f"PruneRules.older_than_days is {self.older_than_days:g}; no run is that old.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReason:
    """The runs that go for one reason."""

    reason: str
    runs: int
    bytes: int
    conversation_turns: int = 0
    """Turns without a stored run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """The runs that pruning deleted or, in a dry run, would delete."""

    dry_run: bool
    runs: int
    bytes: int
    """Roughly, by what the runs hold."""
    reasons: tuple[PruneReason, ...]
    oldest: datetime | None
    """Start of the oldest run that goes."""
    newest: datetime | None
    pinned: int
    """Runs that would go by the rules, but are pinned."""
    running: int
    """Runs that would go by the rules, but may still be running."""
    reclaimed: Reclaimed | None = None
    """None in a dry run, and where nothing was deleted."""
    conversation_turns: int = 0
    """Turns of conversations without a stored run; those with one go with it, and are not counted."""


class _Candidate(NamedTuple):
    key: UUID
    """The id of a run, or of a turn without a stored run."""
    is_run: bool
    started_at: datetime
    pinned: bool
    running: bool
    bytes: int


def prune_runs(store: TraceStore, rules: PruneRules, *, dry_run: bool = True) -> PruneReport:
    """Delete the runs that the rules name, with their steps, lists and rewards, and turns of conversations.

    Pinned runs stay, and runs that may still be running: those with status "running" that started less than an hour
    ago. Children of a deleted run stay, and keep its id. Runs go in small transactions, oldest first, so that writers
    wait little; when the process is killed, what went is gone and the rest is whole.

    Args:
        store: where to delete.
        rules: which runs.
        dry_run: only report.
    Raises:
        TraceStoreError: the store cannot be read or written.
    """
    now = datetime.now(UTC)
    going = _chosen(store, rules, now)
    free = [(run, reason) for run, reason in going if not run.pinned and not run.running]
    reclaimed = None
    if not dry_run:
        deleted = _delete(store, [run.key for run, _ in free if run.is_run], now)
        deleted |= _delete_turns(store, [turn.key for turn, _ in free if not turn.is_run])
        free = [(each, reason) for each, reason in free if each.key in deleted]
        reclaimed = give_back(store) if deleted else None
    runs, turns, sizes = Counter[str](), Counter[str](), Counter[str]()
    for each, reason in free:
        (runs if each.is_run else turns)[reason] += 1
        sizes[reason] += each.bytes
    starts = [each.started_at for each, _ in free]
    return PruneReport(
        dry_run=dry_run,
        runs=runs.total(),
        bytes=sizes.total(),
        reasons=tuple(
            PruneReason(reason=reason, runs=runs[reason], bytes=sizes[reason], conversation_turns=turns[reason])
            for reason in (_AGE, _RUNS, _BYTES, _ALL)
            if runs[reason] or turns[reason]
        ),
        oldest=min(starts, default=None),
        newest=max(starts, default=None),
        pinned=sum(run.pinned for run, _ in going),
        running=sum(run.running and not run.pinned for run, _ in going),
        reclaimed=reclaimed,
        conversation_turns=turns.total(),
    )


def pin_runs(store: TraceStore, runs: Sequence[UUID | str], *, pinned: bool = True) -> list[UUID]:
    """Keep runs from ever being pruned, or let them go again; all of them or none.

    Args:
        store: where they are.
        runs: ids, or as much of their beginnings as is unique.
        pinned: False lets them go.
    Returns:
        the whole ids.
    Raises:
        RunNotFoundError: one of them names no run, or several.
    """
    with store.writing() as connection:
        ids = [find_run(connection, run) for run in runs]
        connection.execute(update(Run).where(Run.run_id.in_(ids)).values(pinned=pinned))
    return ids


def may_be_running(now: datetime) -> ColumnElement[bool]:
    """Whether a run is "running" and was not certainly killed; a condition on `runs`."""
    return and_(Run.status == "running", Run.started_at > now - ABANDONED_AFTER)


def _chosen(store: TraceStore, rules: PruneRules, now: datetime) -> list[tuple[_Candidate, str]]:
    """The runs and turns beyond the rules, protected ones included, oldest first, each with its reason."""
    where = RunFilter(
        status=rules.status,
        suite=rules.suite,
        tenant=rules.tenant,
        policy_model=rules.policy_model,
        adapter_version=rules.adapter_version,
    )
    cutoff = None if rules.older_than_days is None else now - timedelta(days=rules.older_than_days)
    columns: Any = select(Run.run_id, Run.started_at, Run.pinned, may_be_running(now), run_bytes())
    query = filtered(columns, where).order_by(Run.started_at, Run.run_id)
    if cutoff is not None and rules.max_runs is None and rules.max_bytes is None:
        query = query.where(Run.started_at < cutoff)
    with store.reading() as connection:
        scale = bytes_scale(connection)
        found = [
            _Candidate(run_id, True, started_at, pinned, bool(running), int(size * scale))
            for run_id, started_at, pinned, running, size in connection.execute(query)
        ]
        if rules.status is None and rules.policy_model is None and rules.adapter_version is None:
            found += [
                _Candidate(turn_id, False, created_at, False, False, int(size * scale))
                for turn_id, created_at, size in connection.execute(_turns_without_run(rules))
            ]
            found.sort(key=lambda each: (each.started_at, each.key))
    reasons: dict[UUID, str] = {}
    if cutoff is not None:
        reasons |= {each.key: _AGE for each in found if each.started_at < cutoff}
    if rules.max_runs is not None:
        _keep_newest([each for each in found if each.is_run], reasons, _RUNS, rules.max_runs, lambda _: 1)
    if rules.max_bytes is not None:
        _keep_newest(found, reasons, _BYTES, rules.max_bytes, lambda run: run.bytes)
    if cutoff is None and rules.max_runs is None and rules.max_bytes is None:
        reasons = dict.fromkeys((each.key for each in found), _ALL)
    return [(each, reasons[each.key]) for each in found if each.key in reasons]


def _turns_without_run(rules: PruneRules) -> Select[Any]:
    """The turns of conversations that go by their own age: (turn_id, created_at, size)."""
    run_is_stored = select(Run.run_id).where(Run.run_id == ConversationTurn.run_id).exists()
    size = row_bytes(ConversationTurn.__table__)  # type: ignore[arg-type]
    query: Any = select(ConversationTurn.turn_id, ConversationTurn.created_at, size).where(not_(run_is_stored))
    return matching(query, ConversationFilter(tenant=rules.tenant, suite=rules.suite))


def _keep_newest(found: Iterable[_Candidate], reasons: dict[UUID, str], reason: str, room: float, size: Any) -> None:
    """Give `reason` to the runs that do not fit into the room. Protected runs take theirs first: they stay anyway."""
    left = [run for run in found if run.key not in reasons]
    room -= sum(size(run) for run in found if run.pinned or run.running)
    full = False
    for run in reversed(left):
        if run.pinned or run.running:
            continue
        room -= size(run)
        full = full or room < 0
        if full:
            reasons[run.key] = reason


def _delete(store: TraceStore, run_ids: Sequence[UUID], now: datetime) -> set[UUID]:
    """Delete runs in batches; one that was pinned meanwhile, or resumed, stays."""
    deleted: set[UUID] = set()
    for start in range(0, len(run_ids), BATCH):
        batch = Run.run_id.in_(run_ids[start : start + BATCH])
        free = and_(batch, Run.pinned.is_(False), not_(may_be_running(now)))
        with store.writing() as connection:
            # The lock (a server's): nobody pins one of them between the two statements.
            ids = connection.scalars(select(Run.run_id).where(free).with_for_update()).all()
            connection.execute(delete(ConversationTurn).where(ConversationTurn.run_id.in_(ids)))
            connection.execute(delete(Run).where(Run.run_id.in_(ids)))
        deleted.update(ids)
    return deleted


def _delete_turns(store: TraceStore, turn_ids: Sequence[UUID]) -> set[UUID]:
    """Delete turns of conversations in batches."""
    for start in range(0, len(turn_ids), BATCH):
        with store.writing() as connection:
            batch = ConversationTurn.turn_id.in_(turn_ids[start : start + BATCH])
            connection.execute(delete(ConversationTurn).where(batch))
    return set(turn_ids)
