"""Clauses of a text that refuse or limit: "no horror, drama or war", "only comedies". English alone is read."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_HAD = r"(?:seen|watched|heard|played|tried|owned|bought|been)\b"  # "I have never seen one" does not refuse it
_REFUSING = re.compile(
    r"\b(?:no(?! (?:problem|worries|doubt|wonder)\b)|nothing(?! (?:beats|better|wrong)\b)|without|none|nor|neither"
    rf"|(?<!\bwhy )not(?! (?:bad|to mention)\b)(?! {_HAD})(?!(?<=ve not) read\b)"
    rf"|never(?! (?:a (?:dull|dry)|tires?|fails?|disappoints?)\b)(?! {_HAD})(?!(?<=ve never) read\b)"
    r"|except|excluding|exclude|avoid|avoiding|skip|minus|spare"
    r"|(?<!n['’]t )(?<!not )(?<!never )(?:stay|keep|steer|shy) (?:(?:me|us|well|far) )?(?:away from|clear of)"
    r"|(?:(?<=\band )|(?<=, )|(?<=,)|^|(?<=^ ))away from"
    r"|hates?|hated|dislikes?|detests?|loathes?|anything but|other than|rather than|instead of|leave out|fed up with"
    r"|(?<!\bnot )(?<!\bnever )(?<!\bnever get )(?<!n['’]t get )(?:sick|tired|bored|(?<!\bget )enough) of"
    r"|(?:can['’]?t|cannot) (?:stand|bear)"
    r"|(?:do|does|is|are|should|was|were)n['’]?t)\b"
    r"(?!\s+(?:only|just|but|mind|care|matter|(?:get )?(?:sick|tired|bored) of)\b)",
    re.IGNORECASE,
)
_LIMITING = re.compile(
    r"(?<!\bnot )\b(?:only|exclusively|strictly|solely|purely|(?:nothing|none) but|no other than|insist on"
    r"|must (?:be|have)|(?:has|have|needs?) to (?:be|have))\b",
    re.IGNORECASE,
)
_PAST = re.compile(
    rf"\bso far\b|\b(?:until|till|up to) now\b|(?<!up )\bto date\b"
    rf"|\bonly (?:ever )?(?:{_HAD}|saw\b|knew\b|(?<=ve only )read\b)"
    rf"|\b(?:{_HAD}|saw\b) only\b",
    re.IGNORECASE,
)
"""What somebody knows so far limits nothing."""
_CLAUSE_ENDS = re.compile(
    r"[.;:!?\n()]+|\bbut\b(?<!nothing but)(?<!none but)(?<!anything but)|\bthough\b"
    r"|\band (?:(?:i|we)(?:['’]d)? )?(?:(?:would|do|really|also|just|still) )*(?:love|like|want|enjoy|prefer|need)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s*(?:or|nor|and not?)\b|\s*[\w'’-]+(?:\s+[\w'’-]+){0,2}\s+n?or(?=[\s,]|$)", re.IGNORECASE)
_DEGREE = re.compile(
    r"\s*(?:(?:all|be) )?(?:too|very|so|that|overly|really|particularly|especially|extremely)\s", re.IGNORECASE
)
_AND = re.compile(r"(?<!\s)\s*+\b(?:and|&)(?!\s+(?:not?|too|so|very)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SaidClause:
    """A part of a text that refuses or limits what it names."""

    text: str
    """The clause, with the word that refuses."""
    about: str
    """What it names: the clause without the word that refuses."""
    mark: int
    """Position of the clause in the whole text, in characters."""
    start: int
    """Position of `about` in the whole text, in characters."""

    @property
    def end(self) -> int:
        """Where `about` ends in the whole text."""
        return self.start + len(self.about)


def refusing_clauses(text: str) -> Iterator[SaidClause]:
    """Find the refusals of a text, each from its mark to the next comma, and over commas in lists with "or"."""
    for offset, clause in _clauses(text):
        marks = list(_REFUSING.finditer(clause))
        for at, mark in enumerate(marks):
            end = marks[at + 1].start() if at + 1 < len(marks) else len(clause)
            about = _to_the_end(clause[mark.end() : end])
            if _DEGREE.match(about):  # "not too expensive and washable" asks for what is washable
                about = _AND.split(about, maxsplit=1)[0]
            if about.strip():
                whole = clause[mark.start() : mark.end() + len(about)].strip()
                yield SaidClause(whole, about, offset + mark.start(), offset + mark.end())


def limiting_clauses(text: str) -> Iterator[SaidClause]:
    """Find the parts of a text, between commas, that limit what is wanted."""
    for offset, clause in _clauses(text):
        start = 0
        for part in clause.split(","):
            if _LIMITING.search(part) and not _PAST.search(part):
                about = _to_the_end(clause[start:])
                yield SaidClause(about.strip(), about, offset + start, offset + start)
            start += len(part) + 1


def refused_places(text: str, starts: Sequence[int]) -> set[int]:
    """Which of the words that start at some places of a text, in its order, stand in a refusal: their indexes."""
    return places_within(starts, ((clause.start, clause.end) for clause in refusing_clauses(text)))


def places_within(starts: Sequence[int], spans: Iterable[tuple[int, int]]) -> set[int]:
    """Which of some places, in their order, lie in one of some spans (start, end) of a text: their indexes."""
    return {at for low, high in spans for at in range(bisect_left(starts, low), bisect_left(starts, high))}


def _clauses(text: str) -> Iterator[tuple[int, str]]:
    """The clauses of a text, each with its position."""
    start = 0
    for end in (*_CLAUSE_ENDS.finditer(text), None):
        clause = text[start : len(text) if end is None else end.start()]
        if clause.strip():
            yield start, clause
        start = len(text) if end is None else end.end()


def _to_the_end(text: str) -> str:
    """A text to its first comma; where a list goes on behind that ("horror, drama or war"), to the end of the list."""
    end = text.find(",")
    while end >= 0 and _GOES_ON.match(text, end + 1):
        end = text.find(",", end + 1)
    return text if end < 0 else text[:end]
