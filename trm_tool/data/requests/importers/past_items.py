"""What people had before a moment, from the interactions of a data set."""

from array import array
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path

from deeprec.trm_tool.data.atomic_files import DETECT, find_files, parse_time_stamp
from deeprec.trm_tool.data.atomic_rows import AtomicFile
from deeprec.trm_tool.data.columns import choose_event
from deeprec.trm_tool.data.importers.time_units import unit_of


class PastItems:
    """Items of people in order of time, in 16 bytes an interaction beside the ids."""

    def __init__(self, folder: Path) -> None:
        """Read the interactions of a folder of atomic files.

        Raises:
            DataError: the folder has no atomic files, or a row cannot be used.
        """
        path, _ = find_files(folder)
        rows = AtomicFile(path)
        user_at, item_at, time_at = choose_event(rows.columns, DETECT, rows.name)
        self._ids: list[str] = []
        numbers: dict[str, int] = {}
        times: dict[str, array[float]] = defaultdict(lambda: array("d"))
        items: dict[str, array[int]] = defaultdict(lambda: array("q"))
        for number, _, fields in rows:
            user, item_id = fields[user_at].strip(), fields[item_at].strip()
            time = parse_time_stamp(fields[time_at], rows.name, number, rows.columns[time_at].name)
            if item_id not in numbers:
                numbers[item_id] = len(self._ids)
                self._ids.append(item_id)
            times[user].append(in_seconds(time))
            items[user].append(numbers[item_id])
        self._times: dict[str, array[float]] = {}
        self._items: dict[str, array[int]] = {}
        for user, stamps in times.items():
            order = sorted(range(len(stamps)), key=stamps.__getitem__)
            self._times[user] = array("d", (stamps[at] for at in order))
            self._items[user] = array("q", (items[user][at] for at in order))

    def __contains__(self, person: object) -> bool:
        return person in self._times

    def before(self, person: str, time: float, most: int) -> list[str]:
        """The latest items of a person before a time in seconds, oldest first; those of that very time are left out."""
        end = bisect_left(self._times.get(person, ()), time)
        return [self._ids[number] for number in self._items.get(person, ())[max(end - most, 0) : end]]


def in_seconds(time: float) -> float:
    """A time in seconds, from one in seconds, milli-, micro- or nanoseconds since 1970."""
    _, in_a_second = unit_of(time)
    return time / in_a_second
