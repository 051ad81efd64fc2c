"""Figures of a diagnosis, drawn with matplotlib. They can be read in greys: no meaning is in a hue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from deeprec.evals.diagnosis.list_counters import FIRST
from deeprec.evals.diagnosis.records import Diagnosis
from deeprec.evals.metrics.ranking import Interval
from deeprec.evals.metrics.streaming import Spread
from deeprec.evals.plotting import INK, LIGHT, MIDDLE, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = (7.0, 4.0)
"""Inches."""


def plot_diagnosis(diagnosis: Diagnosis) -> dict[str, Figure]:
    """Draw every figure, by name: `endings`, `ceiling`, `positions`, `cost`.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    return {
        "endings": plot_endings(diagnosis),
        "ceiling": plot_ceiling(diagnosis),
        "positions": plot_positions(diagnosis),
        "cost": plot_cost(diagnosis),
    }


def plot_endings(diagnosis: Diagnosis) -> Figure:
    """Draw a bar for each way to end, with its 95% interval; dark where the model kept the protocol to the end."""
    figure, [axes] = new_figure(_SIZE, title=f"How {_runs(sum(ending.runs for ending in diagnosis.endings))} ended")
    if not diagnosis.runs:
        return _empty(figure, axes)
    endings = [ending for ending in diagnosis.endings if ending.runs or ending.status != "running"]
    names = [plain_label(ending.status, 20) for ending in endings]
    shares = [0.0 if math.isnan(ending.share.mean) else ending.share.mean for ending in endings]
    bars = axes.bar(names, shares, color=LIGHT, edgecolor=INK)
    for bar, ending in zip(bars, endings, strict=True):
        if ending.status == "finished":
            bar.set_facecolor(MIDDLE)
        _interval(axes, bar.get_x() + bar.get_width() / 2, ending.share)
        top = max(bar.get_height(), 0 if math.isnan(ending.share.high) else ending.share.high)
        axes.annotate(f"{ending.runs:,}", (bar.get_x() + bar.get_width() / 2, top + 0.02), ha="center")
    axes.set_ylim(0, 1.12)
    axes.set_ylabel("share of runs")
    return figure


def plot_ceiling(diagnosis: Diagnosis) -> Figure:
    """Draw the share of runs that had retrieved the target, turn by turn, beside the share that listed it."""
    target = diagnosis.target
    figure, [axes] = new_figure(_SIZE, title=f"Was the target found, over {_runs(target.found.n)} with a target")
    if not target.ceiling:
        return _empty(figure, axes)
    turns = [point.turn for point in target.ceiling]
    axes.plot(turns, [point.found.mean for point in target.ceiling], "o-", color=INK, label="retrieved by this turn")
    axes.fill_between(
        turns,
        [point.found.low for point in target.ceiling],
        [point.found.high for point in target.ceiling],
        color=LIGHT,
        label="95% interval",
    )
    for interval, style, name in (
        (target.shown, "--", "in the list as shown"),
        (target.written, ":", "in the list as written"),
    ):
        axes.axhline(interval.mean, linestyle=style, color=MIDDLE, label=f"{name}: {interval.mean:.2f}")
    axes.set_xticks(turns if len(turns) <= 20 else turns[:: len(turns) // 10])
    axes.set_ylim(0, 1)
    axes.set_xlabel("turn")
    axes.set_ylabel("share of runs")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure


def plot_positions(diagnosis: Diagnosis) -> Figure:
    """Draw positions of the listed items among the candidates, by tenths, beside what chance would give."""
    positions = diagnosis.positions
    chosen = sum(positions.histogram)
    figure, [axes] = new_figure(_SIZE, title=f"Where the {chosen:,} listed items stood among the candidates")
    if not chosen:
        return _empty(figure, axes)
    width = 1 / len(positions.histogram)
    axes.bar(
        [width * tenth for tenth in range(len(positions.histogram))],
        [count / chosen for count in positions.histogram],
        width=width,
        align="edge",
        color=LIGHT,
        edgecolor=INK,
    )
    axes.axhline(width, linestyle="--", color=INK, label="position has no influence")
    axes.plot([], [], " ", label=f"from the first {FIRST}: {positions.first_five.mean:.2f}")
    axes.plot([], [], " ", label=f"by chance: {positions.first_five_by_chance:.2f}")
    axes.set_xlim(0, 1)
    axes.set_xlabel("position among the candidates, 0 found first, 1 found last")
    axes.set_ylabel("share of listed items")
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    return figure


def plot_cost(diagnosis: Diagnosis) -> Figure:
    """Draw median and 95th percentile of what runs and turns take."""
    cost = diagnosis.cost
    panels: list[tuple[str, Spread, float]] = [
        ("tokens written\na run", cost.run_tokens, 1),
        ("tokens read\na run", cost.run_tokens_read, 1),
        ("seconds\na run", cost.run_ms, 1000),
        ("seconds\na turn", cost.turn_ms, 1000),
    ]
    figure, many = new_figure(_SIZE, columns=len(panels), title=f"What {_runs(diagnosis.counted)} took")
    for axes, (name, spread, unit) in zip(many, panels, strict=True):
        axes.set_xlabel(name)
        if not spread.n:
            _empty(figure, axes)
            continue
        values = [spread.median / unit, spread.p95 / unit]
        bars = axes.bar(["median", "p95"], values, color=[MIDDLE, LIGHT], edgecolor=INK)
        axes.bar_label(bars, labels=[f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values])
        axes.margins(y=0.15)
    return figure


def _interval(axes: Any, x: float, share: Interval) -> None:
    if not math.isnan(share.low):
        axes.vlines(x, share.low, share.high, color=INK)


def _empty(figure: Figure, axes: Any) -> Figure:
    axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _runs(count: int) -> str:
    return f"{count:,} run" if count == 1 else f"{count:,} runs"
