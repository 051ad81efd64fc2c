"""A message is read into a delta without a model, in the forms that people use most: English, and German by a table."""

from __future__ import annotations

import re
from dataclasses import replace

from deeprec.agent.conversation.critiques import (
    find_comparatives,
    find_similar,
    find_superlatives,
    find_vague_numbers,
)
from deeprec.agent.conversation.delta import StateDelta
from deeprec.agent.conversation.meant_values import find_meant_values
from deeprec.agent.conversation.message_reading import REFERENCE, TAKEN, MessageReading
from deeprec.agent.conversation.references import find_references
from deeprec.agent.conversation.said_bounds import find_bounds
from deeprec.agent.conversation.said_feedback import find_feedback
from deeprec.agent.conversation.said_text import FAREWELL, left_over
from deeprec.agent.conversation.said_values import find_values
from deeprec.agent.conversation.state import ConversationState
from deeprec.agent.conversation.unknown_things import find_unknown_things
from deeprec.agent.conversation.vocabulary import ConversationCatalogue
from deeprec.agent.conversation.withdrawals import find_withdrawals

_CORRECTING = re.compile(
    r"\b(?:actually|i mean(?:t)?|instead(?! of)|make (?:it|that)|correction|sorry|no wait|wait|on second thoughts?"
    r"|(?:change|switch|set)(?: it| that| the [\w ]{2,20}?)? to|rather(?! (?:not|than)))\b|^no,|^no (?=\w+,? not\b)",
    re.IGNORECASE,
)
_CONTRASTING = re.compile(r"\b(?:instead of|rather than)\b", re.IGNORECASE)
_ASKING = (
    "is|are|was|were|does|do|did|has|have|can|could|will|would|which|what|what's|how|who|when|where|why|tell me|compare"
)
_QUESTION = re.compile(
    rf"(?:^|(?<=[.;!?] ))(?:{_ASKING})\b(?! (?:i|you|we|there)\b)[^.;!?]*{REFERENCE}[^.;!?]*[.;!?]?", re.IGNORECASE
)
_ASKS_OF_IT = re.compile(
    r"(?:^|(?<=[.;!?] ))(?:is|are|was|were|does|do|did|has) (?:it|this|that|they|these|those)\b"
    r"(?=[^.;!?]*\b(?:no|not|without|free)\b)[^.;!?]*[.;!?]?",
    re.IGNORECASE,
)
"""A question whether something lacks a value ("is it without horror?"), which refuses none."""
_FOR_ITEMS = (
    r"(?:want(?:ed)?|looking|something|anything|films|movies|items|an? (?:film|movie)|show|find|possible|möglich"
    r"|some|any|on your list)"
)
"""Words of a request for items, in whatever form it begins."""
_OF_IT = r"(?:it|this|that|they|them|these|those|he|she|the \w+)"
_FACT_WORD = r"(?:how (?:long|old|new|much|many|good|bad|scary)|who|who's|when|where|whose)\b"
_FACT_QUESTION = re.compile(
    rf"^\W*+(?:and |so |but |ok(?:ay)?,? )?(?![^?]*\b{_FOR_ITEMS}\b)(?:"
    rf"(?:is|are|was|were|does|did|has) {_OF_IT}\b[^.;!?]*\?+"
    rf"|{_FACT_WORD}(?! (?:i|you|we|there)\b)(?:[^.;!?]* {_OF_IT}\b[^.;!?]*\?+|[^.;!?]* (?:it|this|that|them)\b\?*)"
    r"|who (?:directed|made|wrote|stars|starred|plays|played|produced|composed)\b[^.;!?]*\?+)\s*$",
    re.IGNORECASE,
)
"""A message that is a question for a fact of an item, and no request: "how long is the first?"."""
_PRONOUN = re.compile(r"(?:it|that|this|them|they|those|these|both|all|any|none|the other)\b", re.IGNORECASE)


def delta_of_message(message: str, state: ConversationState, catalogue: ConversationCatalogue) -> StateDelta:
    """Read a message into the changes that it states.

    Found are bounds and ranges, values that are wanted, required and refused, references to shown items, feedback,
    comparisons with them, superlatives, withdrawals and corrections. A constraint is hard where the words say so, and
    weighs otherwise. What does not decide (a reference that several items fit) is in `unresolved`, and what the
    catalogue lacks in `missing`; neither keeps the rest from being found.

    Args:
        message: What the person wrote; the first 2,000 characters are read.
        state: The state before the message.
        catalogue: The catalogue, laid out.
    """
    reading = MessageReading(message=message, state=state, vocabulary=catalogue)
    for found in reading.find(FAREWELL):
        titled = catalogue.titled_at(reading.text, found.start("words"))
        if titled is None or titled[0] <= found.end():  # "Bye Bye, Love" is a film
            reading.take(*found.span("words"))
    find_withdrawals(reading)
    reading.corrects = _CONTRASTING.search(reading.text) is not None
    for found in reading.find(_CORRECTING):
        reading.corrects = True
        reading.take(*found.span())
    find_references(reading)
    for found in reading.find(_ASKS_OF_IT):
        reading.take(*found.span())
    find_bounds(reading)
    find_similar(reading)
    find_feedback(reading)
    for found in reading.find(_QUESTION):
        reading.take(*found.span())
    find_comparatives(reading)
    find_superlatives(reading)
    find_vague_numbers(reading)
    find_values(reading)
    find_meant_values(reading)
    find_unknown_things(reading)
    _find_fact_question(reading)
    turn, references = reading.turn, sorted(reading.references, key=lambda each: each.start)
    said, said_words = _left(reading)
    return StateDelta(
        turn=turn,
        changes=reading.changes,
        order=reading.order,
        feedback=tuple(reading.feedback),
        actions=tuple(reading.actions),
        similar_to=tuple(dict.fromkeys(reading.similar_to)),
        references=tuple(dict.fromkeys(item_id for each in references for item_id in each.item_ids)),
        unused=_unused(reading),
        focus=next((each.item_ids for each in reversed(references) if each.item_ids), ()),
        set_aside=tuple(dict.fromkeys(reading.set_aside)),
        unresolved=tuple(each.unresolved for each in references if each.unresolved is not None),
        missing=tuple(replace(each, turn=turn) for each in reading.missing),
        said=said,
        said_words="" if said_words == said else said_words,
    )


def _find_fact_question(reading: MessageReading) -> None:
    """Take a message that is a question about an item which it does not name: it asks for no list."""
    found = _FACT_QUESTION.match(reading.message)
    is_about = reading.references or reading.changes or reading.order or reading.feedback or reading.actions
    if found is None or is_about or reading.similar_to or reading.set_aside or reading.missing:
        return
    has = "No item of the list is meant by that." if reading.state.shown else "No list was shown yet."
    reading.not_clear(reading.take(0, len(reading.text)), f"{has} A question is answered for an item of a list.")


def _unused(reading: MessageReading) -> tuple[str, ...]:
    """The words that name items by a position, a title or what they have, and on which nothing was done."""
    used = {*reading.similar_to, *reading.set_aside, *reading.compared}
    used |= {item_id for each in reading.feedback for item_id in each.item_ids}
    used |= {item_id for each in reading.actions for item_id in each.item_ids}
    return tuple(
        each.words
        for each in reading.references
        if each.item_ids and used.isdisjoint(each.item_ids) and not _PRONOUN.match(each.words)
    )


def _left(reading: MessageReading) -> tuple[str, str]:
    """What is left of a message for retrievals, and how it was written: what was not taken, and what is wanted."""
    kept = re.sub(rf"{REFERENCE}|{TAKEN}+", lambda found: TAKEN * len(found[0]), reading.text)
    for start, end in reading.quiet:
        kept = kept[:start] + reading.message[start:end] + kept[end:]
    written = " ".join(reading.written(*found.span()) for found in re.finditer(rf"[^{TAKEN}]+", kept))
    said = left_over(kept.replace(TAKEN, " "))
    return said, left_over(written) if said and reading.is_translated else said
