"""Time stamps of several units in one column."""

import numpy as np
import pytest

from deeprec.trm_tool.data.importers.time_units import in_one_unit

START = 1_600_000_000


def test_mixed_units_become_seconds_and_are_counted() -> None:
    times = np.array([START * 1000 + 500, START + 1, (START + 2) * 10**6, (START + 3) * 10**9, START + 4])
    seconds, counts = in_one_unit(times)
    assert seconds.tolist() == [START + 0.5, START + 1, START + 2, START + 3, START + 4]
    assert counts == {"seconds": 2, "milliseconds": 1, "microseconds": 1, "nanoseconds": 1}


@pytest.mark.parametrize(
    "times",
    [
        [1, 2, 3],  # an order
        [0, START, START + 1],  # a missing time beside seconds
        [(START + 1) * 10**9, START * 10**9],
        [20_200_105, 20_200_106],  # days as numbers
        list(range(0, 10**12, 10**9)),  # milliseconds since a start
    ],
)
def test_one_unit_or_a_clock_of_its_own_stays_as_it_is(times: list[int]) -> None:
    same, counts = in_one_unit(np.array(times, np.int64))
    assert same.tolist() == times
    assert not counts
