"""Figures of the time stamps of interactions: when they lie, how they spread, and whether they are times at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.data.importers.time_units import unit_of

_DAY = 86_400.0
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
PERIODS = 24
"""Equal parts of the time range whose interactions are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFigures:
    """When the interactions happened."""

    first: str
    """Date of the earliest one, ISO 8601, UTC."""
    last: str
    unit: str
    """Unit of the numbers, by their size: seconds, milliseconds, microseconds or nanoseconds since 1970."""
    days: int
    """Days from the first to the last, both counted."""
    active_days: int
    """Days with an interaction."""
    per_active_day: float
    """Interactions on a day that has any: the mean."""
    busiest_day: str
    busiest_day_interactions: int
    periods: tuple[int, ...]
    """Interactions in each of 24 equal parts of the range."""
    doubt: str | None
    """Why these may not be times, or None."""


def time_figures(times: Sequence[float]) -> TimeFigures | None:
    """Describe time stamps; None where there are none, or where they lie outside every calendar."""
    stamps = np.asarray(times, np.float64)
    if not len(stamps):
        return None
    unit, parts = unit_of(float(np.abs(stamps).max()))
    seconds = stamps / parts
    try:
        first, last = _iso(seconds.min()), _iso(seconds.max())
    except (ValueError, OverflowError, OSError):
        return None
    days, counts = np.unique(np.floor(seconds / _DAY), return_counts=True)
    low, high = float(seconds.min()), float(seconds.max())
    periods, _ = np.histogram(seconds, bins=PERIODS, range=(low, max(high, low + 1)))
    return TimeFigures(
        first=first,
        last=last,
        unit=unit,
        days=int(days[-1] - days[0]) + 1,
        active_days=len(days),
        per_active_day=float(counts.mean()),
        busiest_day=_iso(days[counts.argmax()] * _DAY)[:10],
        busiest_day_interactions=int(counts.max()),
        periods=tuple(map(int, periods)),
        doubt=_doubt(stamps, seconds),
    )


def _doubt(stamps: NDArray[np.float64], seconds: NDArray[np.float64]) -> str | None:
    late = int((seconds > datetime.now(UTC).timestamp() + 2 * _DAY).sum())
    early = int((seconds < _EARLIEST).sum())
    if early > 0.5 * len(seconds):
        whole = np.array_equal(stamps, np.floor(stamps))
        what = "counts, ratings or positions" if whole and stamps.min() >= 0 else "other numbers"
        return (
            f"{early} of {len(seconds)} time stamps lie before 1990 ({stamps.min():g} to {stamps.max():g} as numbers): "
            f"they look like {what}. Name the column of times with --time-column"
        )
    if early and stamps[seconds < _EARLIEST].max() <= 0 < stamps.max():
        return (
            f"{early} of {len(seconds)} time stamps are 0 or less: missing times are often written so, and sort first"
        )
    if late:
        return f"{late} of {len(seconds)} time stamps lie in the future. Look for times of another unit or of a plan"
    return None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M")
