"""What a message says that the catalogue does not have: things that are asked for ("a submarine"), and whole texts.

A text is understood as a wish where a record has one of its words, or the text encoder finds a phrase near it. What is
less near may still be a wish in other words ("something with a heist"), so it stays in what retrievals get.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from deeprec.agent.conversation.meant_values import MIN_REFUSED_COSINE
from deeprec.agent.conversation.message_reading import MessageReading
from deeprec.agent.conversation.said_text import FUNCTION_WORDS, PLAIN_WORDS, content_words
from deeprec.agent.conversation.vocabulary import ConversationCatalogue
from deeprec.trm_tool.catalogue.german import is_german

_POLITE = r"(?:(?:hi|hello|hey|please|ok|okay|well|yes|yeah|no|so|then|now|maybe|actually|also|and|or)\b\W*)*"
_ASKS = (
    r"(?:(?:i|we)(?:'m|'re|'d| am| are| would)? )?(?:(?:really|just|still) )*"
    r"(?:want|need|(?:looking|searching|after|interested)(?: for| in)?)(?: to (?:see|find|buy|get|have|order))?"
    r"|(?:i|we)(?:'d| would) (?:like|love|prefer)(?: to (?:see|find|buy|get|have|order))?"
    r"|(?:(?:can|could|would) you (?:please )?)?(?:show|find|get|give|recommend|suggest)(?: me| us)?"
    r"|(?:is|are) there"
)
_REQUEST = re.compile(
    rf"(?:^|(?<=[.,;:!?]))\W*{_POLITE}(?:(?P<asks>{_ASKS})\s+)?(?:(?P<article>an?|some|any|another)\s+)?", re.IGNORECASE
)
_BESIDE = re.compile(r"\s+(?:and|or|plus|&)\s+(?:(?:an?|some|any|another)\s+)?", re.IGNORECASE)
_HAS_A_HEAD = re.compile(
    r"\b(?:something|anything|nothing|ones?|it|them|(?<!interested )in|is|are|be|(?:it|that)'s)\s+$", re.IGNORECASE
)
"""Before a value, what it describes, so that no word behind it is described: "something washable", "one in black"."""
_LAST_WORD = re.compile(r" [^\W_][\w'-]*\s*(?:$|[^\w\s'-]|\x00)")
_THING = re.compile(
    r"(?P<thing>[^\W_][\w'-]*(?: [^\W_][\w'-]*){0,4}?)(?=\s*(?:$|[^\w\s'-]|\x00"
    r"|\b(?:for|with|without|in|under|below|over|above|from|at|that|which|who|please|to|about|on|by|and|or|but|like)\b))",
    re.IGNORECASE,
)


def find_unknown_things(reading: MessageReading) -> None:
    """Note the things that a message asks for and that no record of the catalogue has a word for.

    A thing is asked for behind a verb of request or an article at the beginning of a clause, beside a value that is
    wanted ("a kettle and a submarine"), or as the one word behind a value that is no kind of item and describes nothing
    before it ("wireless earbuds"), and its last word names it. The words stay in the text for retrievals. German words
    are not looked for: the text encoder maps them.
    """
    if reading.is_translated or is_german(reading.message):
        return
    for start in _places(reading):
        found = _THING.match(reading.text, start)
        words = [] if found is None else list(re.finditer(r"[^\s]+", found["thing"]))
        if found is None or any(word[0].lower() in FUNCTION_WORDS for word in words):
            continue
        unknown = None
        for word in reversed(words):
            at = found.start() + word.start()
            if not _is_unknown(reading, word[0], at):
                break
            unknown = at
        if unknown is not None:
            reading.lacks(reading.words(unknown, found.end()), kind="asked", min_cosine=MIN_REFUSED_COSINE)


def is_understood(text: str, catalogue: ConversationCatalogue) -> bool:
    """Whether a text has a word that a record of the catalogue has, or means a phrase of the catalogue."""
    words = content_words(text)
    return bool(words) and (
        any(map(catalogue.knows_word, words)) or catalogue.meant_by(text, MIN_REFUSED_COSINE) is not None
    )


def _places(reading: MessageReading) -> Iterator[int]:
    """Where the words of a thing that is asked for may begin."""
    for found in _REQUEST.finditer(reading.text):
        if found["asks"] or found["article"]:
            yield found.end()
    described = {value.start: value.attributes for value in reading.vocabulary.values_in(reading.text)}
    for start, end in reading.quiet:
        if (beside := _BESIDE.match(reading.text, end)) is not None:
            yield beside.end()
        elif (
            _LAST_WORD.match(reading.text, end)
            and not _HAS_A_HEAD.search(reading.text, max(0, start - 20), start)
            and start in described
            and not any(map(reading.vocabulary.is_kind, described[start]))
        ):
            yield end + 1


def _is_unknown(reading: MessageReading, word: str, at: int) -> bool:
    is_wanted = any(start <= at < end for start, end in reading.quiet)
    return not is_wanted and word.lower() not in PLAIN_WORDS and not reading.vocabulary.knows_word(word)
