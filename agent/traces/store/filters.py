"""Filters over `runs`, and a run by the beginning of its id."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, literal, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from deeprec.agent.traces.records import OPEN_STATUSES, Kind, TraceStoreError
from deeprec.agent.traces.store import schema
from deeprec.agent.traces.store.codec import storable, storable_json


class RunNotFoundError(TraceStoreError):
    """A run id, or the beginning of one, that names no run or several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """A choice of runs. Every field that is not None has to match."""

    status: str | None = None
    """An outcome, "running", or "incomplete" (in which the store failed)."""
    ended: bool | None = None
    """Whether the run has a list: its status is neither "running" nor "aborted"."""
    measured: bool | None = None
    """Whether an evaluation has measured the run."""
    redacted: bool | None = None
    in_conversation: bool | None = None
    """Whether the run is the search of a turn of a conversation."""
    tenant: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    caller_run_id: str | None = None
    tag: str | None = None
    """One of the tags of the caller's config."""
    metadata: Mapping[str, str] | None = None
    """Entries that the metadata of the caller's config have, all of them."""
    group_id: str | None = None
    parent_id: UUID | None = None
    """Forks and replays of this run."""
    split: str | None = None
    suite: str | None = None
    """A label of runs; the bare name of a suite means all that it was run as (`NAME@…`)."""
    label: str | None = None
    """Exactly this label of a suite."""
    system: str | None = None
    kind: Kind | None = None
    protocol: str | None = None
    guided: bool | None = None
    policy_model: str | None = None
    adapter_version: str | None = None
    trm_fingerprint: str | None = None
    since: datetime | None = None
    """Started at that time or later. A time without a zone is the machine's."""
    until: datetime | None = None
    """Started before that time."""


def filtered(query: Select[Any], where: RunFilter | None) -> Select[Any]:
    """`query`, which reads `runs`, with a filter's conditions."""
    if where is None:
        return query
    run = schema.Run
    for field in fields(where):
        value = getattr(where, field.name)
        if value is None:
            continue
        if field.name == "since":
            query = query.where(run.started_at >= value)
        elif field.name == "until":
            query = query.where(run.started_at < value)
        elif field.name == "suite":
            query = query.where(is_of_suite(run.suite, value))
        elif field.name == "status" and value == "incomplete":
            query = query.where(run.incomplete)
        elif field.name == "ended":
            query = query.where(run.status.not_in(OPEN_STATUSES) == value)
        elif field.name == "measured":
            is_measured = select(schema.Metric.run_id).where(schema.Metric.run_id == run.run_id).exists()
            query = query.where(is_measured if value else ~is_measured)
        elif field.name == "in_conversation":
            turn = schema.ConversationTurn
            is_search = select(turn.turn_id).where(turn.run_id == run.run_id).exists()
            query = query.where(is_search if value else ~is_search)
        elif field.name == "redacted":
            query = query.where(run.redacted_at.is_not(None) == value)
        elif field.name == "tag":
            query = query.where(_holds(run.tags, json.dumps(storable(value))))
        elif field.name == "metadata":
            for entry in storable_json(value).items():
                query = query.where(_holds(run.caller_metadata, json.dumps(dict([entry]))[1:-1]))
        elif field.name == "label":
            query = query.where(run.suite == storable(value))
        else:
            query = query.where(getattr(run, field.name) == (storable(value) if isinstance(value, str) else value))
    return query


def is_of_suite(column: InstrumentedAttribute[Any], suite: str) -> ColumnElement[bool]:
    """Whether a column of labels names a suite; a bare name means all that the suite was run as (`NAME@…`)."""
    name = storable(suite)
    versions = f"{name}@"
    return column == name if "@" in name else or_(column == name, func.substr(column, 1, len(versions)) == versions)


def _holds(column: InstrumentedAttribute[Any], part: str) -> ColumnElement[bool]:
    """Whether a flat JSON column has a part, from a quote to a quote; inside a value, quotes are escaped."""
    text = cast(column, Text)
    # Unlike LIKE, `replace` compares case in every database.
    return or_(*(func.replace(text, f"{before}{part}", "") != text for before in ("[", "{", ", ")))


def started_after(query: Select[Any], run: Sequence[Any]) -> Select[Any]:
    """`query`, which reads `runs`, from behind a run on that is named by its `started_at` and `run_id`."""
    key = (schema.Run.started_at, schema.Run.run_id)
    return query.where(
        tuple_(*key) > tuple_(*(literal(value, column.type) for value, column in zip(run, key, strict=True)))
    )


def find_run(connection: Connection, run_id: UUID | str) -> UUID:
    """The whole id of one run, found by its id or by the beginning of its id.

    Raises:
        RunNotFoundError: no run begins so, or more than one.
    """
    prefix = re.sub(r"[-\s]", "", str(run_id)).lower()
    if not re.fullmatch("[0-9a-f]{1,32}", prefix):
        raise RunNotFoundError(
            f"{storable(str(run_id))[:60]!r} is not a run id: those are made of the digits 0-9 and a-f."
        )
    low, high = UUID(prefix.ljust(32, "0")), UUID(prefix.ljust(32, "f"))
    found = connection.scalars(
        select(schema.Run.run_id).where(schema.Run.run_id.between(low, high)).order_by(schema.Run.run_id).limit(3)
    ).all()
    if not found:
        raise RunNotFoundError(f"No run begins with {prefix!r}. `deeprec traces ls` lists those that there are.")
    if len(found) > 1:
        some = ", ".join(str(run) for run in found[:2])
        raise RunNotFoundError(f"More than one run begins with {prefix!r} ({some}, …). Give more of the id.")
    return found[0]
