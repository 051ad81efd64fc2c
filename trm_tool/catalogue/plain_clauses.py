"""Whether the words around a refusal, a limit or a bound leave no doubt of what is meant.

A refusal is doubtful in a condition ("if there is no horror"), behind a second negation ("not without comedy"), in
somebody else's words or taste ("my sister hates horror"), and where what follows narrows it ("no horror with zombies").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from deeprec.trm_tool.catalogue.phrase_spotting import WORD
from deeprec.trm_tool.catalogue.said_clauses import SaidClause
from deeprec.trm_tool.catalogue.stated_preference import FILLERS
from deeprec.trm_tool.text import word_set

_FEELING = re.compile(r"(?:hated?|dislike|detest|loathe|never|\w+ of|fed up with|can.*)$|don['’]?t$", re.IGNORECASE)
"""Marks of somebody's taste, which count for the speaker alone."""
_THIRD = re.compile(
    r"(?:hates|dislikes|detests|loathes|hated|doesn['’]?t|rather than|instead of|weren['’]?t|wasn['’]?t)$", re.I
)
"""Marks that refuse for somebody else, of the past, or only compare."""
_COPULA = re.compile(r"(?:isn|aren|shouldn)['’]?t$", re.IGNORECASE)
_BREAKS = re.compile(r"[,.;:!?()\n]|\b(?:and|or|nor|but|so|yet)\b", re.IGNORECASE)
_OTHERS = word_set(
    "he she they kid kids child children son sons daughter daughters husband wife partner boyfriend girlfriend mum mom "
    "mother dad father parents sister brother friend friends colleague colleagues boss neighbour people everybody "
    "everyone usually normally mostly typically generally"
)
"""Words before a mark that make it somebody else's taste, or a habit."""
_SPEAKER = word_set(
    "i we i'd we'd i've we've i'm im we're am are have had really absolutely honestly personally just please also "
    "still simply definitely do would kindly that's"
)
_ODD_BEFORE = word_set(
    "if unless whether when imagine suppose supposing said says say saying told asked thinks think claims wonder "
    "wondering why who how he she they people everyone everybody someone somebody nobody friend friends not never no "
    "nothing without cannot used refuse refuses refused"
)
"""Words before a mark that make it a condition, somebody else's words, or a second negation."""
_STATES = word_set("is are was were there there's theres it's its have has had got know see saw found find i've we've")
"""A last word before "no" or "nothing" that makes it a statement: "there is no horror here"."""
_DEMANDS = word_set("must should that which to may shall can")
THIN = FILLERS | word_set("an any anyone that's who want whatever whichever another really all us me being something's")
"""Words that may stand between a mark and what it names."""
TASTES = word_set(
    "want like need watch read play enjoy care show give recommend suggest bring buy wear eat drink listen after into "
    "mood fancy do even ever feel"
)
"""Words of wanting that may stand there too, where a mark refuses or limits them: "I don't want to watch horror"."""
_ONES = word_set(
    "film films movie movies one ones item items thing things stuff book books song songs album albums game games "
    "product products series shows show story stories novel novels title titles model models"
)
TAIL = _ONES | word_set(
    "please pls thanks thank thx cheers either though tho tonight today tomorrow now again anymore at all whatsoever "
    "ever for and or nor but because so it lol kind type colour color genre not no nothing without only ok okay"
)
"""Words that may follow what is refused."""
TAIL_OF_NUMBER = word_set(
    "please pls thanks thank thx cheers for and or nor but because so not no nothing without only ok okay in with each "
    "total altogether overall tonight today this either though tho at all"
)
"""Words that may follow a bound."""
_PERSON = word_set(
    "am i'm im we're he's she's they're is are was were aged age ages read have has had own people kids children "
    "anyone everyone someone those waited took spent"
)
"""A last word before a bound that makes it one on the speaker, or on what they know."""
_PRICED = (["that"], ["which"], ["it"], ["price"], ["cost"], ["budget"], ["limit"])
_KNEW = word_set("seen watched saw owned bought born lived played")
_ASKING = re.compile(
    r"^\W*(?:why|how|who|where|when|isn['’]?t|aren['’]?t|wasn['’]?t|don['’]?t|doesn['’]?t|what(?:['’]?s| is| are| was)|"
    r"(?:is|are|was|were|did|does|has|have)(?! there| you))\b",
    re.IGNORECASE,
)
"""How a sentence begins that asks about the world, and for nothing."""


def refuses_plainly(text: str, clause: SaidClause, first: int) -> bool:
    """Whether the mark of a clause refuses the value that begins at `first`, and nothing makes that doubtful."""
    mark = " ".join(text[clause.mark : clause.start].lower().split())
    before = words_before(text, clause.mark)
    last = before[-1] if before else ""
    lead = text[clause.start : first]
    if _THIRD.search(mark) or is_doubtful(text, clause.mark, before):
        return False
    if mark == "not":
        if re.search(r"\bor\s*$", text[: clause.mark], re.IGNORECASE) or last in {"need", "needs", "was", "were"}:
            return False
        is_taste = last == "do"
        return is_thin(lead, TASTES) and (not is_taste or _SPEAKER.issuperset(before))
    if _FEELING.search(mark):
        return is_thin(lead, TASTES) and _SPEAKER.issuperset(before)
    if _COPULA.search(mark):
        return last in {"it", "that", "which", "this"} and is_thin(lead)
    if mark == "other than":
        return last in {"anything", "something", "everything", *_ONES} and is_thin(lead)
    if mark in ("no", "nothing", "none") and last in _STATES:
        is_demand = last in ("have", "has") and bool(_DEMANDS.intersection(before[-2:-1]))
        return is_demand and is_thin(lead)
    if mark == "without" and last in ("do", "live", "go", "be", "survive", "manage"):
        return False
    return is_thin(lead, frozenset(("more",)) if mark == "no" else frozenset())


def is_doubtful(text: str, at: int, before: Sequence[str]) -> bool:
    """Whether the words before a mark make it a condition, a second negation, a name, or somebody else's words."""
    is_name = bool(before) and before[-1] in ("a", "an", "the", "my", "your")
    is_negated = any(word.endswith("n't") for word in before)
    subject = re.sub(r"\b(?:for|with|to) (?:(?:my|our|the|some|two|three) )?\w+", "", " ".join(before)).split()
    is_of_others = not _OTHERS.isdisjoint(subject)
    return is_name or is_negated or is_of_others or not _ODD_BEFORE.isdisjoint(before) or _asks(text, at)


def is_doubtful_bound(before: Sequence[str]) -> bool:
    """Whether a bound behind some words is a condition, or one on a person or what they have seen: "I am over 50"."""
    if not _ODD_BEFORE.isdisjoint(before):
        return True
    if before[-1:] in (["is"], ["are"]) and before[-2:-1] in _PRICED:
        return False
    return bool(before) and (before[-1] in _PERSON or not _KNEW.isdisjoint(before))


def words_before(text: str, at: int) -> list[str]:
    """The words before a place, back to the last break of the sentence."""
    start = max((found.end() for found in _BREAKS.finditer(text, 0, at)), default=0)
    return [word.lower() for word in WORD.findall(text[start:at])]


def is_thin(lead: str, more: frozenset[str] = frozenset()) -> bool:
    """Whether nothing stands between a mark and what it names but fillers."""
    words = [word.lower() for word in WORD.findall(lead)]
    return not re.search(r"[,|/]", lead) and all(word in THIN or word in more for word in words)


def listed_values(
    text: str, places: Sequence[tuple[int, int]], joint: str = r"\s*(?:,|/|&|,?\s*\b(?:or|nor|and)\b)\s*(?:an? )?"
) -> tuple[list[tuple[int, int]], int]:
    """The values that are listed from the first one on, and where the list ends."""
    listed = [places[0]]
    for place in places[1:]:
        if not re.fullmatch(joint, text[listed[-1][1] : place[0]], re.IGNORECASE):
            break
        listed.append(place)
    return listed, listed[-1][1]


def ends_plainly(text: str, end: int, further: Sequence[tuple[int, int]]) -> bool:
    """Whether nothing behind a place narrows what stands before it."""
    rest = text[end:]
    if re.match(r"\s*(?:$|[,.;:!?)(—–\n\"'])", rest):
        return True
    found = WORD.match(rest.lstrip()) if rest[:1].isspace() else None
    if found is None or found[0].lower() not in TAIL:
        return False
    behind = rest.lstrip()[found.end() :]
    if found[0].lower() in _ONES:  # "no horror films with zombies"
        return ends_plainly(text, len(text) - len(behind), further)
    joins = found[0].lower() in ("and", "or", "but", "so", "because", "nor")
    return joins or not further


def _asks(text: str, at: int) -> bool:
    """Whether a place stands in a question about the world, such as "why is there no horror?"."""
    start = max((found.end() for found in re.finditer(r"[.;!?\n]", text[:at])), default=0)
    return _ASKING.match(text[start : at + 20]) is not None
