"""The report of a suite: one HTML page with tables and plots, and the same as JSON, from stored runs alone."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from deeprec.evals.cases import TARGET_WORDS
from deeprec.evals.comparison import Difference, compare_all, compare_slices
from deeprec.evals.metrics import Interval, mean_interval
from deeprec.evals.results import REWARD, SuiteResults, SystemResults
from deeprec.evals.statistics import FEW_USERS
from deeprec.trm_tool.errors import ConfigError

TRAITS = {
    "found": "ceiling",
    "calls": "calls a run",
    "new_per_call": "new items a further call",
    "valid": "format valid",
    "listed": "items written",
    "repeated": "repeated",
    "ungrounded": "ungrounded",
    "diversity": "intra-list diversity",
    "popularity": "popularity of the list",
    "tokens": "tokens written a run",
    "seconds": "seconds a run",
    "seen": "seen items in the list",
    "names_target": "preference names the target",
}
"""Measure -> its heading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteReport:
    """What a report says, before it is laid out."""

    results: SuiteResults
    baseline: str
    measure: str
    """What systems are compared by."""
    differences: Sequence[Difference]
    sliced: Sequence[Difference]
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it: a missing number is None."""
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
                    "measures": {name: mean_interval(values).to_dict() for name, values in system.measures.items()},
                }
                for system in self.results.systems
            ],
            "differences": [difference.to_dict() for difference in self.differences],
            "slices": [difference.to_dict() for difference in self.sliced],
        }


def make_report(
    results: SuiteResults, *, baseline: str = "trm", measure: str | None = None, slice_of: str | None = None
) -> SuiteReport:
    """Compare the systems of a suite.

    Args:
        results: From `load_results`.
        baseline: The system that every other one is compared with.
        measure: What by; None is the NDCG of the filled list at the suite's length.
        slice_of: The system that is compared with the baseline in each slice; None is the best one that is no oracle
            and not the baseline.

    Raises:
        TraceStoreError: the suite has no runs of the baseline.
        ConfigError: there is no such measure.
    """
    against = results.system(baseline)
    measure = measure or f"ndcg@{results.k} filled"
    if measure not in against.measures:
        known = ", ".join(name for name in against.measures if "@" in name)
        raise ConfigError(f"There is no measure {measure!r}. Choose one of {known}.")
    rivals = [system for system in results.systems if not system.oracle and system.name != baseline]
    agents = [system for system in rivals if np.nanmean(system.measures["tokens"]) > 0] or rivals
    if slice_of is None and agents:
        slice_of = max(agents, key=lambda system: np.nan_to_num(np.nanmean(system.measures[measure]))).name
    return SuiteReport(
        results=results,
        baseline=baseline,
        measure=measure,
        differences=compare_all(results, baseline, measure),
        sliced=[] if slice_of is None else compare_slices(results, slice_of, baseline, measure),
        warnings=_warnings(results),
    )


def protocol(results: SuiteResults) -> str:
    """What every figure must be read with."""
    last = TARGET_WORDS.get(results.split, "target")
    return (
        f"Leave-one-out: the {last} of each person is the target, the history is all before it; ties in time go by the "
        f"order of the interaction file. Full catalogue, items seen before masked for every system alike. Hits are "
        f"decided by item id; a repeated item counts once and takes one place; lists have at most {results.k} items, "
        f"short ones are not padded. 'Written' is the list as the model wrote it, 'filled' as a person sees it. Means "
        f"over users (over a user's seeds first) with 95% bootstrap intervals; differences are paired by user, their "
        f"p-values come from a randomisation test and are corrected after Holm. An oracle is told the target's "
        f"attributes: an upper bound."
    )


def render_html(report: SuiteReport) -> str:
    """The report as one self-contained page: no script, nothing loaded. Without matplotlib it has no plot."""
    results = report.results
    tables = [
        ("Result", _results_table(report)),
        (f"Against {report.baseline}, {report.measure}", _differences_table(report.differences)),
        ("What it takes", _traits_table(results)),
        ("Reward components", _rewards_table(results)),
        ("For whom", _differences_table(report.sliced)),
    ]
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in report.warnings)
    body = "".join(f"<h2>{escape(title)}</h2>{table}" for title, table in tables if table)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(results.label)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(results.label)}</h1><p>{escape(protocol(results))}</p>"
        f"{f'<ul class=warnings>{warnings}</ul>' if warnings else ''}{_plot(report)}{body}</main></body></html>"
    )


def key_plot(report: SuiteReport) -> bytes:
    """The main figure: the measure of every system with its interval, written and filled, beside the ceiling (PNG).

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ConfigError("Plots need matplotlib: pip install 'deeprec-agent[plots]'.") from None
    systems = sorted(report.results.systems, key=lambda system: float(np.nanmean(system.measures[report.measure])))
    figure = Figure(figsize=(8, 0.55 * len(systems) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    metric = report.measure.rsplit(" ", 1)[0]
    shown = (("filled", "o", 0.14, "#1b6ca8"), ("written", "s", -0.14, "#c4571b"))
    for listing, marker, offset, colour in shown:
        for place, system in enumerate(systems):
            found = mean_interval(system.measures[f"{metric} {listing}"])
            low, high = (found.mean if math.isnan(bound) else bound for bound in (found.low, found.high))
            axes.errorbar(
                found.mean,
                place + offset,
                xerr=[[found.mean - low], [high - found.mean]],
                fmt=marker,
                color=colour,
                capsize=2,
                label=f"{metric}, {listing}" if place == 0 else None,
            )
    for place, system in enumerate(systems):
        ceiling = float(np.nanmean(system.measures["found"]))
        axes.plot(ceiling, place, marker="|", color="0.45", markersize=14, linestyle="none")
    axes.plot([], [], marker="|", color="0.45", linestyle="none", label="target was retrieved at all")
    names = [f"{system.name} (oracle)" if system.oracle else system.name for system in systems]
    axes.set_yticks(range(len(systems)), names)
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(f"{report.results.label}, {len(systems[0].users)} users, 95% intervals", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def shown(interval: Interval, digits: int = 3) -> str:
    """An interval in words: `.216 (.191 to .242)`."""
    if math.isnan(interval.mean):
        return "–"
    mean = _short(interval.mean, digits)
    if math.isnan(interval.low):
        return mean
    return f"{mean} ({_short(interval.low, digits)} to {_short(interval.high, digits)})"


def _short(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _warnings(results: SuiteResults) -> list[str]:
    warnings = []
    most = max(len(system.users) for system in results.systems)
    if most < FEW_USERS:
        warnings.append(f"{most} users are too few to tell systems apart: read the intervals, not the means.")
    for system in results.systems:
        ended = dict(system.statuses)
        if len(system.users) < most:
            warnings.append(f"{system.name} ran for {len(system.users)} of {most} users: its row is another sample.")
        if ended.get("fallback", 0):
            share = f"{ended['fallback']} of {system.runs} runs of {system.name}"
            warnings.append(f"{share} fell back to the recommender's own list; their written list counts as empty.")
        if ended.get("incomplete", 0):
            warnings.append(f"{ended['incomplete']} runs of {system.name} are incomplete: the trace store failed them.")
        if np.nansum(system.measures.get("seen", np.zeros(1))) > 0:
            warnings.append(f"{system.name} listed items that were in the history: it is not masked as the others are.")
        named = float(np.nanmean(system.measures.get("names_target", np.zeros(1))))
        if named > 0:
            warnings.append(
                f"In {named:.1%} of the runs of {system.name} a preference holds the target's title, which nothing had "
                "shown: look at those for a leak, or for a model that knows the data by heart."
            )
    return warnings


def _results_table(report: SuiteReport) -> str:
    k = report.results.k
    cuts = [cut for cut in (1, 5, 10, 20) if cut <= k][-2:]
    names = [f"{metric}@{cut} {listing}" for cut in cuts for metric in ("recall", "ndcg") for listing in ("filled",)]
    names += [f"recall@{k} written", f"ndcg@{k} written", "found"]
    ordered = sorted(
        report.results.systems, key=lambda s: -float(np.nan_to_num(np.nanmean(s.measures[report.measure])))
    )
    rows = [
        [_name(system), str(len(system.users)), *(shown(mean_interval(system.measures[name])) for name in names)]
        for system in ordered
    ]
    return _table(["system", "users", *(TRAITS.get(name, name) for name in names)], rows)


def _differences_table(differences: Sequence[Difference]) -> str:
    rows = []
    for found in differences:
        few = ", too few users" if found.interval.n < FEW_USERS else ""
        rows.append(
            [
                found.first if found.slice == "all" else f"{found.first}: {found.slice}",
                f"{found.interval.n}{few}",
                _short(found.first_mean, 3),
                _short(found.second_mean, 3),
                shown(found.interval),
                f"{found.p_value:.4f}",
                f"{found.corrected_p:.4f}",
                _short(found.smallest, 3) if not math.isnan(found.smallest) else "–",
            ]
        )
    heads = ["system", "users", "its mean", "baseline", "difference", "p", "p, corrected", "smallest it could show"]
    return _table(heads, rows) if rows else ""


def _traits_table(results: SuiteResults) -> str:
    names = [name for name in TRAITS if any(name in system.measures for system in results.systems)]
    rows = []
    for system in results.systems:
        own = [_trait(system, name) for name in names]
        tokens = float(np.nansum(system.measures["tokens"]))
        pace = f"{tokens / system.seconds:.1f}" if tokens and system.seconds > 0 else "–"
        ended = ", ".join(f"{count} {status}" for status, count in sorted(system.statuses.items()))
        rows.append([_name(system), ended, *own, str(system.coverage), pace])
    return _table(["system", "ended", *(TRAITS[name] for name in names), "different items", "tokens/s"], rows)


def _rewards_table(results: SuiteResults) -> str:
    scored = [system for system in results.systems if any(name.startswith(REWARD) for name in system.measures)]
    names = sorted({name for system in scored for name in system.measures if name.startswith(REWARD)})
    rows = [[_name(system), *(_trait(system, name) for name in names)] for system in scored]
    return _table(["system", *(name.removeprefix(REWARD) for name in names)], rows) if rows else ""


def _trait(system: SystemResults, name: str) -> str:
    values = system.measures.get(name)
    if values is None or np.isnan(values).all():
        return "–"
    return _short(float(np.nanmean(values)), 2 if np.nanmax(np.abs(values)) > 2 else 3)


def _name(system: SystemResults) -> str:
    return f"{system.name} (oracle)" if system.oracle else system.name


def _plot(report: SuiteReport) -> str:
    from base64 import b64encode

    try:
        data = b64encode(key_plot(report)).decode()
    except ConfigError:
        return ""
    alt = f"{report.measure} of every system with its 95% interval; the table below has the numbers"
    return f'<p><img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}"></p>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 1200px; margin: 0 auto; padding: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; }
img { max-width: 100%; height: auto; background: #fff; }
.warnings { border-left: 4px solid #c4571b; padding: .5rem 0 .5rem 2rem; }
"""
