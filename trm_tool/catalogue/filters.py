"""Typed constraints on attributes: they are checked, and turned into a mask over the catalogue."""

import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import plain

if TYPE_CHECKING:
    from deeprec.trm_tool.recommender import CatalogueView

Condition: TypeAlias = Mapping[str, Any]
"""`{"in": [...]}`, `{"not_in": [...]}`, `{"min": x}`, `{"max": y}`, or several of these at once."""
Where: TypeAlias = Mapping[str, Condition]
"""Attribute name -> condition. An item must pass all of them."""

MAX_REPORTED = 10
"""Unknown values that are reported, at most."""
_MAX_BOUND = 1e300
_MAX_COMPARED = 500
_MAX_CLOSE_CHARS = 80
_FEW = 8
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
_EXAMPLE = 'such as {"release_year": {"min": 1990, "max": 1999}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownValue:
    """A value of a condition that no item of the catalogue has, perhaps mistyped."""

    attribute: str
    value: str
    close: tuple[str, ...]
    """Similar values that items have, the closest first, as the catalogue writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """Which items pass, and which parts of the constraints the catalogue does not have."""

    mask: NDArray[np.bool_]
    """(items,), in catalogue order."""
    unenforced: tuple[str, ...] = ()
    """Attributes that the catalogue lacks, so that their conditions were not enforced."""
    unknown_values: tuple[UnknownValue, ...] = ()
    """Values of `in` and `not_in` that no item has, at most ten."""


class AttributeIndex:
    """The attributes of a catalogue, laid out for filtering.

    Words compare without regard to case, white space and composition of accents; true and false compare as words. An
    item that lacks an attribute fails `in`, `min` and `max` on it and passes `not_in`; an item with several values
    passes `in` with any of them and fails `not_in` with any. `min` and `max` are for numbers, and for a category whose
    values are all dates such as 1995-08-19: there a bound is a date, a month ("1995-08") or a year. Both ends pass.
    """

    def __init__(self, catalogue: "CatalogueView") -> None:
        self._size = len(catalogue)
        items = [catalogue.item(item_id) for item_id in catalogue.ids]
        self._kinds = catalogue.attribute_kinds
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._distinct: dict[str, NDArray[np.float64]] = {}
        self._words: dict[str, dict[str, NDArray[np.int32]]] = {}
        self._written: dict[str, dict[str, str]] = {}
        self._dates: dict[str, NDArray[np.str_]] = {}
        for name, kind in self._kinds.items():
            if kind == "number":
                self._numbers[name] = np.array([item.attributes.get(name, math.nan) for item in items], np.float64)
                numbers = self._numbers[name]
                self._distinct[name] = np.unique(numbers[~np.isnan(numbers)])
                continue
            rows: dict[str, list[int]] = defaultdict(list)
            for row, item in enumerate(items):
                value = item.attributes.get(name, ())
                for word in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
                    rows[word].append(row)
            if kind == "category" and rows and all(_DATE.fullmatch(word) for word in rows):
                dates = [str(item.attributes.get(name, "")) for item in items]
                self._dates[name] = np.array(dates)
            folded: dict[str, list[int]] = defaultdict(list)
            written: dict[str, str] = {}
            for word, own in rows.items():
                folded[_fold(word)].extend(own)
                written.setdefault(_fold(word), word)
            self._words[name] = {word: np.array(own, np.int32) for word, own in folded.items()}
            self._written[name] = written

    def filter(self, where: Where) -> Filtered:
        """Find the items that pass.

        Raises:
            ConfigError: a condition makes no sense, even on an attribute that the catalogue lacks; or no item could
                pass it, whatever its value.
        """
        check_where(where)
        mask = np.ones(self._size, dtype=np.bool_)
        unenforced, unknown = [], list[UnknownValue]()
        for name, condition in where.items():
            if name not in self._kinds:
                unenforced.append(str(name))
            elif self._kinds[name] == "number":
                mask &= self._number_mask(name, condition, unknown)
            else:
                mask &= self._word_mask(name, condition, unknown)
        return Filtered(mask=mask, unenforced=tuple(unenforced), unknown_values=tuple(unknown))

    def near(self, name: str, condition: Condition) -> tuple[str, ...]:
        """The values of items that are nearest to the bounds of a condition: one below `min`, one above `max`."""
        there: NDArray[Any] = self._distinct.get(name, np.unique(self._dates.get(name, np.array([], np.str_))))
        values = [value if isinstance(value, str) else float(value) for value in there if value != ""]
        if isinstance(next(iter(values), None), str):
            condition = {key: _word(bound) for key, bound in condition.items() if key in ("min", "max")}
        below = [value for value in values if "min" in condition and value < condition["min"]]
        above = [value for value in values if "max" in condition and value > condition["max"]]
        return tuple(v if isinstance(v, str) else f"{v:.12g}" for v in (*below[-1:], *above[:1]))

    def _number_mask(self, name: str, condition: Condition, unknown: list[UnknownValue]) -> NDArray[np.bool_]:
        low, high = (_bound(name, condition, key) for key in ("min", "max"))
        values = self._numbers[name]
        mask = np.ones(self._size, dtype=np.bool_)
        if low is not None:
            mask &= values >= low  # an item without the number has NaN, which fails every comparison
        if high is not None:
            mask &= values <= high
        for key in ("in", "not_in"):
            if key not in condition:
                continue
            listed = _numbers(name, key, condition[key])
            if key == "in" and not any((low is None or low <= x) and (high is None or x <= high) for x in listed):
                raise ConfigError(f"where.{name} lists only values outside its own min and max. Leave one of them out.")
            named = np.isin(values, listed)
            mask &= named if key == "in" else ~named
            there = self._distinct[name]
            for x in np.setdiff1d(listed, there)[: MAX_REPORTED - len(unknown)]:
                at = int(np.searchsorted(there, x))
                close = tuple(f"{value:.12g}" for value in there[max(at - 1, 0) : at + 1])
                unknown.append(UnknownValue(attribute=name, value=f"{x:.12g}", close=close))
        return mask

    def _word_mask(self, name: str, condition: Condition, unknown: list[UnknownValue]) -> NDArray[np.bool_]:
        mask = self._date_mask(name, condition)
        for key in ("in", "not_in"):
            if key not in condition:
                continue
            named = np.zeros(self._size, dtype=np.bool_)
            for value in condition[key]:
                word = _fold(_word(value))
                if word in self._words[name]:
                    named[self._words[name][word]] = True
                elif len(unknown) < MAX_REPORTED:
                    shown = _word(value)[:80]
                    unknown.append(UnknownValue(attribute=name, value=shown, close=self._close(name, word)))
            mask &= named if key == "in" else ~named
        return mask

    def _date_mask(self, name: str, condition: Condition) -> NDArray[np.bool_]:
        mask = np.ones(self._size, dtype=np.bool_)
        for key in ("min", "max"):
            if key not in condition:
                continue
            if name not in self._dates:
                raise ConfigError(
                    f"where.{name} asks for {key}, but {name} holds words. Use in or not_in; min and max are for "
                    "numbers, and for dates such as 1995-08-19."
                )
            bound = _word(condition[key])
            if not _DATE.fullmatch(bound):
                raise ConfigError(f"where.{name}.{key} is {_shown(condition[key])}; give a date, a month or a year.")
            dates = self._dates[name]
            # ISO dates sort as text. Dates are cut to the bound's length, so that all of a year is at most that year.
            mask &= (dates >= bound) if key == "min" else (dates.astype(f"U{len(bound)}") <= bound) & (dates != "")
        return mask

    def _close(self, name: str, word: str) -> tuple[str, ...]:
        written = self._written[name]
        if len(word) > _MAX_CLOSE_CHARS:
            return ()
        if len(written) <= _FEW:
            return tuple(written[other] for other in get_close_matches(word, written, n=_FEW, cutoff=0))
        # Comparison is slow, and mistyped words mostly keep their first letter and their length.
        compared = nsmallest(
            _MAX_COMPARED, written, key=lambda other: (other[:1] != word[:1], abs(len(other) - len(word)))
        )
        return tuple(written[other] for other in get_close_matches(word, compared))


def check_where(where: object) -> None:
    """Check that constraints make sense, whatever the catalogue.

    Raises:
        ConfigError: a condition makes no sense, or no item could pass it, whatever its value.
    """
    if not isinstance(where, Mapping):
        raise ConfigError(f"where is {_shown(where)}; it must map attributes to conditions, {_EXAMPLE}.")
    for name, condition in where.items():
        _check(name, condition)


def _check(name: object, condition: object) -> None:
    if not isinstance(name, str):
        raise ConfigError(f"where has the key {_shown(name)}; name an attribute, {_EXAMPLE}.")
    name = plain(name, 80)
    if not isinstance(condition, Mapping) or not condition or set(condition) - {"in", "not_in", "min", "max"}:
        example = _EXAMPLE
        if isinstance(condition, str):
            example = f"such as {json.dumps({name: {'in': [plain(condition, 40)]}}, ensure_ascii=False)}"
        raise ConfigError(f"where.{name} is {_shown(condition)}; use in, not_in, min or max, {example}.")
    for key in ("in", "not_in"):
        values = condition.get(key, [])
        if (
            not isinstance(values, Sequence | set | frozenset)
            or isinstance(values, str | bytes)
            or not all(isinstance(value, str) or _is_finite(value) for value in values)
        ):
            raise ConfigError(f"where.{name}.{key} is {_shown(values)}; give a list of words or finite numbers.")
    if "in" in condition:
        wanted = {_fold(_word(value)) for value in condition["in"]}
        if not wanted:
            raise ConfigError(f"where.{name}.in is empty, so that no item could pass. List values, or leave it out.")
        if wanted <= {_fold(_word(value)) for value in condition.get("not_in", ())}:
            raise ConfigError(
                f"where.{name} has every value of in under not_in as well. Take them out of one of the two."
            )
    for key in ("min", "max"):
        bound = condition.get(key, 0)
        fits = _DATE.fullmatch(bound) if isinstance(bound, str) else _is_finite(bound) and not isinstance(bound, bool)
        if not fits:
            raise ConfigError(f"where.{name}.{key} is {_shown(bound)}; give a number, or a date such as 2021-03-01.")
    if "min" in condition and "max" in condition:
        low, high = condition["min"], condition["max"]
        if isinstance(low, str) or isinstance(high, str):
            low, high = _word(low), _word(high)
            low = low[: len(high)]
        if low > high:
            raise ConfigError(f"where.{name} has min {condition['min']} above max {condition['max']}. Swap them.")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= _MAX_BOUND


def _bound(name: str, condition: Condition, key: str) -> float | None:
    bound = condition.get(key)
    if isinstance(bound, str):
        raise ConfigError(f"where.{name}.{key} is {_shown(bound)}, but {name} holds numbers; give a number.")
    return bound


def _numbers(name: str, key: str, values: Collection[Any]) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (ValueError, OverflowError):
        raise ConfigError(f"where.{name} lists {_shown(values)}, but {name} holds numbers. Give numbers.") from None
    if not all(map(math.isfinite, numbers)):
        raise ConfigError(f"where.{name}.{key} lists {_shown(values)}; give numbers that are finite.")
    return numbers


def _word(value: str | float) -> str:
    """A value as the catalogue writes it: 7.0 as 7, true as true."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _fold(word: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", word).casefold().split())


def _shown(value: object) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # an integer of more than 4,300 digits
        return f"a {type(value).__name__} with a number too long to show"
