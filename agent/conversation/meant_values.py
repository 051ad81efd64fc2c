"""Genres that adjectives mean without naming them: "something funny" and Comedy, by the recommender's text encoder.

An adjective is compared as a phrase of the catalogue is encoded, "something funny" beside "something comedy". Only a
recommender that knows how near a phrase is (`takes_min_cosine`) is asked, and what is found only weighs. Of other
attributes a near phrase can be the opposite: of a shop's, "lightweight" is the nearest to "heavy".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from deeprec.agent.conversation.clause_context import clause_before, is_negated, is_question
from deeprec.agent.conversation.delta import Change
from deeprec.agent.conversation.message_reading import TAKEN, MessageReading
from deeprec.agent.conversation.said_text import FUNCTION_WORDS
from deeprec.trm_tool.catalogue.said_clauses import refusing_clauses
from deeprec.trm_tool.text import word_set

MIN_COSINE = 0.67
"""How near the phrase of a wish has to be, chosen on 62 spoken words and the classes of ml-100k (`docs/log.md`)."""
MIN_REFUSED_COSINE = 0.45
"""How near the phrase of a bare refused word has to be, as in runs (`graph.missing_values`)."""
MAX_ADJECTIVES = 4
_THINGS = word_set("film films movie movies one ones thing things item items")
_GENRES = frozenset(("genre", "genres", "class"))
_DEGREES = r"(?:(?:really|very|quite|a bit|a little|pretty|more|so) )*"
_WORD = r"[^\W\d_][\w'-]+"
_ADJECTIVE = re.compile(
    rf"\b(?:something|anything|films?|movies?|but) (?:that(?:'s| is) )?{_DEGREES}(?P<behind>{_WORD})"
    r"(?=\W*(?:$|[.,;!?]|(?:and|but|or|for)\b))"
    rf"|\b(?:an?|some|any|more) {_DEGREES}(?P<before>{_WORD}) (?:films?|movies?|ones?|things?|items?)\b"
    rf"|(?:^|{TAKEN})[^\w{TAKEN}]*+{_DEGREES}(?P<alone>{_WORD}+)(?: please)?\W*$",
    re.IGNORECASE,
)
_DIRECT = re.compile(r"\b(?:not|no|never|avoid|without)(?: more)? (?:something )?$|\b(?:anything|any)\b", re.IGNORECASE)
"""What joins a refusal to an adjective; of "no horror and something funny" the refusal does not reach so far."""
_REFUSED_BEHIND = re.compile(
    r"[^.,;!?]*\b(?:i|we|she|he|they|to|should|could|must|who) (?:(?:should|would|could|really|always) )*"
    r"(?:avoid|skip|hates?|dislikes?|detests?|loathes?|do not|don't|can't|cannot|won't|doesn't|didn't|never)\b",
    re.IGNORECASE,
)


def find_meant_values(reading: MessageReading) -> None:
    """Find the values that adjectives of a message mean; the adjectives stay in the text for retrievals.

    An adjective that is refused weighs against what it means, where the refusal is plain, and else means nothing.
    """
    said = {value for change in reading.changes for value in change.values}
    refusing = list(refusing_clauses(reading.text))
    for words, start, end in list(_adjectives(reading))[:MAX_ADJECTIVES]:
        before = clause_before(reading.text, start)
        is_refused = any(each.start <= start < each.end for each in refusing)
        if is_refused or is_negated(before) or _REFUSED_BEHIND.match(reading.text, end):
            if is_refused and _DIRECT.search(before) and not is_question(before):
                weigh_refused(reading, words.lower(), reading.words(start, end), said)
            continue
        for name, values in _genres(reading, f"something {words.lower()}", MIN_COSINE):
            if said.isdisjoint(values):
                written = reading.words(start, end)
                reading.missing = [each for each in reading.missing if each.words != written]
                is_single = reading.vocabulary.kinds[name] == "category"
                reading.sets.append(
                    Change(kind="set", attribute=name, values=values, hard=False, replaces=is_single, words=written)
                )


def weigh_refused(reading: MessageReading, what: str, words: str, wanted: set[str]) -> None:
    """Let a refused word that the catalogue lacks weigh against the value that it means: "nothing scary" and Horror.

    Args:
        reading: The message.
        what: The word, in English where the message was read in it.
        words: The word as the person wrote it.
        wanted: The values that the message asks for, which it does not refuse by another word.
    """
    at = reading.message.find(words)
    if at >= 0 and reading.vocabulary.titled_at(reading.message, at) is not None:
        return  # "Ich mag Alien nicht" names a film
    for name, values in _genres(reading, what, MIN_REFUSED_COSINE):
        held = {value for each in reading.state.refused if each.attribute == name for value in each.values}
        if wanted.isdisjoint(values) and held.isdisjoint(values):
            reading.excludes.append(Change(kind="exclude", attribute=name, values=values, hard=False, words=words))


def _adjectives(reading: MessageReading) -> Iterator[tuple[str, int, int]]:
    for found in _ADJECTIVE.finditer(reading.text):
        group = str(found.lastgroup)
        if found[group].lower() not in FUNCTION_WORDS | _THINGS:
            yield found[group], found.start(group), found.end(group)


def _genres(reading: MessageReading, text: str, min_cosine: float) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The genres that a text means, by their attribute."""
    if any(map(_is_genre, reading.vocabulary.kinds)):
        meant = reading.vocabulary.meant_by(text, min_cosine)
        yield from ((name, values) for name, values in (meant or {}).items() if _is_genre(name))


def _is_genre(attribute: str) -> bool:
    return not _GENRES.isdisjoint(attribute.lower().replace("_", " ").split())
