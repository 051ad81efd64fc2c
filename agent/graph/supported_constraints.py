"""Which constraints of a preference a person's words support: only those exclude items, the others weigh.

A bound is supported where its number stands in the words ("under 20", "two thousand", "the nineties") and the words
around it do not say the opposite. What must not be, or must be, is supported where a clause that refuses or limits
names it, or a word of it; or where the recommender finds it among the phrases that are closest to a refusing clause
("nothing scary" and `not horror`). English alone is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deeprec.trm_tool.catalogue.catalogue import is_year
from deeprec.trm_tool.catalogue.phrase_spotting import fold_words
from deeprec.trm_tool.catalogue.said_numbers import SaidNumber, said_numbers
from deeprec.trm_tool.catalogue.stated_preference import Constraint
from deeprec.trm_tool.text import plain

ClosestPhrases = Callable[[str, int], Sequence[str]]
"""`PhraseSimilarity.closest_phrases`: the phrases of the catalogue that are closest to a text."""

MAX_CLOSE = 3
"""How many of the closest phrases of a refusing clause it supports."""
MAX_WORDS_CHARS = 2_000
MAX_CLAUSES = 20
_SHOWN_CHARS = 80
_REFUSING = re.compile(
    r"\b(?:no|not|nothing|without|never|none|nor|neither|except|excluding|exclude|avoid|avoiding|skip|minus|spare"
    r"|hates?|hated|dislikes?|detests?|loathes?|anything but|other than|rather than|instead of|leave out|fed up with"
    r"|(?:sick|tired|bored|enough) of|(?:can['’]?t|cannot) (?:stand|bear)|(?:do|does|is|are|should|was|were)n['’]?t)\b"
    r"(?!\s+(?:only|just|but|mind|care|matter)\b)",
    re.IGNORECASE,
)
_LIMITING = re.compile(
    r"(?<!\bnot )\b(?:only|exclusively|strictly|solely|purely|(?:nothing|none) but|no other than|insist on"
    r"|must (?:be|have)|(?:has|have|needs?) to (?:be|have))\b",
    re.IGNORECASE,
)
_CLAUSE_ENDS = re.compile(
    r"[.;:!?\n()]+|\bbut\b(?<!nothing but)(?<!none but)(?<!anything but)|\bthough\b", re.IGNORECASE
)
_GOES_ON = re.compile(r"\s*(?:or|nor|and not?)\b|(?:\s*[\w'’-]+){1,3}\s+n?or\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Clause:
    text: str
    about: str
    """Without the word that refuses."""


class PersonWords:
    """What a person said, for looking up what it supports.

    Args:
        texts: The message, and what the person said before it; the first 2,000 characters of each are read.
        closest: Finds the closest phrases, where the recommender can.
    """

    def __init__(self, texts: Sequence[str], closest: ClosestPhrases | None = None) -> None:
        kept = [plain(text, MAX_WORDS_CHARS) for text in texts]
        clauses = [clause.strip() for text in kept for clause in _CLAUSE_ENDS.split(text) if clause.strip()]
        self._refusing = [part for clause in clauses for part in _refusals(clause)][:MAX_CLAUSES]
        self._limiting = [part for clause in clauses for part in _limits(clause)][:MAX_CLAUSES]
        refused = [(said.low, said.high) for part in self._refusing for said in said_numbers(part.about)]
        self._numbers = [
            (said, text)
            for text in kept
            for said in said_numbers(text)
            if said.bound is not None or (said.low, said.high) not in refused
        ]
        self._closest = closest

    def support(self, constraint: Constraint) -> str | None:
        """The words that support a constraint, at most 80 characters on one line; None where none do."""
        if constraint.kind == "bound":
            found = next((text for said, text in self._numbers if _states(said, constraint)), None)
        else:
            clauses = self._refusing if constraint.kind == "refused" else self._limiting
            each = [self._naming(phrase, clauses, constraint.kind == "refused") for phrase in constraint.phrases]
            found = each[0] if None not in each else None
        return None if found is None else plain(found, _SHOWN_CHARS)

    def _naming(self, phrase: str, clauses: Sequence[_Clause], is_refused: bool) -> str | None:
        for clause in clauses:
            if _names(clause.about, phrase):
                return clause.text
        for clause in clauses if is_refused else ():
            if self._closest is not None and phrase in self._closest(clause.about, MAX_CLOSE):
                return clause.text
        if not is_refused and (years := _years_of(phrase)) is not None:  # "from the nineties" limits without "only"
            return next((text for said, text in self._numbers if said.bound is None and _overlap(said, years)), None)
        return None


def _refusals(clause: str) -> list[_Clause]:
    """The refusals of a clause, each from its mark to the next comma, and over commas in lists with "or"."""
    found = []
    marks = list(_REFUSING.finditer(clause))
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(clause)
        about = _to_the_end(clause[mark.end() : end])
        if about.strip():
            found.append(_Clause(clause[mark.start() : mark.end() + len(about)].strip(), about))
    return found


def _limits(clause: str) -> list[_Clause]:
    """The parts of a clause, between commas, that limit what is wanted."""
    found, start = [], 0
    for part in clause.split(","):
        if _LIMITING.search(part):
            about = _to_the_end(clause[start:])
            found.append(_Clause(about.strip(), about))
        start += len(part) + 1
    return found


def _to_the_end(text: str) -> str:
    """A text to its first comma; where a list goes on behind that ("horror, drama or war"), to the end of the list."""
    first, *parts = text.split(",")
    for part in parts:
        if not _GOES_ON.match(f"{part} "):
            break
        first = f"{first},{part}"
    return first


def _names(clause: str, phrase: str) -> bool:
    """Whether a clause names a phrase: all of it, a word of it of four letters and more, or its years."""
    words, wanted = fold_words(clause), fold_words(phrase)
    if any(words[at : at + len(wanted)] == wanted for at in range(len(words))):
        return True
    if any(len(word) > 3 and word.isalpha() and word in words for word in wanted):
        return True
    years = _years_of(phrase)
    return years is not None and any(_overlap(said, years) for said in said_numbers(clause))


def _years_of(phrase: str) -> SaidNumber | None:
    """The years of a phrase such as `1990s` or `1995`."""
    said = said_numbers(phrase)
    return said[0] if len(said) == 1 and (said[0].is_decade or phrase.isdigit()) else None


def _overlap(said: SaidNumber, years: SaidNumber) -> bool:
    """Whether what was said is the decade, or the year, of a phrase."""
    return _same(said.low, years.low, said.is_short) and said.high - said.low == years.high - years.low


def _states(said: SaidNumber, constraint: Constraint) -> bool:
    [condition] = constraint.where.values()
    [bound] = condition
    number = constraint.number
    if number is None or (said.bound in ("min", "max") and said.bound != bound):
        return False
    if said.bound in ("min", "max"):
        ends = [said.low, said.high]
        ends += [said.low - 1] if said.is_strict and bound == "max" else [said.high + 1] if said.is_strict else []
    elif said.bound or said.about or said.is_exact or is_year(number):
        ends = [said.low if bound == "min" else said.high]
    else:
        return False  # "item 900" bounds nothing
    return any(_same(end, number, said.is_short) for end in ends)


def _same(said: float, number: float, is_short: bool) -> bool:
    if is_short:
        return 1800 <= number <= 2100 and (number - said) % 100 == 0
    return abs(said - number) < 1e-9 * max(1.0, abs(said))
