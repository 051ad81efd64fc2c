"""What stands before words in their clause: a negation, a question, another subject. English alone is read."""

from __future__ import annotations

import re

from deeprec.agent.conversation.message_reading import REFERENCE, TAKEN
from deeprec.trm_tool.text import word_set

_BEGINS = re.compile(
    r"[.,;:!?\n()]+|\b(?:but|so|then|because|since|if|though|although)\b"
    r"|\band(?= (?:something|i|we|i'\w+|we'\w+|want|need|give|show|maybe|please|looking|would)\b)",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:no|not|never|nor|neither|none|nothing|nobody|without|cannot|hardly|dont|havent|didnt)\b|n't\b",
    re.IGNORECASE,
)
_UNREAL = re.compile(r"(?:\b(?:would|could|should|might|must)|'d) have\b|\bwish\b", re.IGNORECASE)
_QUESTION = re.compile(
    r"^\W*+(?:(?:and|so|or|ok|okay|well|then|hey|hi) )*+(?:(?:have|has|had|did|do|does|is|are|was|were|can|could|will"
    r"|would|should|shall|may|might)(?:n't)?(?: not)?"
    r" (?:i|you|he|she|it|we|they|there|any|the|my|your|this|that|people|everyone)\b"
    r"|(?:who|whose|what|what's|which|why|how|when|where)\b)",
    re.IGNORECASE,
)
_SELF = re.compile(r"\b(?:i|we|me|us)\b(?:'\w+)?", re.IGNORECASE)
_OTHERS = re.compile(
    r"\b(?:he|she|they|you|who|it|nobody|everybody|everyone|somebody|someone|anybody|anyone|people|critics|others"
    r"|(?:my|his|her|our|your|their|the|a|an|no|most|some|many|few) [\w'-]+)\b",
    re.IGNORECASE,
)
_NAME = re.compile(rf"(?<![\w'])[A-Z][\w'-]+(?: (?:really|also|always|has|had|never|absolutely))*[ {TAKEN}]*$")
_NO_SUBJECT = word_set(
    "absolutely again ago actually already also always and both definitely did do enjoyed especially even ever hated "
    "have having hello hey hi how just last liked loved mostly much night no oh ok okay once only or particularly "
    "please pretty quite rather really recently saw seen still thanks totally truly very watched well yeah yes "
    "yesterday"
)
"""Words before a verb that name no subject: the person speaks of themselves."""


def clause_before(text: str, at: int) -> str:
    """The part of a clause that stands before a place."""
    begins = max((each.end() for each in _BEGINS.finditer(text, 0, at)), default=0)
    return text[begins:at]


def is_negated(before: str) -> bool:
    """Whether a clause has a negation, or says what did not happen: "I should have"."""
    return _NEGATION.search(before) is not None or _UNREAL.search(before) is not None


def is_question(before: str) -> bool:
    """Whether a clause begins as a question does: "have you", "who"."""
    return _QUESTION.match(before) is not None


def is_of_the_person(before: str) -> bool:
    """Whether a verb behind this is said of the person: "I", "we", or no subject at all."""
    selves = list(_SELF.finditer(before))
    if selves:
        rest = before[selves[-1].end() :]
        return _OTHERS.search(rest) is None and _NAME.search(rest) is None
    words = re.findall(r"[\w']+", re.sub(REFERENCE, " ", before).lower())
    return all(word in _NO_SUBJECT for word in words)
