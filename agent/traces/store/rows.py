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

from deeprec.agent.traces.records import (
    ChainTurn,
    LoggedPreference,
    RecommendationRecord,
    RetrievalRecord,
    RewardRecord,
    RunChain,
    RunOutcome,
    RunPreferences,
    RunRecord,
    RunSummary,
    RunTrace,
    TraceStoreError,
    TurnRecord,
)
from deeprec.agent.traces.store import schema
from deeprec.agent.traces.store.codec import (
    decode_logprobs,
    decode_tokens,
    encode_logprobs,
    encode_tokens,
    storable,
    storable_json,
)
from deeprec.trm_tool.recommender import ScoredItem

_RUN = tuple(field.name for field in fields(RunRecord))
_TURN = tuple(field.name for field in fields(TurnRecord))
_PACKED = frozenset({"prompt_ids", "completion_ids", "logprobs"})
_RETRIEVAL = tuple(field.name for field in fields(RetrievalRecord) if field.name != "items")


_MOST_IDS = 500
"""Run ids in one query: databases bound how many values it may hold."""
MAX_LABEL = 512
"""Characters of what runs are found by: longer values do not fit into a server's index."""
_LABELS = ("user_id", "group_id", "split", "suite", "policy_model", "adapter_version")


def run_values(record: RunRecord, now: datetime) -> dict[str, Any]:
    """The row of a run that starts now.

    Raises:
        TraceStoreError: something that runs are found by is too long.
    """
    values = {name: _plain(getattr(record, name)) for name in _RUN}
    for name in _LABELS:
        if len(values[name] or "") > MAX_LABEL:
            raise TraceStoreError(
                f"The {name} of run {record.run_id} has {len(values[name]):,} characters, of which the trace store "
                f"keeps at most {MAX_LABEL}, because runs are found by it. Pass a shorter one."
            )
    return {**values, "status": "running", "incomplete": False, "ungrounded": 0, "started_at": now}


def turn_values(run_id: UUID, turn: TurnRecord, now: datetime) -> dict[str, Any]:
    """The row of a turn."""
    return {
        "run_id": run_id,
        "recorded_at": now,
        **{name: _plain(getattr(turn, name)) for name in _TURN if name not in _PACKED},
        "prompt_ids": encode_tokens(turn.prompt_ids),
        "completion_ids": encode_tokens(turn.completion_ids),
        "logprobs": encode_logprobs(turn.logprobs),
    }


def retrieval_values(run_id: UUID, retrieval: RetrievalRecord, now: datetime) -> dict[str, Any]:
    """The row of a retrieval, its items apart."""
    return {"run_id": run_id, "recorded_at": now, **{name: _plain(getattr(retrieval, name)) for name in _RETRIEVAL}}


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


def load_turns(session: Session, run_ids: Sequence[UUID], position: int | None = None) -> dict[UUID, list[TurnRecord]]:
    """The turns of some runs, by position; only those at `position` where one is given.

    Raises:
        TraceStoreError: the tokens of a turn are damaged.
    """
    turn = schema.Turn
    query = select(turn.run_id, *(getattr(turn, name) for name in _TURN)).where(turn.run_id.in_(run_ids))
    if position is not None:
        query = query.where(turn.position == position)
    turns: dict[UUID, list[TurnRecord]] = defaultdict(list)
    for row in session.execute(query.order_by(turn.run_id, turn.position)).mappings():
        values = {name: row[name] for name in _TURN}
        try:
            values["prompt_ids"] = tuple(decode_tokens(row["prompt_ids"]).tolist())
            values["completion_ids"] = tuple(decode_tokens(row["completion_ids"]).tolist())
            values["logprobs"] = tuple(decode_logprobs(row["logprobs"]).tolist())
        except TraceStoreError as error:
            raise TraceStoreError(f"Turn {row['position']} of run {row['run_id']} cannot be read: {error}") from error
        values["items"] = tuple(row["items"])
        turns[row["run_id"]].append(TurnRecord(**values))
    return turns


def load_retrievals(
    session: Session, run_ids: Sequence[UUID], position: int | None = None
) -> dict[UUID, list[RetrievalRecord]]:
    """The retrievals of some runs, by position; only those at `position` where one is given."""
    item, retrieval = schema.RetrievedItem, schema.Retrieval
    of_items = select(item.run_id, item.position, item.item_id, item.score).where(item.run_id.in_(run_ids))
    of_retrievals = select(retrieval.run_id, *(getattr(retrieval, name) for name in _RETRIEVAL)).where(
        retrieval.run_id.in_(run_ids)
    )
    if position is not None:
        of_items = of_items.where(item.position == position)
        of_retrievals = of_retrievals.where(retrieval.position == position)
    items: dict[tuple[UUID, int], list[ScoredItem]] = defaultdict(list)
    for run_id, at, item_id, score in session.execute(of_items.order_by(item.run_id, item.position, item.rank)):
        items[run_id, at].append(ScoredItem(id=item_id, score=score))
    retrievals: dict[UUID, list[RetrievalRecord]] = defaultdict(list)
    for row in session.execute(of_retrievals.order_by(retrieval.run_id, retrieval.position)).mappings():
        values = {name: row[name] for name in _RETRIEVAL}
        values["unenforced"] = tuple(row["unenforced"])
        found = tuple(items[row["run_id"], row["position"]])
        retrievals[row["run_id"]].append(RetrievalRecord(items=found, **values))
    return retrievals


def load_chains(session: Session, runs: Select[Any]) -> list[RunChain]:
    """The tokens of some runs, in the order of `runs`, which selects `CHAIN_COLUMNS`. Nothing is decoded."""
    turn = schema.Turn
    found = session.execute(runs).all()
    turns: dict[UUID, list[ChainTurn]] = defaultdict(list)
    ids = [row[0] for row in found]
    for run_id, *values in session.execute(
        select(turn.run_id, *(getattr(turn, name) for name in ChainTurn._fields))
        .where(turn.run_id.in_(ids))
        .order_by(turn.run_id, turn.position)
    ):
        turns[run_id].append(ChainTurn(*values))
    return [RunChain._make((*row, tuple(turns[row[0]]))) for row in found]


CHAIN_COLUMNS = tuple(getattr(schema.Run, name) for name in RunChain._fields if name != "turns")
"""Of `runs`, for `load_chains`; the run id comes first."""


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


def load_rewards(session: Session, run_ids: Sequence[UUID], scheme: str) -> dict[UUID, dict[str, float]]:
    """The components of one reward scheme for some runs, by name; a run without any is missing."""
    reward = schema.Reward
    found: dict[UUID, dict[str, float]] = defaultdict(dict)
    for start in range(0, len(run_ids), _MOST_IDS):
        some = run_ids[start : start + _MOST_IDS]
        query = select(reward.run_id, reward.component, reward.value).where(
            reward.run_id.in_(some), reward.scheme == storable(scheme)
        )
        for run_id, component, value in session.execute(query):
            found[run_id][component] = value
    return dict(found)


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
    values = {name: getattr(run, name) for name in _RUN}
    values["history"] = tuple(run.history)
    return RunRecord(**values)


def _plain(value: Any) -> Any:
    """A field's value as its column takes it."""
    return value if isinstance(value, UUID | float) else storable_json(value)
