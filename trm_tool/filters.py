"""Typed constraints on attributes, checked before use and turned into a mask over the catalogue."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.catalogue import Catalogue
from deeprec.trm_tool.errors import ConfigError

Condition: TypeAlias = Mapping[str, Any]
"""`{"in": [...]}`, `{"not_in": [...]}`, `{"min": x}`, `{"max": y}`, or several of these at once."""
Where: TypeAlias = Mapping[str, Condition]
"""Attribute name -> condition. All must hold."""

_MAX_BOUND = 1e300
_EXAMPLE = 'such as {"release_year": {"min": 1990, "max": 1999}}'


class AttributeIndex:
    """The attributes of a catalogue, laid out for filtering.

    Words compare without regard to case. An item that lacks an attribute fails `in`, `min` and `max` on it and passes
    `not_in`; an item with several values passes `in` with any of them and fails `not_in` with any.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._size = len(catalogue)
        self._kinds = catalogue.attribute_kinds
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._words: dict[str, dict[str, list[int]]] = {}
        for name, kind in self._kinds.items():
            if kind == "number":
                self._numbers[name] = np.array([item.attributes.get(name, math.nan) for item in catalogue], np.float64)
                continue
            words: dict[str, list[int]] = defaultdict(list)
            for row, item in enumerate(catalogue):
                value = item.attributes.get(name, ())
                for word in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
                    words[word.casefold()].append(row)
            self._words[name] = dict(words)

    def mask(self, where: Where) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
        """Which items pass, bool (n_items,), and the attributes that the catalogue lacks, so that nothing held them.

        Raises:
            ConfigError: a condition that makes no sense, also on an attribute that the catalogue lacks.
        """
        if not isinstance(where, Mapping):
            raise ConfigError(f"where is {_shown(where)}; it must map attributes to conditions, {_EXAMPLE}.")
        mask = np.ones(self._size, dtype=np.bool_)
        unenforced = []
        for name, condition in where.items():
            _check(name, condition)
            if name not in self._kinds:
                unenforced.append(str(name))
            elif self._kinds[name] == "number":
                mask &= self._number_mask(name, condition)
            else:
                mask &= self._word_mask(name, condition)
        return mask, tuple(unenforced)

    def _number_mask(self, name: str, condition: Condition) -> NDArray[np.bool_]:
        values = self._numbers[name]
        mask = np.ones(self._size, dtype=np.bool_)
        if "min" in condition:
            mask &= values >= condition["min"]  # NaN, an item without the number, is never at least anything
        if "max" in condition:
            mask &= values <= condition["max"]
        if "in" in condition:
            mask &= np.isin(values, _numbers(name, condition["in"]))
        if "not_in" in condition:
            mask &= ~np.isin(values, _numbers(name, condition["not_in"]))
        return mask

    def _word_mask(self, name: str, condition: Condition) -> NDArray[np.bool_]:
        if "min" in condition or "max" in condition:
            raise ConfigError(f"where.{name} asks for min or max, but {name} holds words. Use in or not_in.")
        mask = np.ones(self._size, dtype=np.bool_)
        for key in ("in", "not_in"):
            if key in condition:
                named = np.zeros(self._size, dtype=np.bool_)
                for word in condition[key]:
                    named[self._words[name].get(str(word).casefold(), [])] = True
                mask &= named if key == "in" else ~named
        return mask


def _check(name: object, condition: object) -> None:
    if not isinstance(name, str):
        raise ConfigError(f"where has the key {_shown(name)}; name an attribute, {_EXAMPLE}.")
    if not isinstance(condition, Mapping) or not condition or set(condition) - {"in", "not_in", "min", "max"}:
        raise ConfigError(f"where.{name} is {_shown(condition)}; use in, not_in, min or max, {_EXAMPLE}.")
    for key in ("in", "not_in"):
        values = condition.get(key, [])
        if (
            not isinstance(values, Sequence | set | frozenset)
            or isinstance(values, str | bytes)
            or not all(isinstance(value, str | int | float) for value in values)
        ):
            raise ConfigError(f"where.{name}.{key} is {_shown(values)}; give a list of values.")
    for key in ("min", "max"):
        bound = condition.get(key, 0)
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not abs(bound) <= _MAX_BOUND:
            raise ConfigError(f"where.{name}.{key} is {_shown(bound)}; give a number.")
    if "min" in condition and "max" in condition and condition["min"] > condition["max"]:
        raise ConfigError(f"where.{name} has min {condition['min']} above max {condition['max']}. Swap them.")


def _numbers(name: str, values: Sequence[object]) -> list[float]:
    try:
        return [float(value) for value in values]  # type: ignore[arg-type]  # the error is the check
    except (ValueError, OverflowError):
        raise ConfigError(f"where.{name} lists {_shown(values)}, but {name} holds numbers. Give numbers.") from None


def _shown(value: object) -> str:
    return repr(value)[:80]
