"""Results of a suite, read from the trace store alone: one row of measures for each system and user."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.traces import CaseRecord, RunFilter, Snapshot, TraceStore, TraceStoreError
from deeprec.evals.diagnosis.order_dependence import OrderDependence, measure_order
from deeprec.evals.metrics.ranking import (
    Interval,
    clustered_interval,
    mean_interval,
    ndcg_from_ranks,
    recall_from_ranks,
    reciprocal_from_ranks,
)
from deeprec.evals.metrics.run_metrics import ranks_from_reciprocals
from deeprec.evals.suites.result_rows import (
    StoredScores,
    SuiteRun,
    count_unfinished,
    read_cases,
    read_coverage,
    read_runs,
    read_scores,
    read_shown_runs,
)

LISTINGS = ("written", "filled")
"""The list as the model wrote it, and as a person sees it."""
_CUTOFFS = (1, 5, 10, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemResults:
    """One system over the users of a suite."""

    name: str
    oracle: bool
    users: tuple[str, ...]
    """Sorted; `measures` has them in this order. In a suite of requests they are the keys of its cases (`Case.key`)."""
    clusters: tuple[str, ...]
    """What each of them belongs to, and is resampled with: the user, or the conversation of the request."""
    targets: tuple[str, ...]
    runs: int
    """Runs of those users; several of a user where several seeds were run."""
    statuses: Mapping[str, int]
    """How the runs ended; an incomplete run is counted as that."""
    measures: Mapping[str, NDArray[np.float64]]
    """Name -> (users,), the mean over a user's runs that have it; NaN where none has."""
    coverage: int
    """Different items in all shown lists together."""
    seconds: float
    """Seconds during which at least one of the runs was under way, so that pauses of a suite do not count."""
    made_by: tuple[str, ...]
    """Model, adapter and prompt of the runs, each different one; one system should have one."""

    def interval(self, measure: str) -> Interval:
        """The mean of a measure with its 95% interval, over users; conversations of requests are resampled whole."""
        values = self.measures[measure]
        return mean_interval(values) if self.clusters == self.users else clustered_interval(values, self.clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResults:
    """All systems of a suite."""

    label: str
    split: str
    k: int
    systems: tuple[SystemResults, ...]
    cases: Mapping[str, CaseRecord]
    """Case of each user."""
    shuffled: Mapping[str, str] = field(default_factory=dict)
    """System -> the system that equals it, except that its model sees the candidates in a drawn order."""
    orders: Mapping[str, OrderDependence] = field(default_factory=dict)
    """System -> what the order of its candidates decides; of those that ran with a drawn order too."""
    unfinished: Mapping[str, int] = field(default_factory=dict)
    """System -> runs that have not ended, and are left out."""

    @property
    def of_requests(self) -> bool:
        """Whether the cases are requests with their targets, in place of people with their next item."""
        return any(case.conversation is not None for case in self.cases.values())

    @property
    def unit(self) -> str:
        """The name of what figures are counted over."""
        return "cases" if self.of_requests else "users"

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


def cutoffs(k: int) -> list[int]:
    """Positions from the top at which lists of `k` items are measured; the last is `k`."""
    return [*(cutoff for cutoff in _CUTOFFS if cutoff < k), k]


def load_results(store: TraceStore, suite: str) -> SuiteResults:
    """Read the results of a suite. Runs that have not ended or were not measured are left out.

    Args:
        store: where the runs are.
        suite: the label that they are stored under, or the suite's name: then the label that was run last.
    Raises:
        TraceStoreError: there are no such runs.
    """
    with store.snapshot() as snapshot:
        label = snapshot.newest_label(suite)
        listed = read_runs(snapshot, label)
        scores = read_scores(snapshot, label)
        measured = [row for row in listed if row.run_id in scores.rows]
        if not measured:
            raise TraceStoreError(
                f"The suite {label} has {len(listed)} runs, none of them measured. Run it to its end."
            )
        by_system: dict[str, list[SuiteRun]] = defaultdict(list)
        for row in measured:
            by_system[row.system].append(row)
        coverage = read_coverage(snapshot, label)
        cases = read_cases(snapshot, measured)
        orders = _orders(snapshot, label, by_system)
        unfinished = count_unfinished(snapshot, label)
    return SuiteResults(
        label=label,
        split=listed[0].split,
        k=listed[0].k,
        systems=tuple(_system(name, rows, scores, coverage.get(name, 0)) for name, rows in by_system.items()),
        cases=cases,
        shuffled=shuffled_systems(by_system),
        orders=orders,
        unfinished=unfinished,
    )


def measured_runs(store: TraceStore, label: str) -> set[UUID]:
    """Ids of the runs of a suite that have ended and been measured."""
    return {run_id for page in store.run_ids(RunFilter(label=label, ended=True, measured=True)) for run_id in page}


def _orders(snapshot: Snapshot, label: str, by_system: Mapping[str, Sequence[SuiteRun]]) -> dict[str, OrderDependence]:
    """Order dependence of each system that also ran with a drawn order of the candidates."""
    drawn = shuffled_systems(by_system)
    return {
        name: measure_order(
            read_shown_runs(snapshot, label, by_system[name]), read_shown_runs(snapshot, label, by_system[drawn[name]])
        )
        for name in by_system
        if name in drawn
    }


def shuffled_systems(by_system: Mapping[str, Sequence[SuiteRun]]) -> dict[str, str]:
    """System -> the system that equals it, except that its model sees the candidates in a drawn order."""
    return {str(rows[0].shuffled_of): name for name, rows in by_system.items() if rows[0].shuffled_of in by_system}


def _system(name: str, rows: Sequence[SuiteRun], scores: StoredScores, coverage: int) -> SystemResults:
    target_of: dict[str, str] = {}
    for row in rows:
        if target_of.setdefault(row.user, row.target) != row.target:
            raise TraceStoreError(
                f"The runs of {name} for user {row.user} have different targets, so they do not belong to one suite."
            )
    users, cluster_of = sorted(target_of), {row.user: row.cluster for row in rows}
    place = {user: index for index, user in enumerate(users)}
    owner = np.array([place[row.user] for row in rows])  # (runs,)
    per_run = _per_run(rows, scores)
    return SystemResults(
        name=name,
        oracle=rows[0].oracle,
        users=tuple(users),
        clusters=tuple(cluster_of[user] for user in users),
        targets=tuple(target_of[user] for user in users),
        runs=len(rows),
        statuses=Counter(row.status for row in rows),
        measures={key: _user_means(values, owner) for key, values in per_run.items()},
        coverage=coverage,
        seconds=_busy_seconds(rows),
        made_by=tuple(sorted({row.made_by for row in rows})),
    )


def _user_means(values: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (users,) of the values (runs,) that are there; a missing one does not take a user's others with it."""
    there = ~np.isnan(values)
    counts = np.bincount(owner, weights=there)
    sums = np.bincount(owner, weights=np.where(there, values, 0.0))
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means


def _busy_seconds(rows: Sequence[SuiteRun]) -> float:
    """Length of the union of the times of the runs."""
    total, until = 0.0, -np.inf
    for started, ended in sorted((row.started, row.started + row.seconds) for row in rows):
        total += max(0.0, ended - max(started, until))
        until = max(until, ended)
    return float(total)


def _per_run(rows: Sequence[SuiteRun], scores: StoredScores) -> dict[str, NDArray[np.float64]]:
    """Name -> a value of each run (runs,), NaN where it has none."""
    lines = np.array([scores.rows[row.run_id] for row in rows])
    is_there = scores.is_stored[lines].any(axis=0)  # (components,)
    values = {name: scores.values[lines, column] for name, column in sorted(scores.columns.items()) if is_there[column]}
    for listing in LISTINGS:
        ranks = ranks_from_reciprocals(values[f"rr_{listing}"])
        for k in cutoffs(rows[0].k):
            values[f"recall@{k} {listing}"] = recall_from_ranks(ranks, k)
            values[f"ndcg@{k} {listing}"] = ndcg_from_ranks(ranks, k)
            values[f"mrr@{k} {listing}"] = reciprocal_from_ranks(ranks, k)
    return values
