"""What can be said of the items of a catalogue, and which items it fits."""

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator

from deeprec.trm_tool.catalogue.catalogue import MAX_PHRASE_CHARS, Catalogue, decade_of, phrase_of
from deeprec.trm_tool.data.made_requests.sentences import NumberBound, Value, Wish
from deeprec.trm_tool.data.made_requests.words import Bound, Role, role_of
from deeprec.trm_tool.text import plain

MAX_WANTED = 3
"""Attributes that one wish names, at most."""
_ATTEMPTS = 12
_WORD = re.compile(r"\w+")


class Sayable:
    """What can be said of the items of a catalogue, and which items it fits.

    Args:
        catalogue: The items.
        min_fitting: Items that a wish must fit, at least.
    """

    def __init__(self, catalogue: Catalogue, min_fitting: int) -> None:
        self.catalogue = catalogue
        self.min_fitting = min_fitting
        rows: dict[Value, set[int]] = {}
        own: dict[int, list[Value]] = {}
        for row in np.flatnonzero(catalogue.available).tolist():
            own[row] = list(_values(catalogue, row))
            for value in own[row]:
                rows.setdefault(value, set()).add(row)
        self.fitting: dict[Value, frozenset[int]] = {
            value: frozenset(found) for value, found in rows.items() if len(found) >= min_fitting
        }
        """Value -> rows of the items that have it, for values of several items."""
        self.values_of: dict[int, tuple[Value, ...]] = {
            row: kept for row, values in own.items() if (kept := tuple(v for v in values if v in self.fitting))
        }
        """Row -> what can be said of the item."""
        self._numbers = {
            name: np.array([item.attributes.get(name, np.nan) for item in catalogue], np.float64)
            for name, kind in catalogue.attribute_kinds.items()
            if kind == "number"
        }
        self._titles: dict[str, list[tuple[str, ...]]] = {}
        for item in catalogue:
            title = _words(item.title)
            if len(title) > 1:
                self._titles.setdefault(title[0], []).append(title)

    def wish(self, item_id: str, rng: Generator, *, negated: bool, bounded: bool) -> Wish | None:
        """Choose what to say of an item, so that it fits the item and several others.

        Args:
            item_id: The target.
            rng: Draws the attributes.
            negated: Also say what is not wanted, where something can be excluded so.
            bounded: Also bound a number, where the item has one.

        Returns:
            None where the draw fits too few items; another draw may fit more.
        """
        row = self.catalogue.row(item_id)
        own = self.values_of.get(row, ())
        if not own:
            return None
        count = int(rng.integers(1, min(MAX_WANTED, len(own)) + 1))
        wanted = tuple(own[index] for index in rng.permutation(len(own))[:count])
        fitting = frozenset.intersection(*(self.fitting[value] for value in wanted))
        if len(fitting) < self.min_fitting:
            return None
        unwanted: tuple[Value, ...] = ()
        if negated and (value := self._unwanted(row, wanted, fitting, rng)) is not None:
            unwanted, fitting = (value,), fitting - self.fitting[value]
        bounds: tuple[NumberBound, ...] = ()
        if bounded and (bound := self._bound(row, fitting, rng)) is not None:
            bounds = (bound,)
        return Wish(wanted=wanted, unwanted=unwanted, bounds=bounds)

    def names_an_item(self, message: str, targets: Sequence[str]) -> bool:
        """Whether a message holds a target's title or id, or any title of two words and more."""
        words = _words(message)
        bare = f" {' '.join(words)} "
        for target in targets:
            title = " ".join(_words(self.catalogue.item(target).title))
            if (title and f" {title} " in bare) or f" {' '.join(_words(target))} " in bare:
                return True
        return any(
            words[at : at + len(title)] == title
            for at, word in enumerate(words)
            for title in self._titles.get(word, ())
        )

    def _unwanted(self, row: int, wanted: tuple[Value, ...], fitting: frozenset[int], rng: Generator) -> Value | None:
        """A value that the item lacks, that other fitting items have, and whose exclusion leaves enough of them."""
        kinds = self.catalogue.attribute_kinds
        said = {value.attribute for value in wanted if kinds[value.attribute] == "category"}
        others = sorted(fitting - {row})
        own = set(self.values_of[row])
        for other in (others[index] for index in rng.permutation(len(others))[:_ATTEMPTS]):
            values = [
                value
                for value in self.values_of.get(other, ())
                if value not in own and value.role != "year" and value.attribute not in said
            ]
            if not values:
                continue
            value = values[int(rng.integers(len(values)))]
            if len(fitting - self.fitting[value]) >= self.min_fitting:
                return value
        return None

    def _bound(self, row: int, fitting: frozenset[int], rng: Generator) -> NumberBound | None:
        """A round bound that the item passes, that excludes something, and that leaves enough fitting items."""
        names = [name for name, values in self._numbers.items() if np.isfinite(values[row]) and values[row] > 0]
        rows = sorted(fitting)
        for name in (names[index] for index in rng.permutation(len(names))):
            values = self._numbers[name]
            role: Role = "year" if name in self.catalogue.year_attributes else role_of(name, "number")
            bounds: tuple[Bound, Bound] = ("max", "min") if rng.random() < 0.5 else ("min", "max")
            for bound in bounds:
                number = _round(float(values[row]), bound, role)
                passes = values[rows] <= number if bound == "max" else values[rows] >= number
                if self.min_fitting <= passes.sum() < len(rows):
                    return NumberBound(attribute=name, bound=bound, number=number, role=role)
        return None


def _values(catalogue: Catalogue, row: int) -> Iterator[Value]:
    """The values of an item that are among its phrases, each with the attribute that it is of."""
    item = catalogue[row]
    phrases = set(catalogue.phrases_of(item.id))
    for name, kind in catalogue.attribute_kinds.items():
        value = item.attributes.get(name)
        if isinstance(value, float):
            if name in catalogue.year_attributes and decade_of(value) in phrases:
                yield Value(name, "year", decade_of(value), decade_of(value))
        elif value is not None and kind != "number":
            for written in dict.fromkeys((value,) if isinstance(value, str) else value):
                if phrase_of(written) in phrases:
                    phrases.discard(phrase_of(written))
                    yield Value(name, role_of(name, kind), phrase_of(written), plain(written, MAX_PHRASE_CHARS))


def _round(value: float, bound: Bound, role: Role) -> float:
    """The next round number above (max) or below (min) a positive value, never the value itself."""
    step = 5.0 if role == "year" else 5 * 10.0 ** (math.floor(math.log10(value)) - 1)
    steps = math.floor(value / step) + 1 if bound == "max" else math.ceil(value / step) - 1
    return float(f"{steps * step:.12g}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))
