"""A suite's runs and their numbers, as columns read from one snapshot of the trace store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.traces import CaseRecord, RunFilter, Snapshot, TraceStore
from deeprec.evals.diagnosis.order_dependence import ShownRun
from deeprec.evals.metrics import rewards
from deeprec.evals.requests.cases import case_key

REWARD = "reward "
"""Prefix of a reward component among the measures."""


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """One run that has ended."""

    run_id: str
    system: str
    user: str
    """The key of its case (`Case.key`): the user, or the request and its target."""
    cluster: str
    """What is resampled as a whole: the user, or the request's conversation."""
    target: str
    status: str
    split: str
    k: int
    seed: int | None
    oracle: bool
    shuffled_of: str | None
    made_by: str
    """Model and adapter, protocol and prompt with their versions."""
    started: float
    """Seconds since 1970."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScores:
    """The stored numbers of the measured runs."""

    rows: Mapping[str, int]
    """Run id -> row of `values`."""
    columns: Mapping[str, int]
    """Metric, or reward component after `REWARD` -> column of `values`."""
    values: NDArray[np.float64]
    """(runs, columns), NaN where it cannot be computed or is missing."""
    is_stored: NDArray[np.bool_]
    """(runs, columns): whether there is a value, NaN included."""


def model_name(model: str, adapter: str | None) -> str:
    """The name under which a server serves the model that writes: the adapter, if there is one on it."""
    return adapter or model


def models_of(store: TraceStore, label: str, system: str) -> set[str]:
    """The models that wrote the stored runs of a system."""
    with store.snapshot() as snapshot:
        found = snapshot.count_runs("policy_model", "adapter", where=RunFilter(label=label, system=system))
    return {model_name(*count.values) for count in found}


def count_unfinished(snapshot: Snapshot, label: str) -> dict[str, int]:
    """System -> its runs in a suite that still run, or whose process was killed."""
    found = snapshot.count_runs("system", where=RunFilter(label=label, ended=False))
    return {count.values[0] or "": count.runs for count in found}


def read_runs(snapshot: Snapshot, label: str) -> list[SuiteRun]:
    """The runs of a suite that have ended, oldest first."""
    of_requests = _read_requests(snapshot, label)
    return [
        SuiteRun(
            run_id=str(row.run_id),
            system=row.system or row.policy_model,
            user=case_key(*of_requests[run_id], row.target_id or "") if run_id in of_requests else row.user_id or "",
            cluster=of_requests[run_id][0] if run_id in of_requests else row.user_id or "",
            target=row.target_id or "",
            status="incomplete" if row.incomplete else row.status,
            split=row.split or "",
            k=row.k,
            seed=row.seed,
            oracle=row.oracle,
            shuffled_of=row.shuffled_of,
            made_by=(
                f"{model_name(row.policy_model, row.adapter)}, {row.protocol} {row.protocol_version}, prompt "
                f"{row.prompt_version}"
            ),
            started=row.started_at.timestamp(),
            seconds=(row.latency_ms or 0.0) / 1000,
        )
        for row in snapshot.runs(_RUN_COLUMNS, RunFilter(label=label, ended=True))
        for run_id in [str(row.run_id)]
    ]


def _read_requests(snapshot: Snapshot, label: str) -> dict[str, tuple[str, int]]:
    """Run id -> conversation and turn, of the runs whose case is of a request."""
    found = snapshot.columns("cases", ("run_id", "conversation", "turn"), RunFilter(label=label))
    rows = zip(found["run_id"].series(), found["conversation"].series(), found["turn"].array(), strict=True)
    return {str(run_id): (str(conversation), int(turn)) for run_id, conversation, turn in rows if conversation}


_RUN_COLUMNS = (
    *("run_id", "system", "policy_model", "adapter", "protocol", "protocol_version", "prompt_version", "user_id"),
    *("target_id", "status", "incomplete", "split", "k", "seed", "oracle", "shuffled_of", "started_at", "latency_ms"),
)


def read_scores(snapshot: Snapshot, label: str) -> StoredScores:
    """The metrics and rewards of the runs of a suite. A run without metrics has no row."""
    where = RunFilter(label=label)
    metrics = snapshot.columns("metrics", ("run_id", "name", "value"), where)
    found = snapshot.columns("rewards", ("run_id", "scheme", "component", "value"), where)
    rows = {run_id: row for row, run_id in enumerate(metrics["run_id"].names())}
    own = found["scheme"].codes == found["scheme"].index_of(rewards.REWARD_SCHEME)
    own &= np.isin(found["run_id"].codes, [at for at, run_id in enumerate(found["run_id"].names()) if run_id in rows])
    row_of = np.array([rows.get(run_id, -1) for run_id in found["run_id"].names()], dtype=np.int64)
    names = [*metrics["name"].names(), *(REWARD + name for name in found["component"].names())]
    values = np.full((len(rows), len(names)), np.nan)
    is_stored = np.zeros(values.shape, dtype=np.bool_)
    places = (
        (metrics["run_id"].codes, metrics["name"].codes, metrics["value"].array()),
        (
            row_of[found["run_id"].codes[own]],
            found["component"].codes[own] + len(metrics["name"].names()),
            found["value"].array()[own],
        ),
    )
    for row, column, value in places:
        values[row, column] = value
        is_stored[row, column] = True
    columns = {name: column for column, name in enumerate(names)}
    return StoredScores(rows=rows, columns=columns, values=values, is_stored=is_stored)


def read_cases(snapshot: Snapshot, rows: Sequence[SuiteRun]) -> dict[str, CaseRecord]:
    """The case of each user. All runs of a user have the same one, so that of the last run is read."""
    ids = {user: UUID(run_id) for user, run_id in {row.user: row.run_id for row in rows}.items()}
    found = snapshot.cases(list(ids.values()))
    return {user: found[run_id] for user, run_id in ids.items() if run_id in found}


def read_shown_runs(snapshot: Snapshot, label: str, rows: Sequence[SuiteRun]) -> list[ShownRun]:
    """The items that the first retrieval showed the runs of one system, and the items that they wrote."""
    where = RunFilter(label=label, system=rows[0].system)
    items = snapshot.columns("retrieved_items", ("run_id", "position", "item_id"), where)
    shown = _lists(items, items["position"].array() == 0)
    lists = snapshot.columns("recommendations", ("run_id", "listing", "item_id"), where)
    written = _lists(lists, lists["listing"].codes == lists["listing"].index_of("written"))
    return [
        ShownRun(user=row.user, seed=row.seed, shown=shown.get(row.run_id, ()), written=written.get(row.run_id, ()))
        for row in rows
    ]


def _lists(columns: Mapping[str, Any], chosen: NDArray[np.bool_]) -> dict[str, tuple[str, ...]]:
    """Run id -> the item ids of the chosen rows, which stand together by run and in the order of their ranks."""
    runs, items = columns["run_id"].codes[chosen], columns["item_id"].series()[chosen]
    starts = np.flatnonzero(np.diff(runs, prepend=-1))
    names = columns["run_id"].names()
    return {names[runs[start]]: tuple(own) for start, own in zip(starts, np.split(items, starts[1:]), strict=False)}


def read_coverage(snapshot: Snapshot, label: str) -> dict[str, int]:
    """System -> how many different items its shown lists hold."""
    return {system or "": items for system, items in snapshot.count_items(RunFilter(label=label)).items()}
