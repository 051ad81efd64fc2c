"""The report of a suite as one self-contained HTML page with tables and a plot."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from deeprec.agent.views import render_page
from deeprec.evals.metrics.ranking import without_leading_zero
from deeprec.evals.metrics.statistics import FEW_USERS
from deeprec.evals.plotting import new_figure, plain_label, png
from deeprec.evals.suites.comparison import Difference
from deeprec.evals.suites.report import SuiteReport, p_text, protocol
from deeprec.evals.suites.result_rows import REWARD
from deeprec.evals.suites.results import SuiteResults, SystemResults, cutoffs
from deeprec.trm_tool.errors import ConfigError

TRAITS = {
    "found": "ceiling",
    "calls": "retrievals a run",
    "new_per_call": "new items a further retrieval",
    "valid": "format valid",
    "listed": "items written",
    "repeated": "repeated",
    "ungrounded": "ungrounded",
    "words_precision": "preference that the words support",
    "words_recall": "words that the preference holds",
    "diversity": "intra-list diversity",
    "popularity": "popularity of the list",
    "tokens": "tokens written a run",
    "seconds": "seconds a run",
    "seen": "seen items in the list",
    "names_target": "preference names the target",
    "in_history": "target in the history",
}
"""Measure -> its heading."""
_Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings, and rows whose first cell is their heading. A table without rows is not shown."""


def render_html(report: SuiteReport) -> str:
    """Return the report as one self-contained page: no script, nothing loaded. Without matplotlib it has no plot."""
    try:
        plot = b64encode(key_plot(report)).decode()
    except ConfigError:
        plot = None
    return render_page(
        "report.html.j2",
        folder=Path(__file__).parent,
        report=report,
        protocol=protocol(report.results),
        plot=None if plot is None else Markup(plot),
        tables=[
            ("Result", *_results_table(report)),
            (f"Against {report.baseline}, {report.measure}", *_differences_table(report.differences)),
            ("Share of the way to the oracle", *_shares_table(report)),
            ("What it takes", *_traits_table(report.results)),
            ("Reward components", *_rewards_table(report.results)),
            ("For whom", *_differences_table(report.sliced)),
            ("What the order of the candidates decides", *_orders_table(report)),
        ],
    )


def key_plot(report: SuiteReport) -> bytes:
    """Return the main figure as PNG: the measure of every system, written and filled, with intervals and the ceiling.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    systems = sorted(report.results.systems, key=lambda system: float(np.nanmean(system.measures[report.measure])))
    figure, [axes] = new_figure((8, 0.55 * len(systems) + 1.4))
    metric = report.measure.rsplit(" ", 1)[0]
    shown = (("filled", "o", 0.14, "#1b6ca8"), ("written", "s", -0.14, "#c4571b"))
    for listing, marker, offset, colour in shown:
        for position, system in enumerate(systems):
            found = system.interval(f"{metric} {listing}")
            low, high = (found.mean if math.isnan(bound) else bound for bound in (found.low, found.high))
            axes.errorbar(
                found.mean,
                position + offset,
                xerr=[[found.mean - low], [high - found.mean]],
                fmt=marker,
                color=colour,
                capsize=2,
                label=f"{metric}, {listing}" if position == 0 else None,
            )
    for position, system in enumerate(systems):
        ceiling = float(np.nanmean(system.measures["found"]))
        axes.plot(ceiling, position, marker="|", color="0.45", markersize=14, linestyle="none")
    axes.plot([], [], marker="|", color="0.45", linestyle="none", label="target was retrieved at all")
    axes.set_yticks(range(len(systems)), [plain_label(system_title(system)) for system in systems])
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(
        f"{plain_label(report.results.label)}, {len(systems[0].users)} {report.results.unit}, 95% intervals",
        fontsize=10,
    )
    axes.legend(fontsize=8, loc="lower right")
    return png(figure, dpi=110)


def _short(value: float, digits: int) -> str:
    return without_leading_zero(f"{value:.{digits}f}")


def _results_table(report: SuiteReport) -> _Table:
    k = report.results.k
    names = [f"{metric}@{cut} filled" for cut in cutoffs(k)[-2:] for metric in ("recall", "ndcg")]
    names += [f"recall@{k} written", f"ndcg@{k} written", "found"]
    ordered = sorted(
        report.results.systems, key=lambda s: -float(np.nan_to_num(np.nanmean(s.measures[report.measure])))
    )
    rows = [
        [system_title(system), str(len(system.users)), *(system.interval(name).text() for name in names)]
        for system in ordered
    ]
    return ["system", report.results.unit, *(TRAITS.get(name, name) for name in names)], rows


def _differences_table(differences: Sequence[Difference]) -> _Table:
    rows = []
    for found in differences:
        few = ", too few users" if found.interval.n < FEW_USERS else ""
        rows.append(
            [
                found.first if found.slice == "all" else f"{found.first}: {found.slice}",
                f"{found.interval.n}{few}",
                _short(found.first_mean, 3),
                _short(found.second_mean, 3),
                found.interval.text(),
                p_text(found.p_value),
                p_text(found.corrected_p),
                _short(found.smallest, 3) if not math.isnan(found.smallest) else "–",
            ]
        )
    heads = ["system", "users", "its mean", "baseline", "difference", "p", "p, corrected", "smallest it could show"]
    return heads, rows


def _shares_table(report: SuiteReport) -> _Table:
    heads = ["system", report.results.unit, f"from {report.baseline} (0) to the oracle (1), {report.measure}"]
    return heads, [[name, str(share.n), share.text()] for name, share in report.oracle_shares.items()]


def _traits_table(results: SuiteResults) -> _Table:
    names = [name for name in TRAITS if any(name in system.measures for system in results.systems)]
    rows = []
    for system in results.systems:
        own = [_trait(system, name) for name in names]
        tokens = float(np.nansum(system.measures["tokens"]))
        pace = f"{tokens / system.seconds:.1f}" if tokens and system.seconds > 0 else "–"
        ended = ", ".join(f"{count} {status}" for status, count in sorted(system.statuses.items()))
        rows.append([system_title(system), ended, *own, str(system.coverage), pace])
    return ["system", "ended", *(TRAITS[name] for name in names), "different items", "tokens/s"], rows


def _rewards_table(results: SuiteResults) -> _Table:
    scored = [system for system in results.systems if any(name.startswith(REWARD) for name in system.measures)]
    names = sorted({name for system in scored for name in system.measures if name.startswith(REWARD)})
    rows = [[system_title(system), *(_trait(system, name) for name in names)] for system in scored]
    return ["system", *(name.removeprefix(REWARD) for name in names)], rows


def _orders_table(report: SuiteReport) -> _Table:
    heads, rows = [], []
    for name, found in report.results.orders.items():
        worth = report.order_worth.get(name)
        overlaps = [f"{each.share.text()}; by chance {_short(each.chance, 3)}" for each in found.overlaps]
        heads = [
            "system",
            "pairs of runs",
            "tau of position shown and written, order drawn",
            "p",
            "the same, own order",
            "tau of the two lists",
            *(f"same first {each.k}" if each.k > 1 else "same first item" for each in found.overlaps),
            "copies of what was shown, order drawn",
            f"own order above drawn, {report.measure}",
        ]
        rows.append(
            [
                name,
                f"{found.pairs}; {found.left_out} without a partner",
                found.drawn.text(),
                p_text(found.p_value),
                found.own.text(),
                found.agreement.text(),
                *overlaps,
                f"{found.copied.text()}; by chance {found.copied_chance:.2g}",
                "–" if worth is None else f"{worth.interval.text()}, p {p_text(worth.p_value)}",
            ]
        )
    return heads, rows


def _trait(system: SystemResults, name: str) -> str:
    values = system.measures.get(name)
    if values is None or np.isnan(values).all():
        return "–"
    return _short(float(np.nanmean(values)), 2 if np.nanmax(np.abs(values)) > 2 else 3)


def system_title(system: SystemResults) -> str:
    """Return the name of a system, an oracle marked as one."""
    return f"{system.name} (oracle)" if system.oracle else system.name
