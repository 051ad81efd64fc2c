"""The catalogue card: what items can be asked for by, as data and as a short text that is safe for a prompt."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from deeprec.trm_tool.catalogue.catalogue import MAX_PHRASE_CHARS, AttributeKind, phrase_of
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import neutralise

if TYPE_CHECKING:
    from deeprec.trm_tool.recommender import CatalogueView

MAX_CARD_CHARS = 1_000
"""Characters of a card's text, some 250 tokens."""
MAX_ATTRIBUTES = 16
"""Attributes that a text describes; the others are named."""
MAX_NAME_CHARS = 40
_MIN_LINE_CHARS = 60
_PLACEHOLDERS = frozenset({"", "unknown", "n/a", "nan", "null"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedAttribute:
    """One attribute, and what of it the items have."""

    name: str
    kind: AttributeKind
    items: int
    """Items that have the attribute."""
    low: float | None = None
    """The smallest value of a number."""
    high: float | None = None
    """The largest value of a number."""
    distinct: int = 0
    """Different values of a category or of tags."""
    values: Sequence[tuple[str, int]] = ()
    """Such values as the catalogue writes them, each with the number of items that have it, the commonest first."""

    @property
    def range(self) -> str:
        """The smallest and the largest value of a number, such as `3 to 90`; empty for words."""
        return "" if self.low is None or self.high is None else f"{self.low:.12g} to {self.high:.12g}"

    def line(self, max_chars: int) -> str:
        """One line that is safe for a prompt: `genre: drama (725), comedy (505) and 16 more`, `price: 3 to 90`."""
        name = neutralise(self.name, MAX_NAME_CHARS)
        if self.kind == "number":
            return f"{name}: {self.range}"
        line, left = f"{name}:", self.distinct
        for value, count in self.values:
            part = f"{',' if left < self.distinct else ''} {neutralise(value, MAX_PHRASE_CHARS)} ({count})"
            if len(line) + len(part) > max_chars - len(f" and {left} more"):
                break
            line, left = line + part, left - 1
        if left == self.distinct:
            return f"{line} {left} values"
        return line + (f" and {left} more" if left else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueCard:
    """What the items of a catalogue can be asked for by. Removed items do not count."""

    items: int
    attributes: Sequence[DescribedAttribute]
    """The attributes in the order of the catalogue; those that no item has are left out."""

    def lines(self, max_chars: int = MAX_CARD_CHARS) -> list[str]:
        """Describe each attribute in a line that is safe for a prompt; empty where there is no attribute.

        Args:
            max_chars: Characters of all lines together, which share them evenly.
        """
        shown = self.attributes[:MAX_ATTRIBUTES]
        each = max(_MIN_LINE_CHARS, max_chars // max(1, len(shown)))
        lines = [attribute.line(each) for attribute in shown]
        if len(self.attributes) > len(shown):
            names = ", ".join(attribute.name for attribute in self.attributes[len(shown) :])
            lines.append(neutralise(f"and the attributes {names}", each))
        return lines

    def numbers(self) -> list[DescribedAttribute]:
        """The numbers that a preference can bound: those with different values, and with a name that it can spell."""
        return [
            attribute
            for attribute in self.attributes
            if attribute.kind == "number" and attribute.low != attribute.high and _can_be_spelt(attribute.name)
        ]

    def select(self, *, attribute: str | None = None, contains: str | None = None, limit: int = 20) -> "CatalogueCard":
        """Look closer: at one attribute, at the values that contain a text, at more or fewer values.

        Args:
            attribute: Its name; None takes all.
            contains: A text, in any case, that a value has to contain. `distinct` then counts such values, and
                attributes without one are left out.
            limit: Values of each attribute, at most.

        Raises:
            ConfigError: the catalogue has no such attribute, or `limit` is below 1.
        """
        if limit < 1:
            raise ConfigError(f"limit is {limit}; no value could be shown. Give 1 or more.")
        known = [each.name for each in self.attributes]
        if attribute is not None and attribute not in known:
            close = get_close_matches(attribute[:MAX_NAME_CHARS], known, n=1)
            has = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(known)[:300] or 'none'}."
            raise ConfigError(f"The catalogue has no attribute {attribute[:MAX_NAME_CHARS]!r}. {has}")
        chosen = []
        for each in self.attributes:
            if attribute not in (None, each.name):
                continue
            if contains is not None:
                found = [value for value in each.values if contains.casefold() in value[0].casefold()]
                if not found:
                    continue
                each = replace(each, values=found, distinct=len(found))
            chosen.append(replace(each, values=tuple(each.values[:limit])))
        return replace(self, attributes=tuple(chosen))


def describe_catalogue(catalogue: "CatalogueView") -> CatalogueCard:
    """Describe what the items of a catalogue can be asked for by; any recommender's catalogue can be described.

    It takes time in proportion to the catalogue. Placeholders such as "unknown", and values that are too long for a
    phrase, are left out.
    """
    items = [catalogue.item(item_id) for item_id in catalogue.ids if item_id not in catalogue.removed]
    described = []
    for name, kind in catalogue.attribute_kinds.items():
        values = [item.attributes[name] for item in items if name in item.attributes]
        if kind == "number":
            numbers = [value for value in values if isinstance(value, float)]
            if numbers:
                described.append(
                    DescribedAttribute(name=name, kind=kind, items=len(numbers), low=min(numbers), high=max(numbers))
                )
            continue
        counts = Counter(word for value in values for word in _words(value))
        if counts:
            described.append(
                DescribedAttribute(
                    name=name,
                    kind=kind,
                    items=len(values),
                    distinct=len(counts),
                    values=tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))),
                )
            )
    return CatalogueCard(items=len(items), attributes=tuple(described))


def _words(value: object) -> Iterator[str]:
    for word in dict.fromkeys((value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()):
        if phrase_of(word) not in _PLACEHOLDERS:
            yield word


def _can_be_spelt(name: str) -> bool:
    """Whether `NAME >= 5` can be read back from a preference."""
    return neutralise(name, MAX_NAME_CHARS) == name and not any(char in name for char in ";,=‹›")
