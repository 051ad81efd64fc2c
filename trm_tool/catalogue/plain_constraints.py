"""What a sentence plainly refuses, limits itself to and bounds: constraints that nobody has to interpret.

A clause is plain where the word that refuses or limits stands right before a value of the catalogue ("nothing red",
"no horror or war", "only comedies"), fillers aside, and the words around both leave no doubt: no condition ("if there
is no horror"), no second negation ("not without comedy"), nobody else's taste ("my sister hates horror"), nothing that
narrows it ("no horror with zombies"). A bound is plain where a number stands with a word that bounds it. What stands in
quotation marks, in titles of the catalogue or before "(1995)" is left out. English is read, and German by a table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from deeprec.trm_tool.catalogue.german import read_in_english
from deeprec.trm_tool.catalogue.number_names import is_in_keeping, split_unit, unit_of
from deeprec.trm_tool.catalogue.phrase_spotting import WORD, PhraseSpotter
from deeprec.trm_tool.catalogue.plain_clauses import (
    TAIL,
    TAIL_OF_NUMBER,
    TASTES,
    THIN,
    ends_plainly,
    is_doubtful,
    is_doubtful_bound,
    is_thin,
    listed_values,
    refuses_plainly,
    words_before,
)
from deeprec.trm_tool.catalogue.said_clauses import SaidClause, limiting_clauses, refusing_clauses
from deeprec.trm_tool.catalogue.said_numbers import SaidNumber, said_numbers
from deeprec.trm_tool.catalogue.said_titles import SaidTitles
from deeprec.trm_tool.catalogue.stated_preference import FILLERS, Constraint, PreferenceReader
from deeprec.trm_tool.catalogue.written_numbers import word_places
from deeprec.trm_tool.text import plain

if TYPE_CHECKING:
    from deeprec.trm_tool.recommender import CatalogueView

MAX_CHARS = 2_000
"""Characters of a text that are read."""
MAX_STATED = 20
"""Constraints that are found, at most."""
_NEAR_CHARS = 16
_MAX_LACKING = 8
"""Words of a refusal that the catalogue has no value for, at most."""
_ONLY = re.compile(
    r"\b(?:only|exclusively|strictly|solely|nothing but|none but|insist on|(?:must|has to|have to|needs? to) be)\b",
    re.IGNORECASE,
)


def could_state(text: str) -> bool:
    """Whether a text refuses, limits or bounds anything at all, whatever the catalogue."""
    read = read_in_english(plain(text, MAX_CHARS)).text
    return (
        next(refusing_clauses(read), None) is not None
        or next(limiting_clauses(read), None) is not None
        or any(said.bound is not None for said in said_numbers(read))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainStatements:
    """What a text plainly states."""

    constraints: tuple[tuple[Constraint, str], ...] = ()
    """Each constraint with the words that state it."""
    unenforceable: tuple[str, ...] = ()
    """Bounds on what the catalogue has no number for, safe for a prompt."""
    lacking: tuple[tuple[str, str], ...] = ()
    """What is plainly refused and no value of the catalogue ("not scary"), each with the words that refuse it."""
    rest: str = ""
    """The text without its refusals, titles and quotations."""
    asked_for: frozenset[str] = frozenset()
    """Phrases of the catalogue that stand in the rest."""


class PlainConstraints:
    """Finds what texts plainly refuse, limit themselves to and bound. It takes a pass over the titles to make.

    Args:
        catalogue: Its titles are read past.
        reader: Reads what is found against the same catalogue.
    """

    def __init__(self, catalogue: CatalogueView, reader: PreferenceReader) -> None:
        self._reader = reader
        self._spotter = PhraseSpotter(phrase for phrase in reader.phrases if not FILLERS.issuperset(phrase.split()))
        self._titles = SaidTitles((catalogue.item(item_id).title for item_id in catalogue.ids), could_state)

    def read(self, text: str) -> PlainStatements:
        """Read a text; its first 2,000 characters count."""
        written_text = plain(text, MAX_CHARS)
        places = [(start, end) for _, start, end in self._spotter.places(written_text)]
        reading = read_in_english(written_text, places)
        found = self._read(reading.text)

        def written(words: str) -> str:
            at = reading.text.find(words)
            return words if at < 0 else reading.written(at, at + len(words))

        if reading.text == reading.original:
            return found
        return replace(
            found,
            constraints=tuple((each, written(words)) for each, words in found.constraints),
            lacking=tuple((refused, written(words)) for refused, words in found.lacking),
        )

    def _read(self, text: str) -> PlainStatements:
        text = self._titles.masked(text).replace("’", "'")
        stated: dict[str, tuple[Constraint, str]] = {}
        missing: list[str] = []
        values = [(start, end) for _, start, end in self._spotter.places(text)]
        refusing = list(refusing_clauses(text))
        numbers, places = said_numbers(text, values), word_places(text)
        budgets = {
            len(text[: places[min(said.used)][0]].rstrip()) for said in numbers if said.bound in ("max", "range")
        }
        refused = list(self._refused(text, values, refusing, budgets))
        plain_refusals = [(segment, words) for segment, words, _, _ in refused]
        for segment, words in [*plain_refusals, *self._limited(text, values)]:
            for each in self._reader.read(segment).constraints:
                stated.setdefault(each.text, (each, words))
        bounding = text
        for _, _, mark, end in refused:  # what it refuses is settled, and no condition of a bound behind it
            bounding = f"{bounding[:mark]}{',' * (end - mark)}{bounding[end:]}"
        for segment, words, said, unit in self._bounds(bounding, numbers, places):
            read = self._reader.read(segment)
            missing += read.unenforceable
            for each in read.constraints:
                is_sure = each.kind == "bound" and not each.is_doubtful
                if is_sure and all(is_in_keeping(said, unit, name) for name in each.where):
                    stated.setdefault(each.text, (each, words))
        rest = text
        for clause in refusing:
            end = clause.end
            rest = f"{rest[: clause.mark]}{' ' * (end - clause.mark)}{rest[end:]}"
        rest = " ".join(rest.replace("|", " ").split()).strip(" ,.;:!?")
        return PlainStatements(
            lacking=tuple(self._lacking(text, values, refusing))[:MAX_STATED],
            rest=rest,
            asked_for=frozenset(self._spotter.spot(rest)),
            constraints=tuple(stated.values())[:MAX_STATED],
            unenforceable=tuple(missing)[:MAX_STATED],
        )

    def _refused(
        self,
        text: str,
        values: Sequence[tuple[int, int]],
        clauses: Sequence[SaidClause],
        budgets: Collection[int],
    ) -> Iterator[tuple[str, str, int, int]]:
        """Segments that refuse, each with its words and the place of both; `budgets`: where text before one ends."""
        for clause in clauses:
            stop = clause.end
            inside = [place for place in values if clause.start <= place[0] < stop]
            if not inside or any(start < clause.start and end > clause.mark for start, end in values):
                continue
            if not refuses_plainly(text, clause, inside[0][0]):
                continue
            listed, end = listed_values(text, inside)
            if len(listed) < len(inside) and text[end : inside[len(listed)][0]].isspace():
                if not self._is_wanted_elsewhere(text, inside[len(listed)], values, clauses):
                    continue  # "no red tents" refuses neither by itself
                end = inside[len(listed)][1]
                listed = listed[-1:] if len(listed) == 1 else []
            if end in budgets or ends_plainly(text, end, [place for place in inside if place[0] >= end]):
                for start, behind in listed:
                    yield f"not {text[start:behind]}", clause.text, clause.mark, end

    def _lacking(
        self, text: str, values: Sequence[tuple[int, int]], clauses: Sequence[SaidClause]
    ) -> Iterator[tuple[str, str]]:
        """Refusals in whose clause no value of the catalogue stands."""
        for clause in clauses:
            stop = clause.end
            words = list(WORD.finditer(text, clause.start, stop))
            while words and words[0][0].lower() in THIN | TASTES:
                words.pop(0)
            while words and words[-1][0].lower() in TAIL:
                words.pop()
            if any(start < stop and end > clause.mark for start, end in values) or not 0 < len(words) <= _MAX_LACKING:
                continue
            if refuses_plainly(text, clause, words[0].start()):
                yield f"not {text[words[0].start() : words[-1].end()]}", clause.text

    def _is_wanted_elsewhere(
        self, text: str, place: tuple[int, int], values: Sequence[tuple[int, int]], clauses: Sequence[SaidClause]
    ) -> bool:
        same = set(self._spotter.spot(text[slice(*place)]))
        others = (other for other in values if other != place and same & set(self._spotter.spot(text[slice(*other)])))
        return any(not any(each.start <= other[0] < each.end for each in clauses) for other in others)

    def _limited(self, text: str, values: Sequence[tuple[int, int]]) -> Iterator[tuple[str, str]]:
        for clause in limiting_clauses(text):
            stop = clause.end
            inside = [place for place in values if clause.start <= place[0] < stop]
            for mark in _ONLY.finditer(text, clause.start, stop):
                before = words_before(text, mark.start())
                if is_doubtful(text, mark.start(), before):
                    continue
                behind = [place for place in inside if place[0] >= mark.end()]
                if behind and is_thin(text[mark.end() : behind[0][0]], TASTES):
                    listed, end = listed_values(text, behind, r"\s*(?:,|/|&|\band\b|\bor\b|,\s*or\b)?\s*(?:an? )?")
                    if ends_plainly(text, end, [place for place in behind if place[0] >= end]):
                        yield from self._limits(text, listed, clause.text)
                elif (ends := [place for place in inside if text[place[1] : mark.start()].isspace()]) and re.match(
                    r"\s*(?:$|[,.;:!?)]|please\b|thanks\b|for\b)", text[mark.end() :]
                ):
                    yield from self._limits(text, ends[-1:], clause.text)

    def _limits(self, text: str, listed: Sequence[tuple[int, int]], words: str) -> Iterator[tuple[str, str]]:
        """One limit for alternatives, and one each for values side by side ("only red tents")."""
        groups = [[listed[0]]] if listed else []
        for before, behind in pairwise(listed):
            if text[before[1] : behind[0]].isspace():
                groups.append([behind])
            else:
                groups[-1].append(behind)
        for group in groups:
            yield f"only {' or '.join(text[start:end] for start, end in group)}", words

    def _bounds(
        self, text: str, numbers: Sequence[SaidNumber], places: list[tuple[int, int]]
    ) -> Iterator[tuple[str, str, SaidNumber, str | None]]:
        for said in numbers:
            start, end = places[min(said.used)][0], places[max(said.used)][1]
            before = [] if text[start] == ":" else words_before(text, start)
            if said.bound is None or is_doubtful_bound(before):
                continue
            unit = unit_of(said, text, places)
            behind = end if unit is None else text.replace("İ", "I").lower().index(unit, end) + len(unit)
            name = self._named_beside(text, start, behind)
            rest = text[behind:].lstrip()
            if name is not None and rest.lower().startswith(split_unit(name)[0].lower()):
                rest = rest[len(split_unit(name)[0]) :].lstrip()
            word = WORD.match(rest)
            if word is not None and word[0].lower() not in TAIL_OF_NUMBER:
                continue
            segment = f"{name or ''} {text[start:behind]}".replace("_", " ").strip()
            yield segment, text[start:behind].strip(), said, unit

    def _named_beside(self, text: str, start: int, end: int) -> str | None:
        """The number attribute whose name stands in or beside some words of the same clause."""
        low, high = max(0, start - _NEAR_CHARS), min(len(text), end + _NEAR_CHARS)
        before = re.split(r"[.,;!?|]", text[low:start])[-1]
        behind = re.split(r"[.,;!?|]", text[end:high])[0]
        near = f"{before} {text[start:end]} {behind}".lower()
        found = [
            name for name in self._reader.numbers if re.search(rf"\b{re.escape(split_unit(name)[0].lower())}\b", near)
        ]
        return found[0] if len(found) == 1 else None
