"""What a suite's runs came to, read from the trace store alone: one row of measures for each system and user."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from deeprec.agent.traces import TraceStore, TraceStoreError
from deeprec.agent.traces.schema import Recommendation, Reward, Run
from deeprec.evals import rewards, run_metrics
from deeprec.evals.metrics import ndcg_from_ranks, recall_from_ranks, reciprocal_from_ranks
from deeprec.evals.run_metrics import ranks_from_reciprocals

CASE_SCHEME = "case"
"""Under which name is stored what a case is like, whatever system ran for it."""
TRUE_OF = "is: "
"""Before a phrase that is true of a case's target, in `CASE_SCHEME`."""
REWARD = "reward "
"""Before the name of a reward component among the measures."""
LISTINGS = ("written", "filled")
"""The list as the model wrote it, and as a person sees it."""
CUTOFFS = (1, 5, 10, 20)
ORACLE = " (oracle)"
"""After the stored name of a system that is told something about the target."""
_BLOCK = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemResults:
    """One system over the users of a suite."""

    name: str
    oracle: bool
    users: tuple[str, ...]
    """Sorted; `measures` has them in this order."""
    targets: tuple[str, ...]
    runs: int
    """Of those users; several where several seeds were run."""
    statuses: Mapping[str, int]
    """How the runs ended; an incomplete run is counted as that."""
    measures: Mapping[str, NDArray[np.float64]]
    """Name -> (users,), the mean over a user's runs; NaN where it cannot be computed."""
    coverage: int
    """Different items in all shown lists together."""
    seconds: float
    """From the first start to the last end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResults:
    """All systems of a suite."""

    label: str
    split: str
    k: int
    systems: tuple[SystemResults, ...]
    cases: Mapping[str, Mapping[str, float]]
    """User -> what the case is like: `target_popularity`, `history_length`, and 1 for each `is: PHRASE`."""

    def system(self, name: str) -> SystemResults:
        """One system by its name.

        Raises:
            TraceStoreError: the suite has no runs of it.
        """
        for system in self.systems:
            if system.name == name:
                return system
        known = ", ".join(system.name for system in self.systems)
        raise TraceStoreError(f"The suite {self.label} has no runs of {name!r}; it has runs of {known}.")


def load_results(store: TraceStore, suite: str) -> SuiteResults:
    """Read what a suite's runs came to. Runs that have not ended, and those that nobody measured, are left out.

    Args:
        store: where the runs are.
        suite: the label that they are stored under, or the suite's name: then the label that was run last.
    Raises:
        TraceStoreError: there are no such runs.
    """
    with store.reading() as connection:
        label = _label(connection, suite)
        listed = _runs(connection, label)
        measured = _rewards(connection, label)
        coverage = _coverage(connection, label)
    by_system: dict[str, list[_Row]] = defaultdict(list)
    unmeasured = 0
    for row in listed:
        if row.run_id in measured:
            by_system[row.system].append(row)
        else:
            unmeasured += 1
    if not by_system:
        raise TraceStoreError(f"The suite {label} has {unmeasured} runs, none of them measured. Run it to its end.")
    cases: dict[str, Mapping[str, float]] = {}
    for row in listed:
        if row.run_id in measured and row.user not in cases:
            cases[row.user] = measured[row.run_id].get(CASE_SCHEME, {})
    return SuiteResults(
        label=label,
        split=listed[0].split,
        k=listed[0].k,
        systems=tuple(_system(name, rows, measured, coverage.get(name, 0)) for name, rows in by_system.items()),
        cases=cases,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    run_id: bytes
    system: str
    user: str
    target: str
    status: str
    split: str
    k: int
    oracle: bool
    started: float
    seconds: float


_Measured = Mapping[bytes, Mapping[str, Mapping[str, float]]]


def measured_runs(store: TraceStore, label: str) -> set[UUID]:
    """Ids of the runs of a suite that have ended and been measured."""
    chosen = (
        select(Reward.run_id)
        .distinct()
        .join(Run, Run.run_id == Reward.run_id)
        .where(Run.suite == label, Run.status != "running", Reward.scheme == run_metrics.SCHEME)
    )
    with store.reading() as connection:
        return set(connection.scalars(chosen))


def _label(connection: Connection, suite: str) -> str:
    newest = (
        select(Run.suite)
        .where((Run.suite == suite) | Run.suite.startswith(f"{suite}@", autoescape=True))
        .order_by(Run.started_at.desc())
        .limit(1)
    )
    label = connection.execute(newest).scalar()
    if label is None:
        raise TraceStoreError(
            f"The trace store has no runs of a suite {suite[:80]!r}. Run it first: `deeprec eval run {suite[:80]}`."
        )
    return str(label)


def _runs(connection: Connection, label: str) -> list[_Row]:
    columns = (
        Run.run_id,
        Run.system,
        Run.user_id,
        Run.target_id,
        Run.status,
        Run.incomplete,
        Run.split,
        Run.k,
        Run.started_at,
        Run.latency_ms,
    )
    chosen = select(*columns).where(Run.suite == label, Run.status != "running").order_by(Run.started_at, Run.run_id)
    return [
        _Row(
            run_id=row.run_id.bytes,
            system=row.system.removesuffix(ORACLE) if row.system else row.policy_model,
            user=row.user_id or "",
            target=row.target_id or "",
            status="incomplete" if row.incomplete else row.status,
            split=row.split or "",
            k=row.k,
            oracle=bool(row.system) and row.system.endswith(ORACLE),
            started=row.started_at.timestamp(),
            seconds=(row.latency_ms or 0.0) / 1000,
        )
        for row in connection.execution_options(yield_per=_BLOCK).execute(chosen)
    ]


def _rewards(connection: Connection, label: str) -> dict[bytes, dict[str, dict[str, float]]]:
    chosen = (
        select(Reward.run_id, Reward.scheme, Reward.component, Reward.value)
        .join(Run, Run.run_id == Reward.run_id)
        .where(Run.suite == label, Reward.scheme.in_((run_metrics.SCHEME, rewards.SCHEME, CASE_SCHEME)))
    )
    found: dict[bytes, dict[str, dict[str, float]]] = {}
    for run_id, scheme, component, value in connection.execution_options(yield_per=_BLOCK).execute(chosen):
        found.setdefault(run_id.bytes, {}).setdefault(scheme, {})[component] = value
    return {run_id: schemes for run_id, schemes in found.items() if run_metrics.SCHEME in schemes}


def _coverage(connection: Connection, label: str) -> dict[str, int]:
    shown = (
        select(Run.system, func.count(Recommendation.item_id.distinct()))
        .join(Run, Run.run_id == Recommendation.run_id)
        .where(Run.suite == label, Recommendation.listing == "recommended")
        .group_by(Run.system)
    )
    return {(name or "").removesuffix(ORACLE): count for name, count in connection.execute(shown)}


def _system(name: str, rows: Sequence[_Row], measured: _Measured, coverage: int) -> SystemResults:
    target_of: dict[str, str] = {}
    for row in rows:
        if target_of.setdefault(row.user, row.target) != row.target:
            raise TraceStoreError(
                f"The runs of {name} for user {row.user} have different targets, so they are no one suite's."
            )
    users = sorted(target_of)
    place = {user: index for index, user in enumerate(users)}
    owner = np.array([place[row.user] for row in rows])  # (runs,)
    per_run = _per_run(rows, measured)
    counts = np.bincount(owner)
    return SystemResults(
        name=name,
        oracle=rows[0].oracle,
        users=tuple(users),
        targets=tuple(target_of[user] for user in users),
        runs=len(rows),
        statuses=Counter(row.status for row in rows),
        measures={key: np.bincount(owner, weights=values) / counts for key, values in per_run.items()},
        coverage=coverage,
        seconds=max(row.started + row.seconds for row in rows) - min(row.started for row in rows),
    )


def _per_run(rows: Sequence[_Row], measured: _Measured) -> dict[str, NDArray[np.float64]]:
    """Name -> a value of each run (runs,), NaN where it has none."""
    schemes = {run_metrics.SCHEME: "", rewards.SCHEME: REWARD}
    names = {
        (scheme, component)
        for row in rows
        for scheme, components in measured[row.run_id].items()
        if scheme in schemes
        for component in components
    }
    values = {
        schemes[scheme] + component: np.array(
            [measured[row.run_id].get(scheme, {}).get(component, math.nan) for row in rows]
        )
        for scheme, component in sorted(names)
    }
    for listing in LISTINGS:
        ranks = ranks_from_reciprocals(values[f"rr_{listing}"])
        for k in (cutoff for cutoff in CUTOFFS if cutoff <= rows[0].k):
            values[f"recall@{k} {listing}"] = recall_from_ranks(ranks, k)
            values[f"ndcg@{k} {listing}"] = ndcg_from_ranks(ranks, k)
            values[f"mrr@{k} {listing}"] = reciprocal_from_ranks(ranks, k)
    return values
