"""Need cards drawn from a data set: attributes of what a person took next, coarse and true of several items."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deeprec.evals.simulation.need_card import Need, NeedCard
from deeprec.evals.simulation.person_words import TEST_PERSON_WORDS, TRAINING_PERSON_WORDS, PersonWords
from deeprec.evals.simulation.target_leaks import could_name
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.made_requests.sayable import Sayable
from deeprec.trm_tool.data.made_requests.words import role_of
from deeprec.trm_tool.errors import ConfigError, DataError

_HOLDOUTS = {"test": 1, "valid": 2, "train": 3}
_ATTEMPTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedConfig:
    """What need cards are drawn.

    Raises:
        ConfigError: a value is out of its range.
    """

    split: Literal["train", "valid", "test"] = "test"
    """Which item of each person is the target, as in requests: training uses `train`, measurements `test`."""
    min_needs: int = 2
    """Needs of a card, at least."""
    min_fitting: int = 5
    """Items outside the person's history that fit a card, at least, so that no card gives its target away."""
    max_share: float = 0.03
    """Share of the catalogue that fits a card, at most, so that random lists rarely fit; `min_fitting` goes first."""
    refusals: float = 0.4
    """Share of the cards that also refuse a value."""
    bounds: float = 0.4
    """Share of the cards that also bound a number, where the target has one."""
    seed: int = 0
    """Equal seeds draw equal cards of equal data."""

    def __post_init__(self) -> None:
        if self.split not in _HOLDOUTS:
            raise ConfigError(f"NeedConfig.split is {self.split!r}. Give train, valid or test.")
        for name, least in (("min_needs", 1), ("min_fitting", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"NeedConfig.{name} is {getattr(self, name)}. Give {least} or more.")
        for name in ("max_share", "refusals", "bounds"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"NeedConfig.{name} is {getattr(self, name)}. Give a share from 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnNeed:
    """A need card, and what its simulated person never gets: who took what, for scoring alone."""

    card: NeedCard
    person: str
    history: tuple[str, ...]
    """Item ids before the target, oldest first: the agent may know them, as a shop does."""
    target: str


def make_need_cards(
    dataset: Dataset,
    config: NeedConfig | None = None,
    *,
    people: Sequence[str] | None = None,
    words: Sequence[PersonWords] = (TEST_PERSON_WORDS, TRAINING_PERSON_WORDS),
) -> list[DrawnNeed]:
    """Draw one need card of each person, from what they took.

    People are left out whose history is too short, whose target has too little to say that several items share, and
    whose target could be named by words that a simulated person has.

    Args:
        dataset: People, their sequences, and a catalogue with attributes.
        config: What is drawn.
        people: Users of the data set; None takes all of them, in order.
        words: What the simulated people may say.

    Raises:
        DataError: no card could be drawn, or the data has no such user.
    """
    drawing = _Drawing(dataset, config or NeedConfig(), words)
    drawn = [need for person in (dataset.users if people is None else people) if (need := drawing.draw(person))]
    if not drawn:
        raise DataError(
            f"{dataset.name} gave no need card: no person's target has {drawing.config.min_needs} attribute values or "
            f"more that {drawing.config.min_fitting} items share together. Import items with categories, tags or "
            "prices, or lower NeedConfig.min_needs."
        )
    return drawn


@dataclass(slots=True)
class _Drawing:
    dataset: Dataset
    config: NeedConfig
    words: Sequence[PersonWords]
    sayable: Sayable = field(init=False)
    _masks: dict[Need, NDArray[np.bool_]] = field(default_factory=dict, init=False)
    """Need -> the available items that fulfil it, in catalogue order."""

    def __post_init__(self) -> None:
        self.sayable = Sayable(self.dataset.catalogue, self.config.min_fitting)

    def draw(self, person: str) -> DrawnNeed | None:
        holdout = _HOLDOUTS[self.config.split]
        history = self.dataset.history(person, holdout)
        if not history:
            return None
        target = self.dataset.target(person, holdout)
        if target in history:
            return None
        seen = np.zeros(len(self.catalogue), np.bool_)
        seen[self.catalogue.rows(history)] = True
        rng = _generator(self.config.seed, person, holdout)
        negated, bounded = rng.random() < self.config.refusals, rng.random() < self.config.bounds
        most = max(self.config.min_fitting, int(self.config.max_share * len(self.catalogue)))
        for _ in range(_ATTEMPTS):
            needs = tuple(self._needs(target, rng, negated=negated, bounded=bounded))
            if len(needs) < self.config.min_needs:
                continue
            mask = np.logical_and.reduce([self._mask(need) for need in needs])
            fits = mask[self.catalogue.row(target)] and self.config.min_fitting <= (mask & ~seen).sum()
            if fits and mask.sum() <= most and not self._could_name(target, needs):
                return DrawnNeed(card=NeedCard(needs), person=person, history=history, target=target)
        return None

    @property
    def catalogue(self) -> Catalogue:
        return self.dataset.catalogue

    def _needs(self, target: str, rng: Generator, *, negated: bool, bounded: bool) -> Iterator[Need]:
        wish = self.sayable.wish(target, rng, negated=negated, bounded=False)
        if wish is None:
            return
        for value in wish.wanted:
            yield Need(value.attribute, "is", value.phrase, value.role, value.written)
        for value in wish.unwanted:
            yield Need(value.attribute, "is_not", value.phrase, value.role, value.written)
        if bounded:
            yield from self._band(target, rng)

    def _band(self, target: str, rng: Generator) -> Iterator[Need]:
        """A band of a number, such as 20 to 50, or its upper end; years have decades instead."""
        numbers = {
            name: value
            for name, value in self.catalogue.item(target).attributes.items()
            if isinstance(value, float) and value > 0 and name not in self.catalogue.year_attributes
        }
        if numbers:
            name = str(rng.choice(sorted(numbers)))
            low, high = band_of(numbers[name])
            role = role_of(name, "number")
            yield Need(name, "at_most", high, role)
            if rng.random() < 0.5:
                yield Need(name, "at_least", low, role)

    def _mask(self, need: Need) -> NDArray[np.bool_]:
        if need not in self._masks:
            met = np.array([need.is_met_by(item.attributes) for item in self.catalogue], np.bool_)
            self._masks[need] = met & self.catalogue.available
        return self._masks[need]

    def _could_name(self, target: str, needs: Sequence[Need]) -> bool:
        item = self.catalogue.item(target)
        ways = [re.sub(r"\{\w+\}", " ", way) for words in self.words for need in needs for way in words.ways(need)]
        return could_name([*ways, *(words.bare_templates for words in self.words)], item)


def band_of(value: float) -> tuple[float, float]:
    """The band of 1, 2, 5, 10, 20, 50 and so on that a positive number lies in: 44.95 -> (20.0, 50.0)."""
    power = 10.0 ** np.floor(np.log10(value))
    edges = [float(f"{edge * power:.12g}") for edge in (1, 2, 5, 10)]
    high = next(edge for edge in edges if value < edge or edge == edges[-1])
    return edges[edges.index(high) - 1], high


def _generator(*key: object) -> Generator:
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
