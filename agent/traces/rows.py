"""Records to rows and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from deeprec.agent.traces import schema
from deeprec.agent.traces.codec import (
    decode_logprobs,
    decode_tokens,
    encode_logprobs,
    encode_tokens,
    storable,
    storable_json,
)
from deeprec.agent.traces.records import (
    LoggedPreference,
    RecommendationRecord,
    RetrievalRecord,
    RewardRecord,
    RunOutcome,
    RunPreferences,
    RunRecord,
    RunSummary,
    RunTrace,
    TurnRecord,
)
from deeprec.trm_tool.retriever import ScoredItem


def run_row(record: RunRecord, now: datetime) -> schema.Run:
    """The row of a run that starts now."""
    values = {field.name: _plain(getattr(record, field.name)) for field in fields(record)}
    return schema.Run(**values, status="running", incomplete=False, ungrounded=0, started_at=now)


def turn_row(run_id: UUID, turn: TurnRecord, now: datetime) -> schema.Turn:
    """The row of a turn."""
    packed = {
        "prompt_ids": encode_tokens(turn.prompt_ids),
        "completion_ids": encode_tokens(turn.completion_ids),
        "logprobs": encode_logprobs(turn.logprobs),
    }
    values = {field.name: _plain(getattr(turn, field.name)) for field in fields(turn) if field.name not in packed}
    return schema.Turn(run_id=run_id, recorded_at=now, **packed, **values)


def retrieval_row(run_id: UUID, retrieval: RetrievalRecord, now: datetime) -> schema.Retrieval:
    """The row of a retrieval, its items apart."""
    values = {
        field.name: _plain(getattr(retrieval, field.name)) for field in fields(retrieval) if field.name != "items"
    }
    return schema.Retrieval(run_id=run_id, recorded_at=now, **values)


def item_values(run_id: UUID, retrieval: RetrievalRecord) -> list[dict[str, Any]]:
    """The rows of a retrieval's items, best first."""
    return [
        {
            "run_id": run_id,
            "position": retrieval.position,
            "rank": rank,
            "item_id": storable(item.id),
            "score": float(item.score),
        }
        for rank, item in enumerate(retrieval.items, start=1)
    ]


def recommendation_values(run_id: UUID, outcome: RunOutcome) -> list[dict[str, Any]]:
    """The rows of a run's two lists."""
    return [
        {
            "run_id": run_id,
            "listing": listing,
            "rank": line.rank,
            "item_id": storable(line.item_id),
            "retrieval": line.retrieval,
            "score": None if line.score is None else float(line.score),
            "source": line.source,
        }
        for listing, lines in (("written", outcome.written), ("recommended", outcome.recommended))
        for line in lines
    ]


def load_turns(session: Session, run_ids: Sequence[UUID]) -> dict[UUID, list[TurnRecord]]:
    """The turns of some runs, by position."""
    found = session.scalars(
        select(schema.Turn).where(schema.Turn.run_id.in_(run_ids)).order_by(schema.Turn.run_id, schema.Turn.position)
    )
    turns: dict[UUID, list[TurnRecord]] = defaultdict(list)
    for row in found:
        values = {field.name: getattr(row, field.name) for field in fields(TurnRecord)}
        values["prompt_ids"] = tuple(decode_tokens(row.prompt_ids).tolist())
        values["completion_ids"] = tuple(decode_tokens(row.completion_ids).tolist())
        values["logprobs"] = tuple(decode_logprobs(row.logprobs).tolist())
        values["items"] = tuple(row.items)
        turns[row.run_id].append(TurnRecord(**values))
    return turns


def load_retrievals(session: Session, run_ids: Sequence[UUID]) -> dict[UUID, list[RetrievalRecord]]:
    """The retrievals of some runs, by position."""
    item = schema.RetrievedItem
    items: dict[tuple[UUID, int], list[ScoredItem]] = defaultdict(list)
    for run_id, position, item_id, score in session.execute(
        select(item.run_id, item.position, item.item_id, item.score)
        .where(item.run_id.in_(run_ids))
        .order_by(item.run_id, item.position, item.rank)
    ):
        items[run_id, position].append(ScoredItem(id=item_id, score=score))
    retrieval = schema.Retrieval
    found = session.scalars(
        select(retrieval).where(retrieval.run_id.in_(run_ids)).order_by(retrieval.run_id, retrieval.position)
    )
    retrievals: dict[UUID, list[RetrievalRecord]] = defaultdict(list)
    for row in found:
        values = {field.name: getattr(row, field.name) for field in fields(RetrievalRecord) if field.name != "items"}
        values["unenforced"] = tuple(row.unenforced)
        retrievals[row.run_id].append(RetrievalRecord(items=tuple(items[row.run_id, row.position]), **values))
    return retrievals


def load_preferences(session: Session, runs: Sequence[schema.Run]) -> list[RunPreferences]:
    """The preferences of some runs, in the order of the runs; of their tokens and items nothing is read."""
    turn, retrieval = schema.Turn, schema.Retrieval
    asked = (retrieval.run_id == turn.run_id) & (retrieval.turn == turn.position)
    found: dict[UUID, list[LoggedPreference]] = defaultdict(list)
    for run_id, position, used_in, text in session.execute(
        select(turn.run_id, turn.position, retrieval.position, turn.preference)
        .outerjoin(retrieval, asked)
        .where(turn.run_id.in_([run.run_id for run in runs]), turn.action == "retrieve", turn.preference.is_not(None))
        .order_by(turn.run_id, turn.position)
    ):
        found[run_id].append(LoggedPreference(turn=position, retrieval=used_in, text=text or ""))
    return [
        RunPreferences(
            run=_run_record(run),
            status=run.status,  # type: ignore[arg-type]  # the column holds what finish_run was given
            incomplete=run.incomplete,
            preferences=tuple(found.get(run.run_id, ())),
        )
        for run in runs
    ]


def load_traces(session: Session, runs: Sequence[schema.Run]) -> list[RunTrace]:
    """Everything on some runs, in their order."""
    ids = [run.run_id for run in runs]
    turns, retrievals = load_turns(session, ids), load_retrievals(session, ids)
    lists: dict[tuple[UUID, str], list[RecommendationRecord]] = defaultdict(list)
    for line in session.scalars(
        select(schema.Recommendation).where(schema.Recommendation.run_id.in_(ids)).order_by(schema.Recommendation.rank)
    ):
        values = {field.name: getattr(line, field.name) for field in fields(RecommendationRecord)}
        lists[line.run_id, line.listing].append(RecommendationRecord(**values))
    rewards: dict[UUID, list[RewardRecord]] = defaultdict(list)
    for reward in session.scalars(
        select(schema.Reward)
        .where(schema.Reward.run_id.in_(ids))
        .order_by(schema.Reward.scheme, schema.Reward.component)
    ):
        rewards[reward.run_id].append(
            RewardRecord(scheme=reward.scheme, component=reward.component, value=reward.value)
        )
    return [
        RunTrace(
            run=_run_record(run),
            status=run.status,  # type: ignore[arg-type]  # the column holds what finish_run was given
            incomplete=run.incomplete,
            detail=run.detail,
            started_at=run.started_at,
            finished_at=run.finished_at,
            latency_ms=run.latency_ms,
            ungrounded=run.ungrounded,
            pinned=run.pinned,
            redacted_at=run.redacted_at,
            turns=tuple(turns.get(run.run_id, ())),
            retrievals=tuple(retrievals.get(run.run_id, ())),
            written=tuple(lists.get((run.run_id, "written"), ())),
            recommended=tuple(lists.get((run.run_id, "recommended"), ())),
            rewards=tuple(rewards.get(run.run_id, ())),
        )
        for run in runs
    ]


def summary_query() -> Select[Any]:
    """What a listing shows of each run, one column for each field of `RunSummary`."""
    run, turn, retrieval, line = schema.Run, schema.Turn, schema.Retrieval, schema.Recommendation
    counted = {
        "turns": select(func.count()).where(turn.run_id == run.run_id),
        "completion_tokens": select(func.coalesce(func.sum(turn.completion_tokens), 0)).where(
            turn.run_id == run.run_id
        ),
        "retrievals": select(func.count()).where(retrieval.run_id == run.run_id),
        "target_rank": select(func.min(line.rank)).where(
            line.run_id == run.run_id, line.listing == "recommended", line.item_id == run.target_id
        ),
    }
    stored = [getattr(run, field.name) for field in fields(RunSummary) if field.name not in counted]
    return select(*stored, *(query.scalar_subquery().label(name) for name, query in counted.items()))


def load_summaries(session: Session, chosen: Select[Any]) -> list[RunSummary]:
    """The lines of a listing; `chosen` is a `summary_query` with its conditions and order."""
    return [RunSummary(**row) for row in session.execute(chosen).mappings()]


def _run_record(run: schema.Run) -> RunRecord:
    values = {field.name: getattr(run, field.name) for field in fields(RunRecord)}
    values["history"] = tuple(run.history)
    return RunRecord(**values)


def _plain(value: Any) -> Any:
    """A field's value as its column takes it."""
    return value if isinstance(value, UUID | float) else storable_json(value)
