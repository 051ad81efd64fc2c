"""Need cards: what a simulated person needs, as conditions on attributes that several items fulfil."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deeprec.trm_tool.catalogue.catalogue import AttributeValue, decade_of, phrase_of
from deeprec.trm_tool.data.made_requests.words import Role
from deeprec.trm_tool.errors import ConfigError

Asks = Literal["is", "is_not", "at_most", "at_least"]
"""How a need bears on its attribute: a value that an item must have, one that it must not have, or a bound."""


@dataclass(frozen=True, slots=True)
class Need:
    """One condition on one attribute. An item that lacks the attribute fulfils `is_not` and nothing else."""

    attribute: str
    asks: Asks
    value: str | float
    """A phrase of the catalogue in lower case, a decade such as "1990s", or the number of a bound."""
    role: Role
    """What the attribute is about, which decides how people name it."""
    written: str = ""
    """A phrase as the catalogue writes it."""

    @property
    def is_hard(self) -> bool:
        """Whether an item that breaks the need, once the person has stated it, violates a constraint."""
        return self.asks != "is"

    def is_met_by(self, attributes: Mapping[str, AttributeValue]) -> bool:
        """Whether an item with these attributes fulfils the need; both ends of a bound pass."""
        found = attributes.get(self.attribute)
        if self.asks in ("at_most", "at_least"):
            if not isinstance(found, float) or not isinstance(self.value, float):
                return False
            return found <= self.value if self.asks == "at_most" else found >= self.value
        if isinstance(found, float):
            has = decade_of(found) == self.value
        else:
            has = any(phrase_of(each) == self.value for each in ((found,) if isinstance(found, str) else found or ()))
        return has == (self.asks == "is")


@dataclass(frozen=True, slots=True)
class NeedCard:
    """What a person needs, in the order in which they say it. It names no item, and several items fit it.

    Raises:
        ConfigError: there is no need, so that every item would fit.
    """

    needs: tuple[Need, ...]

    def __post_init__(self) -> None:
        if not self.needs:
            raise ConfigError("A need card has no need, so every item would fit it. Give it one need or more.")

    def fits(self, attributes: Mapping[str, AttributeValue]) -> bool:
        """Whether an item with these attributes fulfils every need."""
        return all(need.is_met_by(attributes) for need in self.needs)

    def share_met(self, attributes: Mapping[str, AttributeValue]) -> float:
        """The share of the needs that an item with these attributes fulfils, from 0 to 1."""
        return sum(need.is_met_by(attributes) for need in self.needs) / len(self.needs)

    @property
    def preference(self) -> str:
        """The whole card as a preference in the catalogue's own words: `comedy; not horror; price <= 50`."""
        signs = {"at_most": "<=", "at_least": ">="}
        return "; ".join(
            f"{need.attribute} {signs[need.asks]} {need.value:.12g}"
            if isinstance(need.value, float)
            else f"{'not ' if need.asks == 'is_not' else ''}{need.value}"
            for need in self.needs
        )
