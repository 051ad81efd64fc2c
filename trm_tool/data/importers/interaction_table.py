"""Interactions in a shop's own table: which columns are read, and what each row becomes."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from shlex import quote
from typing import Any

from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.lines import BadRows, Reading
from deeprec.trm_tool.data.importers.source import make_event
from deeprec.trm_tool.data.importers.tables import Table
from deeprec.trm_tool.data.importers.time_column import TimeColumn
from deeprec.trm_tool.data.importers.values import is_empty, parse_amount, parse_number
from deeprec.trm_tool.errors import ConfigError, DataError

_SAMPLE = 1000
_WHOLE = re.compile(r"(\d+)\.0+")
_UNDONE = re.compile(r"remove|refund|return|cancel|delete|unlike|dislike|unfollow|uninstall", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionColumns:
    """Names of the columns that are read."""

    user: str
    item: str
    time: str | None
    """None takes the order of the rows."""
    rating: str | None = None
    event: str | None = None
    """The kind of each event, such as view or purchase."""
    quantity: str | None = None
    """A row with a negative quantity is a return."""

    @property
    def of_interactions(self) -> tuple[str, ...]:
        """All but the item's: what describes a person or an interaction."""
        named = (self.user, self.time, self.rating, self.event, self.quantity)
        return tuple(name for name in named if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanings:
    """What texts of the columns mean, as the user says it."""

    ratings: Mapping[str, float] = field(default_factory=dict)
    """Text in the column of ratings -> rating; NaN is none."""
    events: Mapping[str, float | None] = field(default_factory=dict)
    """Kinds of events that stay -> weight, which becomes the rating, or None. Without any, all but undone ones stay."""


def parse_meanings(ratings: Iterable[str], events: Iterable[str]) -> Meanings:
    """Meanings from options such as `it was amazing=5`, and `purchase` or `purchase=5`.

    Raises:
        ConfigError: an option has no text, or no number where one is meant.
    """
    worth: dict[str, float] = {}
    for option in ratings:
        text, _, number = option.rpartition("=")
        value = parse_number(number) if number.strip() else math.nan
        if not text.strip() or value is None:
            raise ConfigError(
                f"--rating-value is {option[:80]!r}. Give TEXT=NUMBER, such as 'it was amazing=5'; TEXT= is none."
            )
        worth[text.strip()] = value
    weights: dict[str, float | None] = {}
    for option in events:
        kind, mark, number = option.rpartition("=") if "=" in option else (option, "", "")
        weight = parse_number(number) if mark else None
        if not kind.strip() or (mark and weight is None):
            raise ConfigError(f"--event is {option[:80]!r}. Give KIND or KIND=WEIGHT, such as purchase=5.")
        weights[kind.strip()] = weight
    return Meanings(ratings=worth, events=weights)


def read_interactions(
    table: Table, columns: InteractionColumns, meanings: Meanings, times: TimeColumn | None, reading: Reading
) -> Iterator[Event]:
    """Rows as events.

    Raises:
        DataError: a row cannot be used, or no row has an event that the user named.
    """
    file, bad, number = table.path.name, reading.bad, 0
    plain = {role: has_whole_ids(table, name) for role, name in (("user", columns.user), ("item", columns.item))}
    roles = [role for role in ("user", "item", "time", "rating", "event", "quantity") if getattr(columns, role)]
    kinds, returns, left_out = Counter[str](), 0, 0
    for line, values in table.read(reading, [getattr(columns, role) for role in roles]):
        row = dict(zip(roles, values, strict=True))
        weight = None
        if "event" in row:
            kind = str(row["event"]).strip()
            kinds[kind] += 1
            if not _stays(kind, meanings.events):
                left_out += 1
                continue
            weight = meanings.events.get(kind)
        quantity = parse_number(row.get("quantity"))
        if quantity is not None and quantity <= 0:
            returns += 1
            continue
        number += 1
        time = number if times is None else times.read(row["time"], line, bad)
        if time is None:
            continue
        rating = weight if weight is not None else _rating(row.get("rating"), meanings.ratings)
        if isinstance(rating, str):
            text = rating[:60]
            why = (
                f"has {text!r} as rating in the column {columns.rating!r}, which is not a number. Say what it is worth "
                f"with --rating-value {quote(f'{text}=5')}, or that it is none with {quote(f'{text}=')}."
            )
            bad.add("rows without a usable rating", file, line, why)
            continue
        ids = [plain_id(row[role]) if plain[role] else row[role] for role in ("user", "item")]
        event = make_event(file, line, (*ids, rating, time), bad, unrated=True, columns=(columns.user, columns.item))
        if event:
            yield event
    _note(reading, file, columns, kinds, meanings, left_out, returns)


def sample(table: Table, name: str) -> list[Any]:
    """Values of a column in the first thousand rows, without the empty ones."""
    rows = islice(table.read(Reading(BadRows(drop=True)), [name]), _SAMPLE)
    return [value for _, (value,) in rows if value is not None and not (isinstance(value, str) and is_empty(value))]


def has_whole_ids(table: Table, name: str) -> bool:
    """Whether the ids of a column are whole numbers with `.0` behind them, as pandas writes some columns."""
    values = sample(table, name)
    return bool(values) and all(isinstance(value, str) and _WHOLE.fullmatch(value.strip()) for value in values)


def is_of_texts(table: Table, name: str, known: Mapping[str, float]) -> bool:
    """Whether no value of a column of ratings is a number or a known text."""
    values = sample(table, name)
    return bool(values) and all(isinstance(_rating(value, known), str) for value in values)


def plain_id(value: object) -> object:
    """An id without `.0` behind it."""
    match = _WHOLE.fullmatch(value.strip()) if isinstance(value, str) else None
    return match[1] if match else value


def _rating(value: object, known: Mapping[str, float]) -> object:
    if value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and is_empty(value)):
        return None
    if isinstance(value, str):
        if value.strip() in known:
            worth = known[value.strip()]
            return None if math.isnan(worth) else worth
        number = parse_amount(value, ",")  # a rating of thousands is not usual, one of 4,5 is
        return value if number is None else number
    return value


def _stays(kind: str, events: Mapping[str, float | None]) -> bool:
    return kind in events if events else not _UNDONE.search(kind)


def _note(
    reading: Reading,
    file: str,
    columns: InteractionColumns,
    kinds: Counter[str],
    meanings: Meanings,
    left_out: int,
    returns: int,
) -> None:
    missing = [kind for kind in meanings.events if kind not in kinds]
    if missing and columns.event:
        has = ", ".join(kind for kind, _ in kinds.most_common(10))
        raise DataError(
            f"{file} has no event {missing[0]!r} in the column {columns.event!r}; it has {has}. Correct --event."
        )
    if kinds:
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(10))
        reading.notes.append(
            f"{file}: the column {columns.event!r} has the events {counts}; {left_out} of them are left out. Say which "
            "stay with --event KIND, or what they weigh with --event KIND=WEIGHT."
        )
    if returns:
        reading.notes.append(
            f"{file}: {returns} rows have a {columns.quantity} of 0 or less, as returns have, and are left out."
        )
