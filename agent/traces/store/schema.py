"""The tables of the trace store. A step is keyed by its run and its position; deleting a run deletes its steps."""

import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    TypeDecorator,
    Uuid,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine


class RunId(TypeDecorator[UUID]):
    """A run's id in 16 bytes; as text it would be in every row of every table twice as long."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Bytes in SQLite, which has no type for it."""
        return dialect.type_descriptor(LargeBinary(16) if dialect.name == "sqlite" else Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> UUID | bytes | None:
        """Convert to bytes in SQLite."""
        return value.bytes if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: UUID | bytes | None, dialect: Dialect) -> UUID | None:
        """Convert from bytes in SQLite."""
        return UUID(bytes=value) if isinstance(value, bytes) else value


class NanFloat(TypeDecorator[float]):
    """A double whose NaN is stored as NULL, as SQLite does anyway: a missing score, which SQL's averages leave out."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """Convert NaN to NULL."""
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        """Convert NULL to NaN."""
        return math.nan if value is None else value


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC; aware in Python, also where the database drops the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to an aware time."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """The tables of one store."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        datetime: UtcDateTime(),
        bytes: LargeBinary(),
        UUID: RunId(),
    }


class Run(Base):
    """One request and its lineage. Its ending is filled in once."""

    __tablename__ = "runs"
    # Listings are filtered inside one index, newest first, and only the runs that they show are looked up.
    __table_args__ = (
        Index(
            "ix_runs_listing",
            *("started_at", "run_id", "status", "incomplete", "split", "suite", "policy_model", "adapter_version"),
            *("protocol", "guided", "trm_fingerprint"),
        ),
    )

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    parent_id: Mapped[UUID | None] = mapped_column(index=True)  # no foreign key: a child outlives its parent
    tenant: Mapped[str | None] = mapped_column(index=True)
    user_id: Mapped[str | None] = mapped_column(index=True)
    thread_id: Mapped[str | None] = mapped_column(index=True)
    caller_run_id: Mapped[str | None]
    tags: Mapped[list[Any] | None]
    caller_metadata: Mapped[dict[str, Any] | None]
    history: Mapped[list[Any]]
    message: Mapped[str | None]
    target_id: Mapped[str | None]
    protocol: Mapped[str]
    protocol_version: Mapped[str]
    prompt_version: Mapped[str]
    guided: Mapped[bool]
    k: Mapped[int]
    policy_model: Mapped[str]
    adapter: Mapped[str | None]
    adapter_version: Mapped[str | None]
    base_fingerprint: Mapped[str | None]
    adapter_fingerprint: Mapped[str | None]
    logprobs_mode: Mapped[str | None]
    trm_fingerprint: Mapped[str]
    trm_holdout: Mapped[int | None]
    dataset_fingerprint: Mapped[str | None]
    sampling: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    split: Mapped[str | None]
    suite: Mapped[str | None]
    system: Mapped[str | None]
    kind: Mapped[str] = mapped_column(server_default=text("'agent'"))
    oracle: Mapped[bool] = mapped_column(server_default=text("false"))
    shuffled_of: Mapped[str | None]
    group_id: Mapped[str | None] = mapped_column(index=True)
    versions: Mapped[dict[str, Any]]
    fork: Mapped[dict[str, Any] | None]
    status: Mapped[str]  # "running" until the run is finished
    incomplete: Mapped[bool] = mapped_column(server_default=text("false"))
    detail: Mapped[str | None]
    ungrounded: Mapped[int] = mapped_column(server_default=text("0"))
    latency_ms: Mapped[float | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    pinned: Mapped[bool] = mapped_column(server_default=text("false"))
    redacted_at: Mapped[datetime | None]


def _run_key() -> Mapped[UUID]:
    return mapped_column(ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True)


class Turn(Base):
    """One call of the policy. Written once, never updated."""

    __tablename__ = "turns"

    run_id: Mapped[UUID] = _run_key()
    position: Mapped[int] = mapped_column(primary_key=True)  # 0-based within the run
    node: Mapped[str]
    prompt_ids: Mapped[bytes]  # codec.py, as are the next two
    completion_ids: Mapped[bytes]
    logprobs: Mapped[bytes]
    chained: Mapped[bool]
    text: Mapped[str]
    thought: Mapped[str | None]
    action: Mapped[str]
    preference: Mapped[str | None]
    items: Mapped[list[Any]]
    detail: Mapped[str | None]
    finish_reason: Mapped[str | None]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    latency_ms: Mapped[float] = mapped_column(NanFloat, nullable=True)
    messages: Mapped[list[Any] | None]
    recorded_at: Mapped[datetime]
    inputs: Mapped[str | None]


class Retrieval(Base):
    """One call of the recommender inside a run. Written once, never updated."""

    __tablename__ = "retrievals"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    run_id: Mapped[UUID] = _run_key()
    position: Mapped[int] = mapped_column(primary_key=True)  # 0-based within the run
    turn: Mapped[int]
    preference: Mapped[str | None]
    k: Mapped[int]
    unenforced: Mapped[list[Any]]
    latency_ms: Mapped[float] = mapped_column(NanFloat, nullable=True)
    detail: Mapped[str | None]
    recorded_at: Mapped[datetime]
    inputs: Mapped[str | None]
    words: Mapped[bool] = mapped_column(server_default=text("false"))
    constraints: Mapped[dict[str, Any] | None]


class RetrievedItem(Base):
    """One item that a retrieval brought back."""

    __tablename__ = "retrieved_items"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "position"], ["retrievals.run_id", "retrievals.position"], ondelete="CASCADE"),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # of the retrieval
    rank: Mapped[int] = mapped_column(primary_key=True)  # 1-based, best first
    item_id: Mapped[str]
    score: Mapped[float] = mapped_column(NanFloat, nullable=True)


class Recommendation(Base):
    """One position of one of a run's two lists: the one that the model wrote, and the one that was shown."""

    __tablename__ = "recommendations"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    run_id: Mapped[UUID] = _run_key()
    listing: Mapped[str] = mapped_column(primary_key=True)  # "written" or "recommended"
    rank: Mapped[int] = mapped_column(primary_key=True)  # 1-based
    item_id: Mapped[str]
    retrieval: Mapped[int | None]  # position of the first retrieval that found it
    score: Mapped[float | None]
    source: Mapped[str]


class Reward(Base):
    """One component of a reward scheme for a run. NULL is NaN: it could not be computed."""

    __tablename__ = "rewards"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    run_id: Mapped[UUID] = _run_key()
    scheme: Mapped[str] = mapped_column(primary_key=True)
    component: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(NanFloat, nullable=True)


class Metric(Base):
    """One number that the evaluation measured on a run. NULL is NaN: it could not be computed."""

    __tablename__ = "metrics"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    run_id: Mapped[UUID] = _run_key()
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(NanFloat, nullable=True)


class Case(Base):
    """Facts about the request of an evaluated run; they are the same whatever system answered it."""

    __tablename__ = "cases"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    run_id: Mapped[UUID] = _run_key()
    target_popularity: Mapped[float] = mapped_column(NanFloat, nullable=True)
    history_length: Mapped[int]
    other_data: Mapped[bool]
    chosen_on: Mapped[bool]
    phrases: Mapped[list[Any]]
    conversation: Mapped[str | None]
    turn: Mapped[int | None]
    words: Mapped[int | None]
    said: Mapped[dict[str, Any] | None]


class RunPair(Base):
    """Two runs of a group, of which one earned more. It goes with either of them."""

    __tablename__ = "run_pairs"

    name: Mapped[str] = mapped_column(primary_key=True)  # of the set of pairs
    chosen_id: Mapped[UUID] = mapped_column(ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True, index=True)
    rejected_id: Mapped[UUID] = mapped_column(
        ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True, index=True
    )
    reward: Mapped[str]
    chosen_reward: Mapped[float]
    rejected_reward: Mapped[float]
    margin: Mapped[float]
    runs: Mapped[int]


class ConversationTurn(Base):
    """One turn of a conversation. It belongs to no run: `run_id` names the run of its search, which may be missing."""

    __tablename__ = "conversation_turns"
    # The first turn of a conversation, by which conversations are listed, is found inside the index.
    __table_args__ = (Index("ix_conversation_turns_order", "conversation_id", "created_at", "turn_id"),)

    turn_id: Mapped[UUID] = mapped_column(primary_key=True)  # from tenant, thread, turn and message id
    conversation_id: Mapped[UUID]  # from tenant and thread
    thread_id: Mapped[str] = mapped_column(index=True)
    turn: Mapped[int]
    message_id: Mapped[str]
    tenant: Mapped[str | None]
    user_id: Mapped[str | None] = mapped_column(index=True)
    suite: Mapped[str | None]
    kind: Mapped[str]
    run_id: Mapped[UUID | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    redacted_at: Mapped[datetime | None]
    # What may be long comes last: the columns before it are read without it.
    message: Mapped[str]
    history: Mapped[list[Any]]
    delta: Mapped[dict[str, Any]]
    state_before: Mapped[dict[str, Any]]
    state_after: Mapped[dict[str, Any]]
    reply: Mapped[str]
    problems: Mapped[list[Any]]
    shown: Mapped[list[Any]]  # item ids by position
    question: Mapped[dict[str, Any] | None]
    actions: Mapped[list[Any]]
