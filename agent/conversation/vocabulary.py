"""What a catalogue's items can be asked for by, laid out for conversations: values, attributes and numbers by words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.conversation.said_text import FUNCTION_WORDS
from deeprec.trm_tool import CatalogueCard, PreferenceReader, Where, describe_catalogue
from deeprec.trm_tool.catalogue.catalogue import phrase_of
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.catalogue.phrase_spotting import WORD, PhraseSpotter, fold_words
from deeprec.trm_tool.catalogue.said_titles import NamedTitles

if TYPE_CHECKING:
    from deeprec.trm_tool import CatalogueView

ClosestPhrases = Callable[[str, int], Sequence[str]]
"""`PhraseSimilarity.closest_phrases`: the phrases of the catalogue that are closest to a text."""

NearPhrases = Callable[[str, float], Sequence[str]]
"""Names the phrase of the catalogue that is closest to a text, where its cosine reaches a number, and else none."""

MAX_NEAREST = 3
"""Similar values that are offered for one that the catalogue lacks."""
_PRICES = ("price", "cost", "msrp")
_KINDS = frozenset(("type", "kind", "category", "genre", "genres", "class", "department"))
_SAME_ATTRIBUTE = (
    ("price", "budget", "cost", "price range", "price limit", "spending limit", "expense"),
    ("year", "decade", "era", "period", "age", "date", "release year"),
    ("colour", "color", "shade"),
    ("brand", "make", "maker", "manufacturer"),
    ("genre", "class"),
    ("category", "department"),
    ("product type", "type", "kind"),
)
"""Names that people use for one another; the first attribute that has one of them gets the others too."""
_NO_VALUES = FUNCTION_WORDS | frozenset(fold_words("best first good last least new old please second third"))
"""Words that are too common to name a value by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedValue:
    """A value of the catalogue, or several with a common last word, that stands in a text."""

    attributes: Mapping[str, tuple[str, ...]]
    """Attribute -> the values that it names, as the catalogue writes them, in the order of the catalogue."""
    start: int
    end: int
    """Where it stands in the text, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedAttribute:
    """An attribute that stands in a text by its name, or by a word for it."""

    attribute: str
    start: int
    end: int


class ConversationCatalogue:
    """A catalogue as conversations need it. It takes two passes over the items to make; lay it out once.

    Args:
        catalogue: The items of any recommender.
        closest: Names the phrases that are closest to a text, where the recommender knows (`PhraseSimilarity`).
        near: Names the closest phrase where it is near enough, where the recommender knows how near it is.
    """

    def __init__(
        self, catalogue: CatalogueView, closest: ClosestPhrases | None = None, near: NearPhrases | None = None
    ) -> None:
        self.catalogue = catalogue
        self.card: CatalogueCard = describe_catalogue(catalogue)
        self.reader = PreferenceReader(catalogue)
        self.index = AttributeIndex(catalogue)
        self.closest, self._near = closest, near
        self.kinds = {each.name: each.kind for each in self.card.attributes}
        """Attribute -> its kind, for the attributes that some item has, in the order of the catalogue."""
        self._described = {each.name: each for each in self.card.attributes}
        self._rows = {item_id: row for row, item_id in enumerate(catalogue.ids)}
        self._values = self._value_words()
        self._spotter = PhraseSpotter(self._values)
        self._names = self._attribute_words()
        self._name_spotter = PhraseSpotter(self._names)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The attributes that are numbers."""
        return tuple(name for name, kind in self.kinds.items() if kind == "number")

    @property
    def price(self) -> str | None:
        """The attribute that is the price; None without one."""
        return next((name for name in self.numbers if any(part in name.lower() for part in _PRICES)), None)

    @property
    def year(self) -> str | None:
        """The attribute that is the year; None without one."""
        return next((name for name in self.numbers if "year" in name.lower()), None)

    def is_kind(self, attribute: str) -> bool:
        """Whether an attribute says by its name what kind of thing an item is."""
        return not _KINDS.isdisjoint(attribute.lower().replace("_", " ").split())

    def range_of(self, attribute: str) -> tuple[float, float]:
        """The least and the greatest number of an attribute that is a number."""
        described = self._described[attribute]
        return float(described.low or 0.0), float(described.high or 0.0)

    def values_of(self, attribute: str) -> tuple[str, ...]:
        """The values of an attribute that is words, the commonest first."""
        return tuple(value for value, _ in self._described[attribute].values)

    def values_in(self, text: str) -> Iterator[NamedValue]:
        """Find the values that a text names, in its order, longer ones first; case and plurals do not matter."""
        places = list(self._spotter.places(text))
        for at, (phrase, start, end) in enumerate(places):
            named = self._values[phrase]
            behind = places[at + 1] if at + 1 < len(places) else None
            is_head = phrase in self._heads and behind is not None and not text[end : behind[1]].strip()
            if is_head and behind is not None and not named.keys().isdisjoint(self._values[behind[0]]):
                continue  # the wool of "a wool blanket" is a material
            yield NamedValue(attributes=named, start=start, end=end)

    def values_outside_titles(self, text: str) -> Iterator[NamedValue]:
        """Find the values that a text names beside the titles of items: "like Star Wars" asks for no war."""
        values = list(self.values_in(text))
        titles = list(self._titles.around(text, [(value.start, value.end) for value in values]))
        for value in values:
            if not any(start <= value.start < end for start, end in titles):
                yield value

    @cached_property
    def _titles(self) -> NamedTitles:
        return NamedTitles({item_id: self.catalogue.item(item_id).title for item_id in self.catalogue.ids})

    def attributes_in(self, text: str) -> Iterator[NamedAttribute]:
        """Find the attributes that a text names, in its order: "colour", "color", "the budget"."""
        for phrase, start, end in self._name_spotter.places(text):
            yield NamedAttribute(attribute=self._names[phrase], start=start, end=end)

    def attribute_named(self, name: str) -> str | None:
        """The attribute that a name means, in any spelling; None where there is none."""
        if name in self.kinds:
            return name
        folded = fold_words(name.replace("_", " "))
        return next((known for phrase, known in self._names.items() if fold_words(phrase) == folded), None)

    def written(self, attribute: str, value: str) -> str | None:
        """A value as the catalogue writes it, whatever case and plural it is given in; None where no item has it."""
        listed = self.values_of(attribute)
        if value in listed:
            return value
        return next((known for known in listed if fold_words(known) == fold_words(value)), None)

    def nearest(self, value: str, attribute: str | None = None, min_cosine: float | None = None) -> tuple[str, ...]:
        """Values near one that the catalogue lacks, at most three: by meaning, then by spelling, then the commonest.

        Args:
            value: As it was said.
            attribute: The attribute that it is meant for; None takes all, and then no commonest ones.
            min_cosine: How near a value has to be by meaning; None takes the closest ones, however near they are.
        """
        names = [attribute] if attribute is not None else [name for name in self.kinds if name not in self.numbers]
        known = {phrase_of(each): each for name in names for each in self.values_of(name)}
        phrases = self._closest(value) if min_cosine is None or self._near is None else self._near(value, min_cosine)
        found = [known[phrase] for phrase in phrases if phrase in known]
        found += [known[phrase] for phrase in get_close_matches(phrase_of(value), known, n=MAX_NEAREST, cutoff=0.7)]
        if not found and attribute is not None:
            found = list(self.values_of(attribute))
        return tuple(dict.fromkeys(found))[:MAX_NEAREST]

    def meant_by(self, text: str, min_cosine: float) -> Mapping[str, tuple[str, ...]] | None:
        """The value whose phrase a text means without naming it, by its attribute; None where none is near enough."""
        near = () if self._near is None else self._near(text, min_cosine)
        return next((self._values[phrase] for phrase in near if phrase in self._values), None)

    def knows_word(self, word: str) -> bool:
        """Whether the record of an item has a word, or an attribute is called so; case and plurals do not matter."""
        return all(each in self._record_words for each in fold_words(word))

    @cached_property
    def _record_words(self) -> frozenset[str]:
        """The folded words of all titles, texts and values, and those for attributes."""
        words = set[str]()
        for item_id in self.catalogue.ids:
            item = self.catalogue.item(item_id)
            words.update(WORD.findall(f"{item.title} {item.text}".lower()))
        named = [
            *self._names,
            *(value for name in self.kinds if name not in self.numbers for value in self.values_of(name)),
        ]
        return frozenset(fold_words(" ".join([*words, *named])))

    def is_values(self, text: str) -> bool:
        """Whether a text names values of the catalogue and nothing else."""
        for value in reversed(list(self.values_in(text))):
            text = f"{text[: value.start]} {text[value.end :]}"
        return not text.strip()

    def titled_at(self, text: str, start: int) -> tuple[int, tuple[str, ...]] | None:
        """The longest title of items that a text has at a place: where it ends, and the ids of the items with it."""
        return self._titles.at(text, start)

    def attribute_of(self, value: str) -> str | None:
        """The attribute that has a value, as the catalogue writes it; None where no attribute has it."""
        return next((name for name in self.kinds if name not in self.numbers and value in self.values_of(name)), None)

    def number(self, item_id: str, attribute: str) -> float | None:
        """A number of an item; None where the item lacks it."""
        value = self.catalogue.item(item_id).attributes.get(attribute)
        return float(value) if isinstance(value, int | float) else None

    def item_values(self, item_id: str, attribute: str) -> tuple[str, ...]:
        """The values of an item in an attribute that is words; empty where it lacks it."""
        value = self.catalogue.item(item_id).attributes.get(attribute, ())
        return (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()

    def passing(self, wheres: Sequence[Where], exclude: Collection[str] = ()) -> tuple[str, ...]:
        """Ids of the items that can be recommended and pass each of some conditions, in the order of the catalogue."""
        mask: NDArray[np.bool_] = np.ones(len(self._rows), dtype=np.bool_)
        for where in wheres:
            mask &= self.index.filter(where).mask
        mask[[self._rows[item_id] for item_id in (*exclude, *self.catalogue.removed) if item_id in self._rows]] = False
        return tuple(compress(self.catalogue.ids, mask.tolist()))

    def _closest(self, value: str) -> Sequence[str]:
        return () if self.closest is None else self.closest(value, MAX_NEAREST)

    def _value_words(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Phrase -> attribute -> the values that it names: a value, or the last word that several categories share."""
        found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        heads: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name, kind in self.kinds.items():
            for value in () if kind == "number" else self.values_of(name):
                words = fold_words(phrase_of(value))
                if not words or set(words) <= _NO_VALUES or (len(words) == 1 and len(words[0]) < 2):
                    continue
                if not all(word.isdigit() for word in words):  # "42" names a size only beside the word "size"
                    found[phrase_of(value)][name].append(value)
                if kind == "category" and len(words) > 1 and words[-1] not in _NO_VALUES:
                    heads[words[-1]][name].append(value)
        known = {fold_words(phrase) for phrase in found}
        named = {head: places for head, places in heads.items() if (head,) not in known and len(places) == 1}
        self._heads = frozenset(named)
        return {
            phrase: {name: tuple(values) for name, values in places.items()}
            for phrase, places in (found | named).items()
        }

    def _attribute_words(self) -> dict[str, str]:
        """Words for an attribute -> the attribute."""
        names = {name.replace("_", " "): name for name in self.kinds}
        by_role = {"price": self.price, "year": self.year}
        words = dict(names)
        for same in _SAME_ATTRIBUTE:
            named = by_role.get(same[0]) or next((names[each] for each in same if each in names), None)
            if named is not None:
                words = dict.fromkeys(same, named) | words
        return words
