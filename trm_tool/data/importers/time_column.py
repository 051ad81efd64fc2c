"""The column of times of a shop's own table: numbers and dates in any usual form become time stamps."""

from collections.abc import Iterable

from deeprec.trm_tool.data.dates import DateOrder, find_order
from deeprec.trm_tool.data.importers.lines import BadRows
from deeprec.trm_tool.data.importers.time_units import fits_a_unit
from deeprec.trm_tool.data.importers.values import parse_date_time, parse_stamp
from deeprec.trm_tool.errors import DataError

_FIRST_ROWS = 200


class TimeColumn:
    """One reading of a column of times; it notices where dates and numbers of another meaning are mixed.

    Args:
        file: Name of the file, for errors.
        name: Name of the column.
        order: Which of day and month stands first in dates such as 1/2/2020.
    """

    def __init__(self, file: str, name: str, order: DateOrder | None) -> None:
        self._file, self._name, self._order = file, name, order
        self._first: tuple[str, object, int] | None = None  # the first time: its sort, itself, its line

    def read(self, value: object, line: int, bad: BadRows) -> int | float | None:
        """The time stamp of a row, in seconds for a date; None, and a bad row, where it cannot be used."""
        time = parse_stamp(value)
        sort = "a date" if time is None else "a number"
        if time is None:
            time = parse_date_time(value, self._order)
        kind, column = "rows without a usable time stamp", f"in the column {self._name!r}"
        if time is None:
            why = f"has {_shown(value)} as time stamp {column}, which is neither a finite number nor a date."
            bad.add(kind, self._file, line, why)
            return None
        if sort == "a number" and fits_a_unit(time):
            return time  # seconds beside dates, or milliseconds, which become seconds later
        if self._first is None:
            self._first = sort, value, line
        elif self._first[0] != sort:
            why = (
                f"has {_shown(value)} {column}, {sort}, where line {self._first[2]} has {_shown(self._first[1])}, "
                f"{self._first[0]}; they cannot be put in one order."
            )
            bad.add(kind, self._file, line, why)
            return None
        return time


def order_of(values: Iterable[object], file: str, name: str) -> DateOrder | None:
    """Which of day and month stands first in a column of times; it is read until a date shows it.

    Raises:
        DataError: the column has dates such as 1/2/2020, and none of them shows the order.
    """

    slashed: list[str] = []

    def texts() -> Iterable[str]:
        for number, value in enumerate(values):
            if isinstance(value, str):
                if not slashed and find_order([value]) != "any":
                    slashed.append(value)
                yield value
            if number == _FIRST_ROWS and not slashed:
                return

    order = find_order(texts())
    if order == "unknown":
        raise DataError(
            f"{file} has dates such as {slashed[0][:20]!r} in the column {name!r}, and none of them shows whether day "
            "or month stands first. Say it with --date-order day-first or month-first."
        )
    return None if order == "any" else order


def _shown(value: object) -> str:
    return repr(value)[:80]
