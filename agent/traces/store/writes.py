"""Writing the parts of a run inside a transaction. What is there already with the same content is left alone.

A part is inserted unless its key is taken; only then the stored one is read and compared. So a write is one statement
as a rule, and of two writers who come at once the second sees what the first wrote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast
from uuid import UUID

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Insert,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.records import (
    OPEN_STATUSES,
    CaseRecord,
    Outcome,
    RetrievalRecord,
    RewardRecord,
    RunOutcome,
    RunRecord,
    RunTrace,
    TraceStoreError,
    TurnRecord,
)
from deeprec.agent.traces.store import rows, schema
from deeprec.agent.traces.store.codec import decode_logprobs, decode_tokens, storable
from deeprec.agent.traces.store.filters import RunNotFoundError
from deeprec.agent.traces.store.schema import (
    Base,
    Case,
    Metric,
    Recommendation,
    Retrieval,
    RetrievedItem,
    Reward,
    Run,
    Turn,
)

# What must not differ between the two halves of a resumed run: its tokens would come from two policies, or its rewards
# would be another person's.
_LINEAGE = (
    "tenant",
    "user_id",
    "history",
    "message",
    "target_id",
    "protocol",
    "protocol_version",
    "prompt_version",
    "guided",
    "k",
    "seed",
    "policy_model",
    "adapter",
    "adapter_version",
    "trm_fingerprint",
    "sampling",
)
_FINGERPRINTS = ("base_fingerprint", "adapter_fingerprint")
"""What must not differ either, where both halves know it."""
_ASKED = ("where", "exclude", "earlier", "settings")
"""What the settings of a run keep of its request."""
_INPUTS = frozenset({"history", "message", "k", "guided", "seed", "sampling", *_ASKED})
"""What of the lineage, and of the settings, a step is computed from, rather than who asks and who answers."""
_CLOCKS = frozenset({"latency_ms", "recorded_at"})


class StepConflictError(TraceStoreError):
    """A step that is already stored with other content: two writers, or a resumed run that did not read first."""


class OtherRequestError(StepConflictError):
    """A run id that is taken by a run of the same person, model and recommender, whose request was another.

    `values` are the parts of the new request that differ, by their `names`.
    """

    def __init__(self, message: str, values: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.values, self.names = dict(values), tuple(values)


def start_run(connection: Connection, record: RunRecord, now: datetime) -> bool:
    """Open a run; whether it is new."""
    values = rows.run_values(record, now)
    if _insert_new(connection, Run, values):
        return True
    _refuse_redacted(connection, record.run_id)
    stored = connection.execute(
        select(*(getattr(Run, name) for name in (*_LINEAGE, *_FINGERPRINTS)), Run.config).where(
            Run.run_id == record.run_id
        )
    ).one()
    differing = {name: values[name] for name in _LINEAGE if getattr(stored, name) != values[name]}
    for name in _FINGERPRINTS:
        known, own = getattr(stored, name), values[name]
        if None not in (known, own) and not same_weights(known, own):
            differing[name] = own
    config = values["config"]
    differing |= {name: config.get(name) for name in _ASKED if stored.config.get(name) != config.get(name)}
    if differing:
        why = (
            f"The run id {record.run_id} is taken by another request: its {', '.join(differing)} differ. "
            "Leave the id out or pass a new one; a run is resumed with all that it was started with."
        )
        raise OtherRequestError(why, differing) if _INPUTS.issuperset(differing) else StepConflictError(why)
    return False


def write_turn(connection: Connection, run_id: UUID, turn: TurnRecord, now: datetime) -> None:
    """Write one turn."""
    _refuse_redacted(connection, run_id)
    values = rows.turn_values(run_id, turn, now)
    if not _insert_new(connection, Turn, values) and not _same(connection, Turn, values):
        raise StepConflictError(f"Run {run_id} has another turn at position {turn.position} already.")


def write_retrieval(connection: Connection, run_id: UUID, retrieval: RetrievalRecord, now: datetime) -> None:
    """Write one retrieval and its items."""
    _refuse_redacted(connection, run_id)
    values = rows.retrieval_values(run_id, retrieval, now)
    items = rows.item_values(run_id, retrieval)
    if _insert_new(connection, Retrieval, values):
        if items:
            connection.execute(insert(_table(RetrievedItem)), items)
        return
    of = connection.scalars(
        select(RetrievedItem.item_id)
        .where(RetrievedItem.run_id == run_id, RetrievedItem.position == retrieval.position)
        .order_by(RetrievedItem.rank)
    )
    if not _same(connection, Retrieval, values) or list(of) != [item["item_id"] for item in items]:
        raise StepConflictError(f"Run {run_id} has another retrieval at position {retrieval.position} already.")


def finish_run(connection: Connection, run_id: UUID, outcome: RunOutcome, now: datetime) -> None:
    """Close a run. One whose steps have a gap is marked incomplete.

    An aborted run may be closed again: it has gone on. (Earlier versions closed one as `fallback` without a list.) A
    run that has ended keeps its ending where a repetition of its steps is aborted.
    """
    _refuse_redacted(connection, run_id)
    ending: dict[str, Any] = {
        "status": outcome.status,
        "detail": None if outcome.detail is None else storable(outcome.detail),
        "ungrounded": outcome.ungrounded,
        "latency_ms": outcome.latency_ms,
        "finished_at": now,
    }
    if _has_gap(connection, run_id, Turn) or _has_gap(connection, run_id, Retrieval):
        ending["incomplete"] = True
    values = rows.recommendation_values(run_id, outcome)
    has_list = select(Recommendation.run_id).where(Recommendation.run_id == run_id).exists()
    is_open = Run.status.in_(OPEN_STATUSES) | ((Run.status == "fallback") & ~has_list)
    closing = update(_table(Run)).where(Run.run_id == run_id, is_open).values(**ending)
    if _count(connection.execute(closing)):
        if values:
            connection.execute(insert(_table(Recommendation)), values)
        return
    status = connection.scalar(select(Run.status).where(Run.run_id == run_id))
    if status is None:
        raise RunNotFoundError(f"There is no run {run_id} to finish.")
    if outcome.status == "aborted":
        return
    line = Recommendation
    written = connection.execute(select(line.listing, line.rank, line.item_id).where(line.run_id == run_id))
    stored = {tuple(row) for row in written}
    if status != outcome.status or stored != {(v["listing"], v["rank"], v["item_id"]) for v in values}:
        raise StepConflictError(f"Run {run_id} has ended already, with another outcome.")


def mark_incomplete(connection: Connection, run_id: UUID) -> bool:
    """Mark a run as one whose steps may be missing. Returns whether the store has the run."""
    return bool(_count(connection.execute(update(_table(Run)).where(Run.run_id == run_id).values(incomplete=True))))


def write_conversation_turn(connection: Connection, turn: ConversationTurn) -> None:
    """Write one turn of a conversation, in place of what is stored under its key, at the time that is stored."""
    if turn.run_id is not None:
        _refuse_redacted(connection, turn.run_id)
    values = rows.conversation_turn_values(turn)
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    insertion = make(_table(schema.ConversationTurn)).values(values)
    kept = ("turn_id", "conversation_id", "created_at")
    replaced = {name: insertion.excluded[name] for name in values if name not in kept}
    connection.execute(insertion.on_conflict_do_update(index_elements=["turn_id"], set_=replaced))


def write_rewards(connection: Connection, run_id: UUID, scheme: str, components: Mapping[str, float]) -> None:
    """Replace the components of one reward scheme."""
    rewards = (RewardRecord(scheme=scheme, component=name, value=value) for name, value in components.items())
    _replace(connection, Reward, run_id, rows.reward_values(run_id, rewards), Reward.scheme == storable(scheme))


def write_metrics(connection: Connection, run_id: UUID, metrics: Mapping[str, float]) -> None:
    """Replace the metrics of a run."""
    _replace(connection, Metric, run_id, rows.metric_values(run_id, metrics))


def write_case(connection: Connection, run_id: UUID, case: CaseRecord) -> None:
    """Replace the case of a run."""
    _replace(connection, Case, run_id, [rows.case_values(run_id, case)])


def _replace(
    connection: Connection,
    of: type[Reward] | type[Metric] | type[Case],
    run_id: UUID,
    values: Sequence[Mapping[str, Any]],
    *conditions: ColumnElement[bool],
) -> None:
    """Put `values` in the place of a run's rows that meet the conditions."""
    # The lock (a server's) makes two writers of the same rows come after one another.
    if connection.scalar(select(Run.run_id).where(Run.run_id == run_id).with_for_update()) is None:
        raise RunNotFoundError(f"There is no run {run_id} to score.")
    connection.execute(delete(_table(of)).where(of.run_id == run_id, *conditions))
    if values:
        connection.execute(insert(_table(of)), values)


def write_runs(connection: Connection, traces: Sequence[RunTrace], now: datetime) -> None:
    """Write whole runs: the new ones table by table, those that are there already part by part, to compare them."""
    ids = [trace.run.run_id for trace in traces]
    stored = set(connection.scalars(select(Run.run_id).where(Run.run_id.in_(ids))))
    parts = (Run, Turn, Retrieval, RetrievedItem, Recommendation, Reward, Metric, Case)
    tables: dict[type[Base], list[dict[str, Any]]] = {table: [] for table in parts}
    for trace in traces:
        run_id, started, outcome = trace.run.run_id, trace.started_at, _outcome(trace)
        if run_id in stored:
            start_run(connection, trace.run, started)
            for turn in trace.turns:
                write_turn(connection, run_id, turn, started)
            for retrieval in trace.retrievals:
                write_retrieval(connection, run_id, retrieval, started)
            finish_run(connection, run_id, outcome, trace.finished_at or now)
            for scheme in {reward.scheme for reward in trace.rewards}:
                own = {reward.component: reward.value for reward in trace.rewards if reward.scheme == scheme}
                write_rewards(connection, run_id, scheme, own)
            if trace.metrics:
                write_metrics(connection, run_id, trace.metrics)
            if trace.case is not None:
                write_case(connection, run_id, trace.case)
            continue
        ending: dict[str, Any] = {
            "status": trace.status,
            "incomplete": trace.incomplete,
            "ungrounded": trace.ungrounded,
            "detail": None if trace.detail is None else storable(trace.detail),
            "latency_ms": trace.latency_ms,
            "finished_at": trace.finished_at or now,
        }
        tables[Run].append({**rows.run_values(trace.run, started), **ending})
        tables[Turn] += [rows.turn_values(run_id, turn, started) for turn in trace.turns]
        for retrieval in trace.retrievals:
            tables[Retrieval].append(rows.retrieval_values(run_id, retrieval, started))
            tables[RetrievedItem] += rows.item_values(run_id, retrieval)
        tables[Recommendation] += rows.recommendation_values(run_id, outcome)
        tables[Reward] += rows.reward_values(run_id, trace.rewards)
        tables[Metric] += rows.metric_values(run_id, trace.metrics)
        tables[Case] += [] if trace.case is None else [rows.case_values(run_id, trace.case)]
    for table, values in tables.items():
        if values:
            connection.execute(insert(_table(table)), values)


def _outcome(trace: RunTrace) -> RunOutcome:
    return RunOutcome(
        status=cast(Outcome, trace.status),
        detail=trace.detail,
        written=trace.written,
        recommended=trace.recommended,
        ungrounded=trace.ungrounded,
        latency_ms=math.nan if trace.latency_ms is None else trace.latency_ms,
    )


def delete_run(connection: Connection, run_id: UUID) -> None:
    """Delete a run with all its parts, and the turns of a conversation that it is the search of."""
    of_turn = schema.ConversationTurn.run_id
    connection.execute(delete(_table(schema.ConversationTurn)).where(of_turn == run_id))
    if not _count(connection.execute(delete(_table(Run)).where(Run.run_id == run_id))):
        raise RunNotFoundError(f"There is no run {run_id} to delete.")


def _refuse_redacted(connection: Connection, run_id: UUID) -> None:
    """A run that comes back after its person was taken out (ADR 8) must not put them in again."""
    if connection.execute(_REDACTED, {"of": run_id}).scalar() is not None:
        raise StepConflictError(f"Run {run_id} was redacted. Nothing more is kept of it.")


# The lock (a server's) waits for a redaction that is under way.
_REDACTED = select(Run.redacted_at).where(Run.run_id == bindparam("of")).with_for_update(read=True, key_share=True)


def _insert_new(connection: Connection, of: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key is taken; whether it was inserted."""
    return bool(_count(connection.execute(_new_row(connection.dialect.name, of), dict(values))))


@cache
def _new_row(dialect: str, of: type[Base]) -> Insert:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return make(_table(of)).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def _same(connection: Connection, of: type[Base], values: Mapping[str, Any]) -> bool:
    """Whether the row that is stored under the key of `values` has the same content, clocks apart."""
    table = _table(of)
    key = [column == values[column.key] for column in table.primary_key.columns]
    stored = connection.execute(select(table).where(*key)).mappings().one()
    return all(_equal(name, stored[name], value) for name, value in values.items() if name not in _CLOCKS)


def _equal(name: str, stored: Any, given: Any) -> bool:
    if not isinstance(given, bytes):
        return bool(stored == given)
    # Not the bytes: an earlier version may have packed them otherwise.
    if name == "logprobs":
        return np.array_equal(decode_logprobs(stored), decode_logprobs(given), equal_nan=True)
    return np.array_equal(decode_tokens(stored), decode_tokens(given))


def _has_gap(connection: Connection, run_id: UUID, of: type[Turn] | type[Retrieval]) -> bool:
    count, last = connection.execute(select(func.count(), func.max(of.position)).where(of.run_id == run_id)).one()
    return bool(count) and last != count - 1


def _table(of: type[Base]) -> Table:
    return cast(Table, of.__table__)


def _count(result: Any) -> int:
    return cast(CursorResult[Any], result).rowcount
