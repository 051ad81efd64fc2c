"""Time stamps of different units in one column are found by their size, and become seconds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64] | NDArray[np.float64]

_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_FIRST, _LAST = 3e8, 4.1e9
"""Seconds since 1970 of the years 1979 and 2099, between which a time stamp of a known unit lies."""
_SIZES = ((1e17, "nanoseconds"), (1e14, "microseconds"), (1e11, "milliseconds"))
"""Sizes above which a time is in each unit, the largest first; 1e11 seconds is the year 5138."""
_NO_COUNT = 1e7
"""A number of no unit that is larger belongs to a clock of its own, such as milliseconds since a start."""


def fits_a_unit(time: float) -> bool:
    """Whether a number has the size of a time stamp of the years 1979 to 2099 in one of the units."""
    return any(_FIRST * factor <= time <= _LAST * factor for factor in _UNITS.values())


def unit_of(time: float) -> tuple[str, int]:
    """The unit of a time since 1970 by its size alone, and how many of it a second has."""
    unit = next((unit for size, unit in _SIZES if abs(time) > size), "seconds")
    return unit, _UNITS[unit]


def count_units(times: Times) -> dict[str, int]:
    """Unit -> how many time stamps have a size that only this unit gives; units without any are left out."""
    counts = {unit: int(_of_unit(times, factor).sum()) for unit, factor in _UNITS.items()}
    return {unit: count for unit, count in counts.items() if count}


def in_one_unit(times: Times) -> tuple[Times, dict[str, int]]:
    """Time stamps in one unit.

    Args:
        times: (n,); dates are seconds since 1970.

    Returns:
        The time stamps, in seconds where several units were mixed and unchanged otherwise; and the count of each unit,
        empty where nothing was changed.
    """
    counts = count_units(times)
    large = np.abs(times.astype(np.float64)) > _NO_COUNT
    if len(counts) < 2 or int(large.sum()) > sum(counts.values()):
        return times, {}
    seconds: NDArray[Any] = times.astype(np.float64)
    for unit in counts:
        rows = _of_unit(times, _UNITS[unit])
        seconds[rows] = times[rows] / _UNITS[unit]
    whole = seconds.astype(np.int64)
    return (whole if bool((whole == seconds).all()) else seconds), counts


def _of_unit(times: Times, factor: int) -> NDArray[np.bool_]:
    size: NDArray[np.bool_] = (times >= _FIRST * factor) & (times <= _LAST * factor)
    return size
