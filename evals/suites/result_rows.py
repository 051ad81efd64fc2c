"""The rows that results are made of, as the trace store has them: a suite's runs, their scores, their lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from deeprec.agent.traces import TraceStore, TraceStoreError
from deeprec.agent.traces.frames.columns import read_columns
from deeprec.agent.traces.store.schema import Recommendation, RetrievedItem, Reward, Run
from deeprec.evals.diagnosis.order_dependence import ShownRun
from deeprec.evals.metrics import rewards, run_metrics

CASE_SCHEME = "case"
"""Under which name is stored what a case is like, whatever system ran for it."""
TRUE_OF = "is: "
"""Before a phrase that is true of a case's target, in `CASE_SCHEME`."""
ORACLE = " (oracle)"
"""After the stored name of a system that is told something about the target."""
SHUFFLED = "-shuffled"
"""After the name of a system that shows its model the candidates in a drawn order, and is the named one otherwise."""
_BLOCK = 50_000
_AT_ONCE = 500
"""Ids in one query: few enough for any database's limit of parameters."""


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """One run that has ended."""

    run_id: str
    system: str
    user: str
    target: str
    status: str
    split: str
    k: int
    seed: int | None
    oracle: bool
    made_by: str
    """What wrote it: model and adapter, protocol and prompt with their versions."""
    started: float
    """Seconds since 1970."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScores:
    """The stored numbers of the measured runs."""

    rows: Mapping[str, int]
    """Run id -> line of `values`."""
    columns: Mapping[tuple[str, str], int]
    """Scheme and component -> column of `values`."""
    values: NDArray[np.float64]
    """(runs, components), NaN where it cannot be computed or is not there."""
    is_stored: NDArray[np.bool_]
    """(runs, components): whether it is there."""


def newest_label(connection: Connection, suite: str) -> str:
    """The label of a suite that was run last; `suite` is its name, or the label itself.

    Raises:
        TraceStoreError: there are no runs of it.
    """
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


def model_name(model: str, adapter: str | None) -> str:
    """What a server calls the model that writes: the adapter, if there is one on it."""
    return adapter or model


def models_of(store: TraceStore, label: str, system: str) -> set[str]:
    """Which models wrote the stored runs of a system."""
    chosen = select(Run.policy_model, Run.adapter).distinct().where(Run.suite == label, Run.system == system)
    with store.reading() as connection:
        return {model_name(row.policy_model, row.adapter) for row in connection.execute(chosen)}


def count_unfinished(connection: Connection, label: str) -> dict[str, int]:
    """System -> its runs in a suite that still run, or whose process was killed."""
    chosen = select(Run.system, func.count()).where(Run.suite == label, Run.status == "running").group_by(Run.system)
    return {(system or "").removesuffix(ORACLE): count for system, count in connection.execute(chosen)}


def read_runs(connection: Connection, label: str) -> list[SuiteRun]:
    """The runs of a suite that have ended, oldest first."""
    columns = (
        Run.run_id,
        Run.system,
        Run.policy_model,
        Run.adapter,
        Run.protocol,
        Run.protocol_version,
        Run.prompt_version,
        Run.user_id,
        Run.target_id,
        Run.status,
        Run.incomplete,
        Run.split,
        Run.k,
        Run.seed,
        Run.started_at,
        Run.latency_ms,
    )
    chosen = select(*columns).where(Run.suite == label, Run.status != "running").order_by(Run.started_at, Run.run_id)
    return [
        SuiteRun(
            run_id=str(row.run_id),
            system=row.system.removesuffix(ORACLE) if row.system else row.policy_model,
            user=row.user_id or "",
            target=row.target_id or "",
            status="incomplete" if row.incomplete else row.status,
            split=row.split or "",
            k=row.k,
            seed=row.seed,
            oracle=bool(row.system) and row.system.endswith(ORACLE),
            made_by=(
                f"{model_name(row.policy_model, row.adapter)}, {row.protocol} {row.protocol_version}, prompt "
                f"{row.prompt_version}"
            ),
            started=row.started_at.timestamp(),
            seconds=(row.latency_ms or 0.0) / 1000,
        )
        for row in connection.execute(chosen, execution_options={"yield_per": _BLOCK})  # not the connection's: it lasts
    ]


def read_scores(connection: Connection, label: str) -> StoredScores:
    """What was measured on the runs of a suite. A run without any is in no row.

    There may be millions of numbers: they come as the driver's own rows, and each goes to its place at once.
    """
    chosen = {name: Reward.__table__.c[name] for name in ("run_id", "scheme", "component", "value")}
    schemes = (run_metrics.SCHEME, rewards.SCHEME)
    found = read_columns(
        connection,
        chosen,
        lambda query: query.join(Run, Run.run_id == Reward.run_id).where(
            Run.suite == label, Reward.scheme.in_(schemes)
        ),
        categories={},
        shared=frozenset({"scheme", "component"}),
    )
    run, scheme, component = (found[name].codes for name in ("run_id", "scheme", "component"))
    names = found["component"].names()
    pairs, column = np.unique(scheme * max(len(names), 1) + component, return_inverse=True)
    values = np.full((len(found["run_id"].names()), len(pairs)), np.nan)
    is_stored = np.zeros(values.shape, dtype=np.bool_)
    values[run, column] = found["value"].array()
    is_stored[run, column] = True
    columns = {
        (found["scheme"].names()[pair // len(names)], names[pair % len(names)]): place
        for place, pair in enumerate(pairs.tolist())
    }
    measures = [place for (scheme_name, _), place in columns.items() if scheme_name == run_metrics.SCHEME]
    is_measured: NDArray[np.bool_] = np.any(is_stored[:, measures], axis=1)
    rows = {run_id: line for line, run_id in enumerate(found["run_id"].names()) if is_measured[line]}
    return StoredScores(rows=rows, columns=columns, values=values, is_stored=is_stored)


def read_cases(connection: Connection, rows: Sequence[SuiteRun]) -> dict[str, Mapping[str, float]]:
    """What each user's case is like, by user. Every run of a user says the same, so the last is asked."""
    user_of = {run_id: user for user, run_id in {row.user: row.run_id for row in rows}.items()}
    found: dict[str, dict[str, float]] = {row.user: {} for row in rows}
    asked = [UUID(run_id) for run_id in user_of]
    for start in range(0, len(asked), _AT_ONCE):
        run_ids = asked[start : start + _AT_ONCE]
        chosen = select(Reward.run_id, Reward.component, Reward.value).where(
            Reward.run_id.in_(run_ids), Reward.scheme == CASE_SCHEME
        )
        for run_id, component, value in connection.execute(chosen):
            found[user_of[str(run_id)]][component] = value
    return dict(found)


def read_shown_runs(connection: Connection, label: str, rows: Sequence[SuiteRun]) -> list[ShownRun]:
    """What the runs of one system were shown by their first search, and what they wrote."""
    of_system = (Run.suite == label, Run.system == rows[0].system)
    shown = _lists(connection, RetrievedItem, RetrievedItem.position == 0, *of_system)
    written = _lists(connection, Recommendation, Recommendation.listing == "written", *of_system)
    return [
        ShownRun(user=row.user, seed=row.seed, shown=shown.get(row.run_id, ()), written=written.get(row.run_id, ()))
        for row in rows
    ]


def _lists(
    connection: Connection, of: type[RetrievedItem] | type[Recommendation], *conditions: ColumnElement[bool]
) -> dict[str, tuple[str, ...]]:
    """Run id -> item ids by rank."""
    found = read_columns(
        connection,
        {name: of.__table__.c[name] for name in ("run_id", "item_id")},
        lambda query: query.join(Run, Run.run_id == of.run_id).where(*conditions).order_by(of.run_id, of.rank),
        categories={},
        shared=frozenset({"item_id"}),
    )
    items = found["item_id"].series()
    starts = np.flatnonzero(np.diff(found["run_id"].codes, prepend=-1))
    lists = np.split(items, starts[1:])
    return dict(zip(found["run_id"].names(), (tuple(own) for own in lists), strict=False))


def read_coverage(connection: Connection, label: str) -> dict[str, int]:
    """System -> how many different items its shown lists hold."""
    shown = (
        select(Run.system, func.count(Recommendation.item_id.distinct()))
        .join(Run, Run.run_id == Recommendation.run_id)
        .where(Run.suite == label, Recommendation.listing == "recommended")
        .group_by(Run.system)
    )
    return {(name or "").removesuffix(ORACLE): count for name, count in connection.execute(shown)}
