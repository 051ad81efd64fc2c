"""The table of an ablation: every row beside the full method and the recommender alone, on the same people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeprec.agent import TraceStore
from deeprec.evals.metrics.ranking import Interval
from deeprec.evals.suites.comparison import Difference, compare_systems
from deeprec.evals.suites.results import SystemResults, load_results
from deeprec.training.ablation.plan import ALONE, FULL, AblationPlan
from deeprec.training.ablation.results import TABLE_FILE, AblationResult, read_row
from deeprec.training.ablation.row_settings import AblationRow
from deeprec.trm_tool.folders import write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class AblatedRow:
    """A row that has been measured."""

    name: str
    row: AblationRow
    result: AblationResult
    means: Mapping[str, Interval]
    """Measure -> its mean over people, with the interval of 95%."""
    in_format: float
    """The share of runs in the format; NaN for a system without a model."""
    differences: Mapping[str, Difference]
    """`full`, `recommender` -> how far this row is above it in the first measure, paired by person; not to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationTable:
    """What each piece is worth, by all rows that have been measured."""

    name: str
    size: str
    measures: tuple[str, str]
    """The measures of the list that a person sees: NDCG and Recall, of the first 10 items or fewer."""
    rows: tuple[AblatedRow, ...]
    failed: Mapping[str, str]
    """Row -> why it has no figures."""
    missing: tuple[str, ...]
    """Rows that have not been run to their end."""

    def row(self, name: str) -> AblatedRow | None:
        """A row by its name; None where it has not been measured."""
        return next((row for row in self.rows if row.name == name), None)

    def sentences(self) -> list[str]:
        """What does not pay by its interval, a sentence each; and what cannot be said yet."""
        return list(_sentences(self))

    def to_dict(self) -> dict[str, Any]:
        """The table for JSON; a missing number is None."""
        return {
            "plan": self.name,
            "size": self.size,
            "rows": [
                {
                    "name": row.name,
                    "piece": row.row.piece,
                    "adds": row.row.adds,
                    "suite": row.result.suite,
                    "policy": row.result.policy,
                    "preferred": row.result.preferred,
                    "seconds": round(row.result.seconds, 1),
                    "in_format": None if math.isnan(row.in_format) else row.in_format,
                    "means": {measure: mean.to_dict() for measure, mean in row.means.items()},
                    "differences": {other: found.to_dict() for other, found in row.differences.items()},
                }
                for row in self.rows
            ],
            "failed": dict(self.failed),
            "missing": list(self.missing),
            "sentences": self.sentences(),
        }


def read_table(plan: AblationPlan, out: Path, store: TraceStore) -> AblationTable:
    """Read the table of all rows that are done, from their outcomes and the stored runs alone.

    Raises:
        ConfigError: the outcome of a row cannot be read.
        TraceStoreError: the store lacks its runs.
    """
    results = {name: read_row(out, name) for name in plan.rows}
    done = {name: result for name, result in results.items() if result is not None and result.suite is not None}
    k, systems = 10, dict[str, SystemResults]()
    for name, result in done.items():
        found = load_results(store, str(result.suite))
        k, systems[name] = min(k, found.k), found.system(name)
    measures = (f"ndcg@{k} filled", f"recall@{k} filled")
    rows = [_row(name, plan.rows[name], result, systems, measures) for name, result in done.items()]
    return AblationTable(
        name=plan.name,
        size=plan.size,
        measures=measures,
        rows=tuple(rows),
        failed={name: result.failed for name, result in results.items() if result is not None and result.failed},
        missing=tuple(name for name, result in results.items() if result is None),
    )


def write_table(table: AblationTable, out: Path) -> Path:
    """Write the table as JSON into the ablation's folder, and return the file.

    Raises:
        ConfigError: it cannot be written.
    """
    path = out / TABLE_FILE
    write_file(path, json.dumps(table.to_dict(), indent=2, allow_nan=False) + "\n")
    return path


def _row(
    name: str, row: AblationRow, result: AblationResult, systems: Mapping[str, SystemResults], measures: tuple[str, str]
) -> AblatedRow:
    own = systems[name]
    valid = own.measures.get("valid", np.full(1, np.nan))
    return AblatedRow(
        name=name,
        row=row,
        result=result,
        means={measure: own.interval(measure) for measure in (*measures, measures[0].replace("filled", "written"))},
        in_format=float(np.nanmean(valid)) if not np.isnan(valid).all() else math.nan,
        differences={
            other: compare_systems(own, systems[other], measures[:1])[0]
            for other in (FULL, ALONE)
            if other in systems and other != name
        },
    )


def _sentences(table: AblationTable) -> Iterator[str]:
    metric = table.measures[0].split()[0].upper()
    if table.row(FULL) is None and table.rows:
        yield f"The row {FULL} has not been measured, so that no piece has a worth yet."
    for row in table.rows:
        piece, found = row.row.piece, row.differences.get(FULL)
        if found is None:
            continue
        difference, shown = found.interval, found.interval.text(signed=True)
        power = f"{difference.n} people show a difference of {found.smallest:.3f} four times out of five"
        if math.isnan(difference.low):
            yield (
                f"{piece} makes no difference here: {row.name} and {FULL} have the same {metric} for each of "
                f"{difference.n} people."
            )
        elif row.row.adds and difference.low <= 0:
            worse = "; it costs" if difference.high < 0 else f"; {power}"
            yield f"{piece} does not pay by its interval: with it {metric} is {shown} from {FULL}{worse}."
        elif not row.row.adds and difference.high >= 0:
            worse = "; it costs" if difference.low > 0 else f"; {power}"
            without = f"without it ({row.name}) {metric} is {shown} from {FULL}"
            yield f"{piece} does not pay by its interval: {without}{worse}."
    for name, why in table.failed.items():
        yield f"The row {name} failed and has no figures: {why}"
    if table.missing:
        yield f"Not measured yet: {', '.join(table.missing)}."
