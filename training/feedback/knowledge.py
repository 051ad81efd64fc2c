"""Preference knowledge: what a person will like, as values of the factors of a catalogue.

A factor is an attribute of the catalogue, such as genre, decade or brand. Knowledge names factors and, for each, some
values: `genre: drama, comedy; year: 1990s`. The recommender gets the values as a preference.

Source:
    Sun et al. 2024, arXiv:2410.05939: knowledge about named factors, encoded and added to a sequential recommender.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deeprec.trm_tool.catalogue.catalogue import decade_of, is_year, phrase_of
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import CatalogueView
from deeprec.trm_tool.text import neutralise, plain

MAX_FACTORS = 6
"""Factors that knowledge is asked for, those with the most items first."""
MAX_VALUES = 24
"""Values of one factor that a prompt offers."""
MAX_NAMED = 3
"""Values of one factor that a guided policy names."""
MAX_KNOWLEDGE_CHARS = 400
"""Characters of knowledge that reach a recommender."""
EMPTY = "it is empty"
NO_FACTOR = "it names no factor of the catalogue"
NO_VALUE = "it names no value of the catalogue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """An attribute of the catalogue and its values, as phrases that the recommender knows."""

    name: str
    values: tuple[str, ...]
    """Safe for a prompt, in lower case, the commonest first; none has a comma, a colon or a semicolon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What was read out of a policy's answer."""

    factors: Mapping[str, tuple[str, ...]]
    """Factor -> what the answer says about it, known values and other words, each once."""
    problem: str | None = None
    """Why the answer is not knowledge, in words that complete "The knowledge cannot be used: …"; None where it is."""

    @property
    def preference(self) -> str | None:
        """The knowledge as a preference for a recommender, such as `drama; comedy; 1990s`; None where it is none."""
        if self.problem is not None:
            return None
        parts = dict.fromkeys(value for values in self.factors.values() for value in values)
        return plain("; ".join(parts), MAX_KNOWLEDGE_CHARS)


def catalogue_factors(catalogue: CatalogueView, *, min_items: int = 5) -> tuple[Factor, ...]:
    """Find the factors of a catalogue: tags, categories and decades, each with the values that several items share.

    Args:
        catalogue: Of the recommender; removed items do not count.
        min_items: Items that a value is true of, at least.

    Returns:
        At most `MAX_FACTORS`, those with the most items first.

    Raises:
        ConfigError: the catalogue has no such attribute, so there is nothing to know about a person.
    """
    shared = catalogue.phrases(min_items)
    counts = {name: Counter[str]() for name in catalogue.attribute_kinds}
    for item_id in catalogue.ids:
        if item_id not in catalogue.removed:
            for name, value in catalogue.item(item_id).attributes.items():
                counts[name].update(phrase for phrase in _phrases(name, value) if phrase in shared)
    found = {_factor_name(name): own for name, own in counts.items() if own}
    if not found:
        raise ConfigError(
            f"None of the catalogue's attributes ({', '.join(map(repr, counts)) or 'it has none'}) has a value that "
            f"{min_items} items share, so there is no factor to write knowledge about. Import items with categories, "
            "tags or years."
        )
    ordered = sorted(found, key=lambda name: -found[name].total())[:MAX_FACTORS]
    return tuple(Factor(name=name, values=tuple(value for value, _ in found[name].most_common())) for name in ordered)


def offered_factors(factors: Sequence[Factor], catalogue: CatalogueView, history: Iterable[str]) -> tuple[Factor, ...]:
    """Choose the values that one prompt offers: all of a factor with few, else those of the history and the commonest.

    Args:
        factors: Of the whole catalogue.
        catalogue: With the items of the history; ids that it lacks are skipped.
        history: Item ids.
    """
    own = Counter(
        phrase
        for item_id in history
        if item_id in catalogue
        for name, value in catalogue.item(item_id).attributes.items()
        for phrase in _phrases(name, value)
    )
    return tuple(
        Factor(name=factor.name, values=tuple(sorted(factor.values, key=lambda value: -own[value])[:MAX_VALUES]))
        if len(factor.values) > MAX_VALUES
        else factor
        for factor in factors
    )


def knowledge_pattern(factors: Sequence[Factor]) -> str:
    """The pattern that holds a guided policy to `genre: drama, comedy; year: 1990s`, every factor in turn."""
    parts = []
    for factor in factors:
        value = f"({'|'.join(map(_literal, factor.values))})"
        parts.append(f"{_literal(factor.name)}: {value}(, {value}){{0,{MAX_NAMED - 1}}}")
    return "; ".join(parts)


def read_knowledge(text: str, factors: Sequence[Factor]) -> Knowledge:
    """Read a policy's answer: factors stand before a colon, on lines of their own or between semicolons.

    Words that are no value of the catalogue stay beside values that are: the text encoder reads both.

    Args:
        text: What the policy wrote, of any kind.
        factors: Of the whole catalogue.
    """
    known = {factor.name: frozenset(factor.values) for factor in factors}
    found: dict[str, dict[str, None]] = {}
    for part in re.split(r"[;\n]", text[: 8 * MAX_KNOWLEDGE_CHARS]):
        before, colon, after = part.partition(":")
        name = plain(before, MAX_KNOWLEDGE_CHARS).strip("-*# ").lower()
        if colon and name in known:
            values = (plain(value, MAX_KNOWLEDGE_CHARS).strip(" .\"'").lower() for value in after.split(","))
            found.setdefault(name, {}).update(dict.fromkeys(value for value in values if value))
    named = {name: tuple(values) for name, values in found.items() if values}
    if not plain(text, MAX_KNOWLEDGE_CHARS):
        return Knowledge(factors={}, problem=EMPTY)
    if not named:
        return Knowledge(factors={}, problem=NO_FACTOR)
    if not any(known[name].intersection(values) for name, values in named.items()):
        return Knowledge(factors=named, problem=NO_VALUE)
    return Knowledge(factors=named)


def _literal(text: str) -> str:
    """A text in a pattern; servers warn of spaces and hyphens that are escaped."""
    return re.escape(text).replace(r"\ ", " ").replace(r"\-", "-")


def _phrases(attribute: str, value: object) -> list[str]:
    """The phrases of an attribute's value that can stand in knowledge; of numbers, years alone have one."""
    if isinstance(value, float):
        return [decade_of(value)] if "year" in attribute.lower() and is_year(value) else []
    values = value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ()
    return [phrase for phrase in dict.fromkeys(map(phrase_of, values)) if not re.search("[,:;]", phrase)]


def _factor_name(attribute: str) -> str:
    return re.sub("[,:;]", " ", neutralise(attribute.lower().replace("_", " "), 40)).strip()
