"""The report of a suite, from stored runs alone: its comparisons, and what weakens its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deeprec.evals.metrics.ranking import Interval
from deeprec.evals.metrics.statistics import FEW_USERS
from deeprec.evals.requests.cases import TARGET_WORDS
from deeprec.evals.suites.comparison import (
    Difference,
    compare_all,
    compare_slices,
    compare_systems,
    lists_seen,
    masks_alike,
)
from deeprec.evals.suites.oracle_share import shares_of_the_way
from deeprec.evals.suites.results import SuiteResults
from deeprec.trm_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteReport:
    """The content of a report, before its layout."""

    results: SuiteResults
    baseline: str
    measure: str
    """The measure that systems are compared by."""
    differences: Sequence[Difference]
    sliced: Sequence[Difference]
    order_worth: Mapping[str, Difference]
    """System -> how much better it is with its candidates in the recommender's order than in a drawn one."""
    warnings: Sequence[str]
    oracle_shares: Mapping[str, Interval] = field(default_factory=dict)
    """System -> its share of the way from the baseline to the oracle; of suites of requests."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; a missing number is None."""
        shares = {name: share.to_dict() for name, share in self.oracle_shares.items()}
        return {
            "suite": self.results.label,
            "split": self.results.split,
            "k": self.results.k,
            "baseline": self.baseline,
            "measure": self.measure,
            "protocol": protocol(self.results),
            "warnings": list(self.warnings),
            "systems": [
                {
                    "name": system.name,
                    "oracle": system.oracle,
                    "users": len(system.users),
                    "runs": system.runs,
                    "statuses": dict(system.statuses),
                    "coverage": system.coverage,
                    "seconds": system.seconds,
                    "measures": {name: system.interval(name).to_dict() for name in system.measures},
                }
                for system in self.results.systems
            ],
            "differences": [difference.to_dict() for difference in self.differences],
            "slices": [difference.to_dict() for difference in self.sliced],
            "orders": {
                name: found.to_dict()
                | {"worth": self.order_worth[name].to_dict() if name in self.order_worth else None}
                for name, found in self.results.orders.items()
            },
        } | ({"oracle_shares": shares} if shares else {})


def make_report(
    results: SuiteResults, *, baseline: str = "trm", measure: str | None = None, slice_of: str | None = None
) -> SuiteReport:
    """Compare the systems of a suite.

    Args:
        results: From `load_results`.
        baseline: The system that every other one is compared with.
        measure: The measure to compare by; None is the NDCG of the filled list at the suite's length.
        slice_of: The system that is compared with the baseline in each slice; None is the agent whose own lists are the
            best (written, not filled: a list that is filled with the recommender's says nothing of an agent).

    Raises:
        TraceStoreError: the suite has no runs of the baseline.
        ConfigError: there is no such measure.
    """
    against = results.system(baseline)
    measure = measure or f"ndcg@{results.k} filled"
    if measure not in against.measures:
        known = ", ".join(name for name in against.measures if "@" in name)
        raise ConfigError(f"There is no measure {measure!r}. Choose one of {known}.")
    rivals = [
        system
        for system in results.systems
        if not system.oracle and system.name != baseline and masks_alike(system, against)
    ]
    orders = {name: (results.system(name), results.system(results.shuffled[name])) for name in results.orders}
    agents = [system for system in rivals if np.nanmean(system.measures["tokens"]) > 0] or rivals
    if slice_of is None and agents:
        own = measure.replace(" filled", " written")
        slice_of = max(agents, key=lambda system: np.nan_to_num(np.nanmean(system.measures[own]))).name
    return SuiteReport(
        results=results,
        baseline=baseline,
        measure=measure,
        differences=compare_all(results, baseline, measure),
        sliced=[] if slice_of is None else compare_slices(results, slice_of, baseline, measure),
        order_worth={
            name: compare_systems(own, drawn, [measure])[0]
            for name, (own, drawn) in orders.items()
            if masks_alike(own, drawn) and set(own.users) & set(drawn.users)
        },
        warnings=weaknesses(results),
        oracle_shares=shares_of_the_way(results, baseline, measure) if results.of_requests else {},
    )


def protocol(results: SuiteResults) -> str:
    """Return the protocol that every figure must be read with."""
    last = TARGET_WORDS.get(results.split, "target")
    cases = (
        f"Leave-one-out: the {last} of each person is the target, the history is all before it; ties in time go by the"
        f" order of the interaction file."
    )
    if results.of_requests:
        cases = (
            "One case for each request and target; every system but those without words gets the request's message, "
            "and lists are held to the request's constraints. The recommender has learned no pair of a person and "
            "their target; of people whom its data lacks, that rests on the data that it reports."
        )
    unit = results.unit.removesuffix("s")
    resampled = " that resample whole conversations" if results.of_requests else ""
    return (
        f"{cases} Full catalogue, items seen before masked for every system alike. Hits are "
        f"decided by item id; a repeated item counts once and takes one position; lists have at most {results.k} "
        f"items, short ones are not padded. 'Written' is the list as the model wrote it, 'filled' as a person sees it."
        f" Means over {unit}s (over a {unit}'s seeds first) with 95% bootstrap intervals{resampled}; differences are "
        f"paired by {unit}, their p-values come from a randomisation test and are corrected after Holm. An oracle "
        f"receives the target's attributes: an upper bound."
    )


def weaknesses(results: SuiteResults) -> list[str]:
    """Return what a reader of the figures must know, a sentence each."""
    warnings = []
    most = max(len(system.users) for system in results.systems)
    if most < FEW_USERS:
        warnings.append(f"{most} {results.unit} are too few to tell systems apart: read the intervals, not the means.")
    if results.of_requests and len({cluster for system in results.systems for cluster in system.clusters}) < 2:
        warnings.append("All requests are of one conversation: no interval and no test tells anything of another one.")
    warnings += [
        f"Not ended: {count} of the runs of {system}. `deeprec eval run` goes on with them, and with systems to come."
        for system, count in results.unfinished.items()
    ]
    for system in results.systems:
        ended, size = dict(system.statuses), f"{len(system.users)} {results.unit}"
        if len(system.users) < most:
            warnings.append(
                f"{system.name} ran for {len(system.users)} of {most} {results.unit}: its row is another sample."
            )
        if ended.get("fallback", 0):
            share = f"{ended['fallback']} of {system.runs} runs of {system.name}"
            warnings.append(f"{share} fell back to a list without the model; their written list counts as empty.")
        if len(system.made_by) > 1:
            makers = "; ".join(system.made_by)
            warnings.append(
                f"The runs of {system.name} were made by several models or prompts ({makers}): its row is a mix."
            )
        unwritten = int((system.measures["listed"] == 0).sum())
        if unwritten:
            warnings.append(
                f"For {unwritten} of {size} {system.name} wrote no item: what its list is filled "
                "with there is not its own, so read the written one."
            )
        if ended.get("incomplete", 0):
            warnings.append(f"{ended['incomplete']} runs of {system.name} are incomplete: the trace store failed them.")
        if lists_seen(system):
            warnings.append(
                f"{system.name} listed items that were in the history: it is not masked as the others are, and is "
                "compared with none that is."
            )
        named = int((system.measures.get("names_target", np.zeros(1)) > 0).sum())
        if named:
            warnings.append(
                f"For {named} of {size} a preference of {system.name} holds the target's title, "
                "which nothing had shown: look at those for a leak, or for a model that knows the data by heart."
            )
    return warnings + _weak_points(results) + _order_warnings(results)


def p_text(value: float) -> str:
    """Return a p-value in words; never 0, which no test by resampling can find."""
    return "–" if math.isnan(value) else "< .0001" if value < 0.0001 else f"{value:.4f}"


def _weak_points(results: SuiteResults) -> list[str]:
    """Return what weakens the figures of all systems alike."""
    warnings = []
    known = max(int((system.measures.get("in_history", np.zeros(1)) > 0).sum()) for system in results.systems)
    if known:
        warnings.append(f"{known} targets are in the history that was shown: masked, no system can find them.")
    if any(case.other_data for case in results.cases.values()):
        warnings.append(
            "The recommender was trained on other data than this suite's (fingerprints differ): nothing proves that it "
            "did not learn the targets."
        )
    if any(case.chosen_on for case in results.cases.values()):
        warnings.append(
            "Training chose the recommender's epoch and its trust in preferences by these very targets: fit for "
            "choosing between settings, too good for a claim."
        )
    return warnings


def _order_warnings(results: SuiteResults) -> list[str]:
    return [
        f"The order in which candidates are shown decides part of the ranking of {name}: where it was drawn at random, "
        f"Kendall's tau of position shown and position written is {found.drawn.mean:.2f} (p {p_text(found.p_value)})."
        for name, found in results.orders.items()
        if found.p_value < _SIGNIFICANT
    ]


_SIGNIFICANT = 0.05
