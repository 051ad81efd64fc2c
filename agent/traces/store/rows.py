"""Records to rows and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, select, type_coerce
from sqlalchemy.types import NullType

from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.records import (
    CaseRecord,
    ChainTurn,
    Part,
    RecommendationRecord,
    RetrievalRecord,
    RewardRecord,
    RunChain,
    RunOutcome,
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
_PLACE = tuple(field.name for field in fields(RecommendationRecord))
_CASE = tuple(field.name for field in fields(CaseRecord))
CONVERSATION_TURN = tuple(field.name for field in fields(ConversationTurn))
_ENDING = (
    *("status", "incomplete", "detail", "started_at", "finished_at", "latency_ms", "ungrounded", "pinned"),
    "redacted_at",
)
"""Columns of `runs` that are fields of `RunTrace`."""
_PART_OF: dict[str, Part] = {
    **dict.fromkeys(_PACKED, "tokens"),
    **dict.fromkeys(("text", "thought", "messages"), "texts"),
    **dict.fromkeys(("sampling", "config", "versions"), "settings"),
}
"""Column -> the group that it is left out with; every other column is always read."""

_MOST_IDS = 500
"""Run ids in one query: databases bound how many values it may hold."""
MAX_LABEL = 512
"""Characters of what runs are found by: longer values do not fit into a server's index."""
_LABELS = ("tenant", "user_id", "group_id", "split", "suite", "policy_model", "adapter_version")
_CONVERSATION_LABELS = ("thread_id", "tenant", "user_id", "suite", "message_id")


class TooLongError(TraceStoreError):
    """A record that no attempt can store: something that it is found by is too long."""


def run_values(record: RunRecord, now: datetime) -> dict[str, Any]:
    """The row of a run that starts now.

    Raises:
        TooLongError: something that runs are found by is too long.
    """
    values = {name: _plain(getattr(record, name)) for name in _RUN}
    _check_labels(values, _LABELS, f"run {record.run_id}")
    return {**values, "status": "running", "incomplete": False, "ungrounded": 0, "started_at": now}


def _check_labels(values: Mapping[str, Any], names: Iterable[str], of: str) -> None:
    for name in names:
        if len(values[name] or "") > MAX_LABEL:
            raise TooLongError(
                f"The {name} of {of} has {len(values[name]):,} characters, of which the trace store "
                f"keeps at most {MAX_LABEL}, because records are found by it. Pass a shorter one."
            )


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


def metric_values(run_id: UUID, metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """The rows of a run's metrics."""
    return [{"run_id": run_id, "name": storable(name), "value": value} for name, value in metrics.items()]


def case_values(run_id: UUID, case: CaseRecord) -> dict[str, Any]:
    """The row of a run's case."""
    return {"run_id": run_id, **{name: _plain(getattr(case, name)) for name in _CASE}}


def conversation_turn_values(turn: ConversationTurn) -> dict[str, Any]:
    """The row of a turn of a conversation.

    Raises:
        TooLongError: something that conversations are found by is too long.
    """
    times = {"created_at": turn.created_at, "redacted_at": turn.redacted_at}
    values = {name: _plain(getattr(turn, name)) for name in CONVERSATION_TURN if name not in times}
    _check_labels(values, _CONVERSATION_LABELS, f"turn {turn.turn} of a conversation")
    return {"turn_id": turn.turn_id, "conversation_id": turn.conversation_id, **values, **times}


def reward_values(run_id: UUID, rewards: Iterable[RewardRecord]) -> list[dict[str, Any]]:
    """The rows of a run's rewards."""
    return [
        {
            "run_id": run_id,
            "scheme": storable(reward.scheme),
            "component": storable(reward.component),
            "value": reward.value,
        }
        for reward in rewards
    ]


def load_turns(
    connection: Connection, run_ids: Sequence[UUID], *, position: int | None = None, omit: Collection[Part] = ()
) -> dict[Any, list[TurnRecord]]:
    """The turns of some runs by the runs' keys, ordered by position; only those at `position` where one is given.

    Raises:
        TraceStoreError: the tokens of a turn are damaged.
    """
    names = [name for name in _TURN if _PART_OF.get(name) not in omit]
    turns: dict[Any, list[TurnRecord]] = defaultdict(list)
    for key, *row in _steps(connection, schema.Turn, names, run_ids, position):
        values = dict(zip(names, row, strict=True))
        values["items"] = tuple(values["items"])
        try:
            for name in _PACKED.intersection(values):
                decode = decode_logprobs if name == "logprobs" else decode_tokens
                values[name] = tuple(decode(values[name]).tolist())
        except TraceStoreError as error:
            run_id = key if isinstance(key, UUID) else UUID(bytes=key)
            raise TraceStoreError(f"Turn {values['position']} of run {run_id} cannot be read: {error}") from error
        turns[key].append(TurnRecord(**values))
    return turns


def load_retrievals(
    connection: Connection, run_ids: Sequence[UUID], *, position: int | None = None
) -> dict[Any, list[RetrievalRecord]]:
    """The retrievals of some runs by the runs' keys, by position; only those at `position` where one is given."""
    items: dict[tuple[Any, int], list[ScoredItem]] = defaultdict(list)
    for key, at, item_id, score in _steps(
        connection, schema.RetrievedItem, ("position", "item_id", "score"), run_ids, position
    ):
        items[key, at].append(ScoredItem(id=item_id, score=score))
    retrievals: dict[Any, list[RetrievalRecord]] = defaultdict(list)
    for key, *row in _steps(connection, schema.Retrieval, _RETRIEVAL, run_ids, position):
        values = dict(zip(_RETRIEVAL, row, strict=True))
        values["unenforced"] = tuple(values["unenforced"])
        retrievals[key].append(RetrievalRecord(items=tuple(items[key, values["position"]]), **values))
    return retrievals


def load_chains(connection: Connection, runs: Select[Any]) -> list[RunChain]:
    """The tokens of the runs that `runs` selects, in its order. Nothing is decoded."""
    columns = tuple(getattr(schema.Run, name) for name in RunChain._fields if name != "turns")
    found = connection.execute(runs.with_only_columns(_key(schema.Run), *columns)).all()
    turns: dict[Any, list[ChainTurn]] = defaultdict(list)
    for key, *values in _steps(connection, schema.Turn, ChainTurn._fields, [row.run_id for row in found]):
        turns[key].append(ChainTurn(*values))
    return [RunChain._make((*row, tuple(turns[key]))) for key, *row in found]


def load_rewards(connection: Connection, run_ids: Sequence[UUID], scheme: str) -> dict[UUID, dict[str, float]]:
    """The components of one reward scheme for some runs, by name; a run without any is missing."""
    reward = schema.Reward
    found: dict[UUID, dict[str, float]] = defaultdict(dict)
    for start in range(0, len(run_ids), _MOST_IDS):
        some = run_ids[start : start + _MOST_IDS]
        query = select(reward.run_id, reward.component, reward.value).where(
            reward.run_id.in_(some), reward.scheme == storable(scheme)
        )
        for run_id, component, value in connection.execute(query):
            found[run_id][component] = value
    return dict(found)


def load_cases(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, CaseRecord]:
    """The cases of some runs; runs that have none are missing."""
    case = schema.Case
    found = {}
    for start in range(0, len(run_ids), _MOST_IDS):
        query = select(case.run_id, *(getattr(case, name) for name in _CASE))
        for run_id, *row in connection.execute(query.where(case.run_id.in_(run_ids[start : start + _MOST_IDS]))):
            values = dict(zip(_CASE, row, strict=True))
            found[run_id] = CaseRecord(**values | {"phrases": tuple(values["phrases"])})
    return found


def load_traces(connection: Connection, runs: Select[Any], omit: Collection[Part] = ()) -> list[RunTrace]:
    """The runs that `runs` selects, in its order; what is left out reads as empty."""
    names = [name for name in (*_RUN, *_ENDING) if _PART_OF.get(name) not in omit]
    columns = (getattr(schema.Run, name) for name in names)
    found = [
        (key, dict(zip(names, row, strict=True)))
        for key, *row in connection.execute(runs.with_only_columns(_key(schema.Run), *columns))
    ]
    ids = [values["run_id"] for _, values in found]
    turns, retrievals = load_turns(connection, ids, omit=omit), load_retrievals(connection, ids)
    lists: dict[tuple[Any, str], list[RecommendationRecord]] = defaultdict(list)
    for key, listing, *row in _steps(connection, schema.Recommendation, ("listing", *_PLACE), ids):
        lists[key, listing].append(RecommendationRecord(**dict(zip(_PLACE, row, strict=True))))
    rewards: dict[Any, list[RewardRecord]] = defaultdict(list)
    metrics: dict[Any, dict[str, float]] = defaultdict(dict)
    cases: dict[UUID, CaseRecord] = {}
    if "scores" not in omit:
        for key, scheme, component, value in _steps(connection, schema.Reward, ("scheme", "component", "value"), ids):
            rewards[key].append(RewardRecord(scheme=scheme, component=component, value=value))
        for key, name, value in _steps(connection, schema.Metric, ("name", "value"), ids):
            metrics[key][name] = value
        cases = load_cases(connection, ids)
    return [
        RunTrace(
            run=_run_record(values),
            **{name: values[name] for name in _ENDING},
            turns=tuple(turns.get(key, ())),
            retrievals=tuple(retrievals.get(key, ())),
            written=tuple(lists.get((key, "written"), ())),
            recommended=tuple(lists.get((key, "recommended"), ())),
            rewards=tuple(rewards.get(key, ())),
            metrics=metrics.get(key, {}),
            case=cases.get(values["run_id"]),
        )
        for key, values in found
    ]


def summary_query() -> Select[Any]:
    """The query of a listing, one column for each field of `RunSummary`."""
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


def load_summaries(connection: Connection, chosen: Select[Any]) -> list[RunSummary]:
    """The lines of a listing; `chosen` is a `summary_query` with its conditions and order."""
    return [RunSummary(**row) for row in connection.execute(chosen).mappings()]


def _steps(
    connection: Connection,
    table: type[schema.Base],
    names: Sequence[str],
    run_ids: Sequence[UUID],
    position: int | None = None,
) -> Iterable[Sequence[Any]]:
    """Rows (key of the run, then the columns `names`) of some runs, in the order of the table's primary key."""
    columns = table.__table__.c
    query = select(_key(table), *(columns[name] for name in names)).where(columns.run_id.in_(run_ids))
    if position is not None:
        query = query.where(columns.position == position)
    return connection.execute(query.order_by(*table.__table__.primary_key))


def _key(table: type[schema.Base]) -> ColumnElement[Any]:
    """A run's id as the driver returns it: to find what belongs together, no object has to be made of each."""
    return type_coerce(table.__table__.c.run_id, NullType()).label("key")


def _run_record(values: Mapping[str, Any]) -> RunRecord:
    own = {name: values[name] for name in _RUN if name in values}
    given = {"history": tuple(values["history"]), "tags": tuple(values["tags"] or ())}
    return RunRecord(**own | given | {"caller_metadata": values["caller_metadata"] or {}})


def _plain(value: Any) -> Any:
    """A field's value as its column takes it."""
    return value if isinstance(value, UUID | float) else storable_json(value)
