"""Interactions as compact columns, and the filters on them: ratings, repeats, k-core, length of histories."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.data.dataset import MIN_INTERACTIONS
from deeprec.trm_tool.errors import ConfigError

Event = tuple[int, str, str, float, int | float]
"""Line, user id, item id, rating (NaN where there is none), time stamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """Which interactions stay. Filters apply in this order: ratings, repeats, k-core, short histories, latest ones."""

    k_core: int | None = None
    """Every person and item that stays has at least this many interactions."""
    max_history: int | None = None
    """Each person keeps this many items of history and the one after them: the last `max_history + 1` interactions."""
    min_rating: float | None = None
    """Interactions rated lower, or not at all, are left out."""

    def __post_init__(self) -> None:
        if self.k_core is not None and self.k_core < 1:
            raise ConfigError(f"--k-core is {self.k_core}. Give 1 or more; the paper has 5.")
        if self.max_history is not None and self.max_history < MIN_INTERACTIONS - 1:
            raise ConfigError(
                f"--max-history is {self.max_history}, which leaves nothing to train on. Give {MIN_INTERACTIONS - 1} "
                "or more; the paper has 20."
            )
        if self.min_rating is not None and not np.isfinite(self.min_rating):
            raise ConfigError(f"--min-rating is {self.min_rating}. Give a number, such as 4.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Counts of what is left after one step of the import."""

    name: str
    interactions: int
    users: int
    items: int
    """Items with an interaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactions:
    """All interactions of a source in file order, in 24 bytes each, with every id once."""

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: NDArray[np.int32]
    """Position in `users` (interactions,)."""
    item: NDArray[np.int32]
    """Position in `items` (interactions,)."""
    rating: NDArray[np.float64]
    """NaN where there is none (interactions,)."""
    time: NDArray[np.int64] | NDArray[np.float64]
    """Time stamps in the source's own unit; whole numbers are exact (interactions,)."""
    item_line: NDArray[np.int64]
    """The line that names an item first (items,)."""

    def __len__(self) -> int:
        return len(self.user)


def collect(events: Iterable[Event]) -> Interactions:
    """Read events into columns, so that none is kept as an object."""
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    user, item, rating, lines = array("i"), array("i"), array("d"), array("q")
    time: array[Any] = array("q")
    for line, user_id, item_id, rated, stamp in events:
        user.append(users.setdefault(user_id, len(users)))
        row = items.setdefault(item_id, len(items))
        if row == len(lines):
            lines.append(line)
        item.append(row)
        rating.append(rated)
        if time.typecode == "q" and not isinstance(stamp, int):
            time = array("d", time)
        time.append(stamp)
    return Interactions(
        users=tuple(users),
        items=tuple(items),
        user=np.array(user, np.int32),
        item=np.array(item, np.int32),
        rating=np.array(rating, np.float64),
        time=np.array(time, np.int64) if time.typecode == "q" else np.array(time, np.float64),
        item_line=np.array(lines, np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Interactions that the filters leave."""

    rows: NDArray[np.int64]
    """Positions of interactions, grouped by person in the order of their first row, oldest first, ties in time by file
    order."""
    core: NDArray[np.bool_] | None
    """Whether an item is in the k-core (items,); None where no k was given."""
    stages: tuple[Stage, ...]
    """Counts after each step; the first is what was read."""


def select(data: Interactions, config: FilterConfig, known: NDArray[np.bool_] | None = None) -> Selection:
    """Choose the interactions that stay.

    Args:
        data: All interactions of the source.
        config: The filters.
        known: Whether the item file has an item (items,); None where there is no item file.
    """
    rows = np.lexsort((data.time, data.user))  # stable: file order decides ties
    stages = [_stage("read", data, rows)]

    def step(name: str, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        stages.append(_stage(name, data, kept))
        return kept

    if known is not None:
        rows = step("with an item that the item file has", rows[known[data.item[rows]]])
    if config.min_rating is not None:
        rows = step(f"rated {config.min_rating:g} or higher", rows[data.rating[rows] >= config.min_rating])
    rows = step("without repeats (the first of a person with an item stays)", _first_of_each_pair(data, rows))
    core = None
    if config.k_core is not None:
        rows = step(f"in the {config.k_core}-core", _k_core(data, rows, config.k_core))
        core = np.bincount(data.item[rows], minlength=len(data.items)) > 0
    enough = np.bincount(data.user[rows], minlength=len(data.users)) >= MIN_INTERACTIONS
    rows = step(f"of people with {MIN_INTERACTIONS} or more", rows[enough[data.user[rows]]])
    if config.max_history is not None:
        rows = step(
            f"among the last {config.max_history + 1} of each person ({config.max_history} of history and a target)",
            _latest(data, rows, config.max_history + 1),
        )
    return Selection(rows=rows, core=core, stages=tuple(stages))


def _first_of_each_pair(data: Interactions, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = data.user[rows].astype(np.int64) * max(len(data.items), 1) + data.item[rows]
    _, first = np.unique(pairs, return_index=True)  # `rows` are oldest first within a person
    kept: NDArray[np.int64] = rows[np.sort(first)]
    return kept


def _k_core(data: Interactions, rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    while True:
        by_user = np.bincount(data.user[rows], minlength=len(data.users))
        by_item = np.bincount(data.item[rows], minlength=len(data.items))
        kept = rows[(by_user[data.user[rows]] >= k) & (by_item[data.item[rows]] >= k)]
        if len(kept) == len(rows):
            return kept
        rows = kept


def _latest(data: Interactions, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    users = data.user[rows]
    last_of_user = np.searchsorted(users, users, side="right")  # `rows` are grouped by user, in rising order
    latest: NDArray[np.int64] = rows[last_of_user - np.arange(len(rows)) <= count]
    return latest


def _stage(name: str, data: Interactions, rows: NDArray[np.int64]) -> Stage:
    return Stage(
        name=name,
        interactions=len(rows),
        users=len(np.unique(data.user[rows])),
        items=len(np.unique(data.item[rows])),
    )
