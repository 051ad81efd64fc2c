"""A report laid out: one self-contained HTML page with tables and a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from deeprec.evals.metrics.ranking import Interval, mean_interval
from deeprec.evals.metrics.statistics import FEW_USERS
from deeprec.evals.plotting import new_figure, png
from deeprec.evals.suites.comparison import Difference
from deeprec.evals.suites.report import SuiteReport, p_text, protocol
from deeprec.evals.suites.results import REWARD, SuiteResults, SystemResults, cutoffs
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
    "in_history": "target in the history",
}
"""Measure -> its heading."""


def render_html(report: SuiteReport) -> str:
    """The report as one self-contained page: no script, nothing loaded. Without matplotlib it has no plot."""
    results = report.results
    tables = [
        ("Result", _results_table(report)),
        (f"Against {report.baseline}, {report.measure}", _differences_table(report.differences)),
        ("What it takes", _traits_table(results)),
        ("Reward components", _rewards_table(results)),
        ("For whom", _differences_table(report.sliced)),
        ("What the order of the candidates decides", _orders_table(report)),
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
    systems = sorted(report.results.systems, key=lambda system: float(np.nanmean(system.measures[report.measure])))
    figure = new_figure((8, 0.55 * len(systems) + 1.4))
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
    axes.set_yticks(range(len(systems)), [system_title(system) for system in systems])
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(f"{report.results.label}, {len(systems[0].users)} users, 95% intervals", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    return png(figure, dpi=110)


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


def _results_table(report: SuiteReport) -> str:
    k = report.results.k
    cuts = cutoffs(k)[-2:]
    names = [f"{metric}@{cut} {listing}" for cut in cuts for metric in ("recall", "ndcg") for listing in ("filled",)]
    names += [f"recall@{k} written", f"ndcg@{k} written", "found"]
    ordered = sorted(
        report.results.systems, key=lambda s: -float(np.nan_to_num(np.nanmean(s.measures[report.measure])))
    )
    rows = [
        [system_title(system), str(len(system.users)), *(shown(mean_interval(system.measures[name])) for name in names)]
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
                p_text(found.p_value),
                p_text(found.corrected_p),
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
        rows.append([system_title(system), ended, *own, str(system.coverage), pace])
    return _table(["system", "ended", *(TRAITS[name] for name in names), "different items", "tokens/s"], rows)


def _rewards_table(results: SuiteResults) -> str:
    scored = [system for system in results.systems if any(name.startswith(REWARD) for name in system.measures)]
    names = sorted({name for system in scored for name in system.measures if name.startswith(REWARD)})
    rows = [[system_title(system), *(_trait(system, name) for name in names)] for system in scored]
    return _table(["system", *(name.removeprefix(REWARD) for name in names)], rows) if rows else ""


def _orders_table(report: SuiteReport) -> str:
    rows = []
    for name, found in report.results.orders.items():
        worth = report.order_worth.get(name)
        overlaps = [f"{shown(each.share)}; by chance {_short(each.chance, 3)}" for each in found.overlaps]
        rows.append(
            [
                name,
                f"{found.pairs}; {found.left_out} without a partner",
                shown(found.drawn),
                p_text(found.p_value),
                shown(found.own),
                shown(found.agreement),
                *overlaps,
                f"{shown(found.copied)}; by chance {found.copied_chance:.2g}",
                "–" if worth is None else f"{shown(worth.interval)}, p {p_text(worth.p_value)}",
            ]
        )
    if not rows:
        return ""
    tops = [f"same first {each.k}" if each.k > 1 else "same first item" for each in found.overlaps]
    heads = ["system", "pairs of runs", "tau of place shown and written, order drawn", "p", "the same, own order"]
    heads += [
        "tau of the two lists",
        *tops,
        "copies of what was shown, order drawn",
        f"own order above drawn, {report.measure}",
    ]
    return _table(heads, rows)


def _trait(system: SystemResults, name: str) -> str:
    values = system.measures.get(name)
    if values is None or np.isnan(values).all():
        return "–"
    return _short(float(np.nanmean(values)), 2 if np.nanmax(np.abs(values)) > 2 else 3)


def system_title(system: SystemResults) -> str:
    """Its name, an oracle marked as one."""
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
