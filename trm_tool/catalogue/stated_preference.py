"""A preference read against a catalogue: what weighs, what must and must not be, and what cannot be enforced.

A preference is a text of segments between semicolons. `action` weighs; `not horror`, `only comedy`, `year >= 1990` and
`price <= 20` are constraints. The reader also takes what people and models write in their place: "without horror",
"nothing scary", "under 20", "from 1990 to 1999", "year: 1990-1999".
"""

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from deeprec.trm_tool.catalogue.catalogue import MAX_PHRASE_CHARS, decade_of, is_year, phrase_of
from deeprec.trm_tool.catalogue.filters import Where
from deeprec.trm_tool.catalogue.merged_where import merge_where
from deeprec.trm_tool.catalogue.number_names import is_in_keeping, is_price, scale_between, split_unit, unit_of
from deeprec.trm_tool.catalogue.phrase_spotting import fold_words
from deeprec.trm_tool.catalogue.said_numbers import SaidNumber, may_bound, said_numbers
from deeprec.trm_tool.catalogue.written_numbers import split_words, word_places
from deeprec.trm_tool.text import neutralise

if TYPE_CHECKING:
    from deeprec.trm_tool.recommender import CatalogueView

MAX_CHARS = 400
"""Characters of a preference that are read; the agent refuses or cuts longer ones."""
_SHOWN_CHARS = 60
_REFUSING = re.compile(
    r"(?:is |are |be |has |have )?"
    r"(?:not|no|non|nothing|none|never|without|except(?: for)?|excluding|exclude|avoid(?:ing)?|anything but"
    r"|(?:i |we )?(?:do not|don['’]t) want|no more|isn['’]t|minus)"
    r"(?: be| is| a lot of| any| too| very)?[\s:-]+",
    re.IGNORECASE,
)
_LIMITING = re.compile(
    r"(?:it )?(?:only|nothing but|none but|exclusively|strictly|must (?:be|have)|has to (?:be|have))[\s:-]+",
    re.IGNORECASE,
)
_MARKS = frozenset(
    split_words("non except excluding exclude avoid avoiding anything minus want only exclusively strictly must has")
)
"""One of these, or of the words of bounds, begins what `_REFUSING` and `_LIMITING` match."""
_OTHERS = re.compile(r"\s*(?:,|/|&|\bor\b|\band\b|\bnor\b)\s*(?:(?:no|not|or|and)\s)?", re.IGNORECASE)
FILLERS = frozenset(
    fold_words(
        "a an the any anything something some all everything item thing stuff one kind type film movie movies book "
        "game product song album please too at be is are it that which from of in with by made released category genre"
    )
)
"""Folded words that name no value, whatever stands beside them."""
_NUMBER_FILLERS = FILLERS | frozenset(fold_words("cost costing priced price budget i we my our should must have"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One constraint of a preference, which the catalogue can enforce."""

    kind: Literal["refused", "only", "bound"]
    text: str
    """The constraint in the canonical form: `not horror`, `only comedy or drama`, `year >= 1990`. Safe for a prompt."""
    where: Where
    """The condition on one attribute, or on several that share a value."""
    phrases: tuple[str, ...] = ()
    """What is refused or required, as the catalogue's phrases name it; empty for a bound."""
    number: float | None = None
    """The number of a bound, as it was written; None for the others."""
    is_doubtful: bool = False
    """Whether a bound names no attribute and its unit fits several: it is on one of them by guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPreference:
    """What a preference says, in the order in which it says it."""

    phrases: tuple[str, ...] = ()
    """What weighs, as it was written, without what the same preference refuses."""
    constraints: tuple[Constraint, ...] = ()
    unenforceable: tuple[str, ...] = ()
    """What must or must not be by the preference, and what the catalogue has no value or attribute for. It is safe for
    a prompt, and cut at 60 characters each."""

    @property
    def refused(self) -> tuple[str, ...]:
        """Phrases that no item may have."""
        return tuple(phrase for each in self.constraints if each.kind == "refused" for phrase in each.phrases)

    @property
    def only(self) -> tuple[str, ...]:
        """Phrases of which every item must have one, for each of the constraints that name them."""
        return tuple(phrase for each in self.constraints if each.kind == "only" for phrase in each.phrases)

    @property
    def where(self) -> Where | None:
        """All constraints as one condition an attribute; None where there are none, or they contradict one another."""
        return merge_where(*(each.where for each in self.constraints)) or None

    @property
    def text(self) -> str:
        """The phrases as the recommender gets them, joined by `; `; empty where nothing weighs."""
        return "; ".join(self.phrases)


def read_stated_preference(text: str, catalogue: "CatalogueView") -> StatedPreference:
    """Read one preference (`PreferenceReader.read`). For several, keep a reader: it lays out the catalogue once."""
    return PreferenceReader(catalogue).read(text)


def may_state_constraints(text: str) -> bool:
    """Whether a preference can state constraints at all, whatever the catalogue: one of phrases alone cannot."""
    words = split_words(text[:MAX_CHARS])
    return may_bound(words) or not _MARKS.isdisjoint(words)


class PreferenceReader:
    """Reads preferences against the values and the numbers of one catalogue. It takes a pass over the items to make."""

    def __init__(self, catalogue: "CatalogueView") -> None:
        self._kinds = dict(catalogue.attribute_kinds)
        self._values: dict[tuple[str, ...], _Value] = {}
        """Folded words of a phrase -> the phrase, and the attributes and values that it stands for."""
        numbers: dict[str, set[float]] = defaultdict(set)
        learnt: set[tuple[str, str]] = set()
        for item_id in catalogue.ids:
            if item_id in catalogue.removed:
                continue
            for name, value in catalogue.item(item_id).attributes.items():
                if isinstance(value, int | float):
                    numbers[name].add(float(value))
                else:
                    learnt.update((name, written) for written in ((value,) if isinstance(value, str) else value))
        for name, written in sorted(learnt):
            self._learn(name, written)
        self._numbers = {name: sorted(found) for name, found in numbers.items() if self._kinds.get(name) == "number"}
        self._years = tuple(name for name, found in self._numbers.items() if _are_years(name, found))
        self._prices = tuple(name for name in self._numbers if is_price(name))
        self._decades = sorted({int(year) // 10 * 10 for name in self._years for year in self._numbers[name]})
        self._names = {name: fold_words(name.replace("_", " ")) for name in self._kinds}

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """Number attribute, as preferences spell it -> its least and its greatest number."""
        return {_spelt(name): (found[0], found[-1]) for name, found in self._numbers.items()}

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number attributes that some item has, as the catalogue names them."""
        return tuple(self._numbers)

    @property
    def phrases(self) -> tuple[str, ...]:
        """The phrases that preferences may name: values, and decades of the years."""
        return (*(value.phrase for value in self._values.values()), *(f"{decade}s" for decade in self._decades))

    def read(self, text: str) -> StatedPreference:
        """Read a preference.

        A segment that is a phrase of the catalogue weighs, whatever its words ("no wave"), and so does one that cannot
        be read. What a segment wants and another one refuses counts as refused. Several `only` on an attribute of which
        an item has one value mean any of them.

        Args:
            text: Segments between semicolons, in any spelling; the first 400 characters are read.
        """
        segments = [segment.strip() for segment in text[:MAX_CHARS].split(";")]
        wanted: list[str] = []
        constraints: list[Constraint] = []
        unenforceable: list[str] = []
        for segment in filter(None, segments):
            found, missing = self._read(segment)
            if not found and not missing:
                wanted.append(segment)
            constraints += found
            unenforceable += (neutralise(each, _SHOWN_CHARS) for each in missing)
        constraints = list(self._joined(constraints))
        refused = {phrase for each in constraints if each.kind == "refused" for phrase in each.phrases}
        return StatedPreference(
            phrases=tuple(phrase for phrase in dict.fromkeys(wanted) if self._phrase_of(phrase) not in refused),
            constraints=tuple({each.text: each for each in constraints}.values()),
            unenforceable=tuple(dict.fromkeys(unenforceable)),
        )

    def _read(self, segment: str) -> tuple[list[Constraint], list[str]]:
        """The constraints of a segment, and what of it cannot be enforced; nothing of either where it only weighs."""
        if fold_words(segment) in self._values:
            return [], []
        bound = self._bound(segment)
        if bound is not None:
            return bound
        for pattern, kind in ((_LIMITING, "only"), (_REFUSING, "refused")):
            named, stated = self._named(segment)
            if (mark := pattern.match(stated)) is not None and (rest := stated[mark.end() :].strip()):
                name, rest = (named, rest) if named else self._named(rest)
                return self._of_values(kind, rest, name)  # type: ignore[arg-type]
        return [], []

    def _named(self, text: str) -> tuple[str | None, str]:
        """The attribute that stands before a colon or "=", and what follows; (None, the text) without one."""
        before, mark, after = text.partition(":") if ":" in text else text.partition("=")
        name = self._attribute(fold_words(before), self._kinds) if mark else None
        return (name, after.strip()) if name is not None else (None, text)

    def _of_values(
        self, kind: Literal["refused", "only"], text: str, name: str | None
    ) -> tuple[list[Constraint], list[str]]:
        mark = "not" if kind == "refused" else "only"
        whole = self._value(text, name)
        parts = [text] if whole is not None else [part for part in _OTHERS.split(text) if part.strip()]
        found = {part: self._value(part, name) for part in parts}
        missing = [f"{mark} {part}" for part, value in found.items() if value is None]
        values = [value for value in found.values() if value is not None]
        if not values:
            return [], missing or [f"{mark} {text}"]
        if kind == "refused":
            return [self._refusal(value) for value in values], missing
        return [self._limit(values)], missing

    def _refusal(self, value: "_Value") -> Constraint:
        where: Where = {name: {"not_in": _sorted(listed)} for name, listed in value.attributes.items()}
        return Constraint(kind="refused", text=f"not {value.phrase}", where=where, phrases=(value.phrase,))

    def _limit(self, values: Sequence["_Value"]) -> Constraint:
        """Values of which an item must have one, in the first attribute that has them all."""
        shared = [name for name in values[0].attributes if all(name in value.attributes for value in values)]
        name = shared[0] if shared else next(iter(values[0].attributes))
        kept = [value for value in values if name in value.attributes]
        listed = {each for value in kept for each in value.attributes[name]}
        phrases = tuple(dict.fromkeys(value.phrase for value in kept))
        where = {name: {"in": _sorted(listed)}}
        return Constraint(kind="only", text=f"only {' or '.join(phrases)}", where=where, phrases=phrases)

    def _joined(self, constraints: Sequence[Constraint]) -> Iterable[Constraint]:
        """The constraints, with those joined that limit one attribute of which an item has one value."""
        limits: dict[str, list[Constraint]] = defaultdict(list)
        for each in constraints:
            if each.kind == "only" and all(self._kinds[name] != "tags" for name in each.where):
                limits[next(iter(each.where))].append(each)
        joined: set[str] = set()
        for each in constraints:
            name = next(iter(each.where))
            if each.kind != "only" or name not in limits:
                yield each
            elif name not in joined:
                joined.add(name)
                phrases = tuple(dict.fromkeys(phrase for other in limits[name] for phrase in other.phrases))
                listed = _sorted({value for other in limits[name] for value in other.where[name]["in"]})
                text = f"only {' or '.join(phrases)}"
                yield replace(each, text=text, phrases=phrases, where={name: {"in": listed}})

    def _bound(self, segment: str) -> tuple[list[Constraint], list[str]] | None:
        """The bounds that a segment states; None where it states none, or says more than that."""
        said = said_numbers(segment)
        if len(said) != 1 or (said[0].bound is None and not said[0].is_exact):
            return None
        number, places = said[0], word_places(segment)
        unit = unit_of(number, segment, places)
        unit_words = {} if unit is None else set(split_words(unit))
        behind = max(number.used)
        left = [
            word
            for at, word in enumerate(split_words(segment))
            if at not in number.used and word not in ("=", ":") and not (at > behind and word in unit_words)
        ]
        words = [word for word in fold_words(" ".join(left)) if word not in _NUMBER_FILLERS or self._is_named((word,))]
        name = self._attribute(tuple(words), self._numbers)
        if words and name is None:
            is_bare = len(words) <= 3 and any(sign in segment for sign in "<>≤≥=")
            return ([], [segment]) if is_bare else None
        if number.is_exact and number.bound is None and not (name or number.about):
            return None
        fitting = [each for each in self._numbers if is_in_keeping(number, unit, each)]
        own = [each for each in fitting if split_unit(each)[1] == unit]
        fitting = own if len(own) == 1 else fitting
        is_by_unit = name is None and (unit is not None or number.about == "weight")
        name = name or (next(iter(fitting), None) if is_by_unit else self._attribute_about(number, left))
        if name is None:
            return [], [segment]
        is_doubtful, scale = is_by_unit and len(fitting) > 1, scale_between(unit, name)
        bounds = [self._bound_of(name, *bound, scale) for bound in self._ends(name, number)]
        return [replace(each, is_doubtful=is_doubtful) for each in bounds], []

    def _is_named(self, words: tuple[str, ...]) -> bool:
        return words in self._names.values()

    def _ends(self, name: str, said: SaidNumber) -> Iterable[tuple[Literal["min", "max"], float, bool]]:
        low, high = said.low, said.high
        if said.is_short:
            century = next((decade - decade % 100 for decade in reversed(self._decades) if decade % 100 == low), 1900)
            low, high = low + century, high + century
        if said.bound in ("min", "range", None):
            yield ("min", high, True) if said.bound == "min" and said.is_strict else ("min", low, False)
        if said.bound in ("max", "range", None):
            yield ("max", low, True) if said.bound == "max" and said.is_strict else ("max", high, False)

    def _bound_of(
        self, name: str, bound: Literal["min", "max"], written: float, is_strict: bool, scale: float
    ) -> Constraint:
        """A bound, inclusive as in `Where`: below 1990 is at most 1989, and below 20 the greatest price below 20."""
        limit = number = written * scale
        there = self._numbers[name]
        if is_strict and all(value.is_integer() for value in there) and number.is_integer():
            limit = number - 1 if bound == "max" else number + 1
        elif is_strict:
            at = bisect_left(there, number) - 1 if bound == "max" else bisect_right(there, number)
            limit = there[at] if 0 <= at < len(there) else number - 1 if bound == "max" else number + 1
        sign = "<=" if bound == "max" else ">="
        text = f"{_spelt(name)} {sign} {limit:.12g}"
        return Constraint(kind="bound", text=text, where={name: {bound: limit}}, number=written)

    def _attribute(self, words: tuple[str, ...], among: Iterable[str]) -> str | None:
        """The attribute that some words name: all of its name, or a part that no other one has."""
        if not words:
            return None
        whole = [name for name in among if self._names[name] == words]
        part = [name for name in among if set(words) <= set(self._names[name])]
        return whole[0] if whole else part[0] if len(part) == 1 else None

    def _attribute_about(self, said: SaidNumber, words: Sequence[str]) -> str | None:
        """The attribute that a number without a name is about."""
        if said.about == "price" or set(words) & {"cost", "costs", "costing", "priced", "price"}:
            return self._prices[0] if self._prices else None
        if self._years and (said.about == "year" or (is_year(said.low) and is_year(said.high))):
            return self._years[0]
        if self._prices:
            return self._prices[0]
        others = [name for name in self._numbers if name not in self._years]
        return others[0] if len(others) == 1 else None

    def _value(self, text: str, name: str | None = None) -> "_Value | None":
        """The value of the catalogue that a text names, fillers aside; of one attribute where one is named."""
        words = fold_words(text)
        bare = tuple(word for word in words if word not in FILLERS)
        for candidate in (words, bare):
            value = self._values.get(candidate)
            if value is not None and name is not None:
                listed = value.attributes.get(name)
                value = None if listed is None else replace(value, attributes={name: listed})
            if value is not None:
                return value
        return self._decade(text, bare, name)

    def _decade(self, text: str, words: Sequence[str], name: str | None) -> "_Value | None":
        """The years of a decade or a single year, as a value."""
        said = said_numbers(text)
        years = [each for each in self._years if name is None or each == name]
        if len(said) != 1 or len(words) > 2 or not years or said[0].bound is not None:
            return None
        if not (said[0].is_decade or is_year(said[0].low)):
            return None
        _, low, _ = next(iter(self._ends(years[0], said[0])))
        high = low + said[0].high - said[0].low
        listed = frozenset(year for year in self._numbers[years[0]] if low <= year <= high)
        phrase = decade_of(low) if said[0].is_decade else f"{low:.0f}"
        return _Value(phrase, {years[0]: listed}) if listed else None

    def _phrase_of(self, text: str) -> str | None:
        value = self._value(text)
        return None if value is None else value.phrase

    def _learn(self, name: str, written: str) -> None:
        phrase = phrase_of(written)
        words = fold_words(phrase)
        if words:
            value = self._values.setdefault(words, _Value(phrase, {}))
            value.attributes[name] = value.attributes.get(name, frozenset()) | {written}


@dataclass(frozen=True, slots=True)
class _Value:
    phrase: str
    attributes: dict[str, frozenset[Any]]
    """Attribute -> its values that the phrase stands for, as the catalogue writes them."""


def _spelt(name: str) -> str:
    return neutralise(name, MAX_PHRASE_CHARS)


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (str(type(value)), value))


def _are_years(name: str, numbers: Sequence[float]) -> bool:
    return "year" in name.lower() and sum(map(is_year, numbers)) >= 0.95 * len(numbers) > 0
