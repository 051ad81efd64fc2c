"""What a set of words for made requests holds; training and tests each have a set of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from deeprec.trm_tool.catalogue.catalogue import AttributeKind

WordSet = Literal["training", "test"]
"""Which words a message is written in."""
Bound = Literal["max", "min"]
Role = Literal["brand", "colour", "material", "creator", "category", "tag", "price", "year", "number"]
"""What an attribute is about."""

_ROLES: tuple[tuple[Role, tuple[str, ...]], ...] = (
    ("price", ("price", "cost", "msrp")),
    ("brand", ("brand", "maker", "manufacturer", "label", "publisher", "studio", "vendor")),
    ("colour", ("colour", "color", "shade")),
    ("material", ("material", "fabric")),
    ("creator", ("author", "artist", "director", "writer", "composer", "designer", "creator", "developer")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Sentences and words. A sentence has the slot `{wish}`, a frame the slot `{value}`.

    The content words of the training set and of the test set do not meet (a test proves it): a model that has learnt
    one set is measured on words that it has not seen. The catalogue's own values may stand in both.
    """

    name: WordSet
    voices: Mapping[str, tuple[str, ...]]
    """Voice -> sentences that a message begins with."""
    frames: Mapping[Role, tuple[str, ...]]
    """Role -> ways to say a value of an attribute."""
    values: Mapping[str, tuple[str, ...]]
    """Value, in lower case -> other words for it that fit behind "something"; values that are not here use a frame."""
    nicknames: Mapping[str, str]
    """Last three characters of a decade ("90s") -> its name."""
    decades: tuple[str, ...]
    """Ways to name a decade, with the slots `{decade}`, `{nickname}`, `{short}` ("90s") or `{year}`."""
    refusals: tuple[str, ...]
    """Clauses about what is not wanted, with the slot `{wish}`."""
    bounds: Mapping[tuple[Role, Bound], tuple[str, ...]]
    """Role and bound -> clauses with `{number}` (and `{name}` for numbers that are neither prices nor years)."""
    seconds: tuple[str, ...]
    """Sentences that add a second wish, with the slot `{wish}`."""
    joint: str = "and"
    """What stands between the last two of several values."""

    def with_values(self, values: Mapping[str, tuple[str, ...]]) -> "Words":
        """These words, with more words for the values of a catalogue of one's own (in lower case)."""
        return replace(self, values={**self.values, **values})


def role_of(attribute: str, kind: AttributeKind) -> Role:
    """What an attribute is about, by its name; where that says nothing, by its kind."""
    name = attribute.lower()
    named = next((role for role, parts in _ROLES if any(part in name for part in parts)), None)
    if kind == "number":
        return "price" if named == "price" else "number"
    return named if named not in (None, "price") else "tag" if kind == "tags" else "category"
