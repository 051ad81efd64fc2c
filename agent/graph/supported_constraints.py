"""Which constraints of a preference a person's words support: only those exclude items, the others weigh.

A bound is supported where its number stands in the words ("under 20", "two thousand", "the nineties"), the words around
it do not say the opposite, and their unit is in keeping with the attribute: "under 90 minutes" bounds no price. A bare
year bounds nothing ("I was born in 1990"). What must not be, or must be, is supported where a clause that refuses or
limits names it, or a word of it; and, where a caller asks for that, where the recommender finds it among the phrases
that are closest to a refusing clause ("nothing scary" and `not horror`). English alone is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from deeprec.trm_tool.catalogue.number_names import is_in_keeping, unit_of
from deeprec.trm_tool.catalogue.phrase_spotting import fold_words
from deeprec.trm_tool.catalogue.said_clauses import SaidClause, limiting_clauses, refusing_clauses
from deeprec.trm_tool.catalogue.said_numbers import SaidNumber, said_numbers
from deeprec.trm_tool.catalogue.stated_preference import FILLERS, Constraint
from deeprec.trm_tool.catalogue.written_numbers import word_places
from deeprec.trm_tool.text import plain

ClosestPhrases = Callable[[str, int], Sequence[str]]
"""`PhraseSimilarity.closest_phrases`: the phrases of the catalogue that are closest to a text."""

MAX_CLOSE = 3
"""How many of the closest phrases of a refusing clause it supports."""
MAX_WORDS_CHARS = 2_000
MAX_CLAUSES = 20
_SHOWN_CHARS = 80
_YEAR_OF_TITLE = re.compile(r"\(\s*(?:1[89]|20)\d\d\s*\)")
"""The year behind a title, as in "like Heat (1995)", which limits nothing."""


class PersonWords:
    """What a person said, for looking up what it supports.

    Args:
        texts: The message, and what the person said before it; the first 2,000 characters of each are read.
        closest: Finds the phrases whose refusal counts as supported because they are close; None where closeness
            supports nothing, as in runs and conversations by default.
    """

    def __init__(self, texts: Sequence[str], closest: ClosestPhrases | None = None) -> None:
        kept = [_YEAR_OF_TITLE.sub("", plain(text, MAX_WORDS_CHARS)) for text in texts]
        self._refusing = [clause for text in kept for clause in refusing_clauses(text)][:MAX_CLAUSES]
        self._limiting = [clause for text in kept for clause in limiting_clauses(text)][:MAX_CLAUSES]
        refused = [(said.low, said.high) for part in self._refusing for said in said_numbers(part.about)]
        self._numbers = [
            (said, unit_of(said, text, places), text)
            for text, places in ((text, word_places(text)) for text in kept)
            for said in said_numbers(text)
            if said.bound is not None or (said.low, said.high) not in refused
        ]
        self._closest = closest

    def support(self, constraint: Constraint) -> str | None:
        """The words that support a constraint, at most 80 characters on one line; None where none do."""
        if constraint.is_doubtful:
            return None
        if constraint.kind == "bound":
            found = next((text for said, unit, text in self._numbers if _states(said, unit, constraint)), None)
        else:
            clauses = self._refusing if constraint.kind == "refused" else self._limiting
            each = [self._naming(phrase, clauses, constraint.kind == "refused") for phrase in constraint.phrases]
            found = each[0] if None not in each else None
        return None if found is None else plain(found, _SHOWN_CHARS)

    def _naming(self, phrase: str, clauses: Sequence[SaidClause], is_refused: bool) -> str | None:
        for clause in clauses:
            if _names(clause.about, phrase):
                return clause.text
        for clause in clauses if is_refused else ():
            if self._closest is not None and phrase in self._closest(clause.about, MAX_CLOSE):
                return clause.text
        if not is_refused and (years := _years_of(phrase)) is not None:  # "from the nineties" limits without "only"
            return next((text for said, _, text in self._numbers if said.bound is None and _overlap(said, years)), None)
        return None


def _names(clause: str, phrase: str) -> bool:
    """Whether a clause names a phrase: all of it, its years, or a word of four letters and more that is no filler."""
    words, wanted = fold_words(clause), fold_words(phrase)
    if any(words[at : at + len(wanted)] == wanted for at in range(len(words))):
        return True
    if any(len(word) > 3 and word.isalpha() and word in words and word not in FILLERS for word in wanted):
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


def _states(said: SaidNumber, unit: str | None, constraint: Constraint) -> bool:
    [(name, condition)] = constraint.where.items()
    [bound] = condition
    number = constraint.number
    if number is None or not is_in_keeping(said, unit, name):
        return False
    if said.bound in ("min", "max") and said.bound != bound:
        return False
    if said.bound in ("min", "max"):
        ends = [said.low, said.high]
        ends += [said.low - 1] if said.is_strict and bound == "max" else [said.high + 1] if said.is_strict else []
    elif said.bound or said.about or said.is_exact:
        ends = [said.low if bound == "min" else said.high]
    else:
        return False  # "item 900" and "in 1990" bound nothing
    return any(_same(end, number, said.is_short) for end in ends)


def _same(said: float, number: float, is_short: bool) -> bool:
    if is_short:
        return 1800 <= number <= 2100 and (number - said) % 100 == 0
    return abs(said - number) < 1e-9 * max(1.0, abs(said))
