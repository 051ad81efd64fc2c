"""What a message says of items that were shown, and what it asks to be done with them. English alone is read."""

from __future__ import annotations

import re
from typing import Literal

from deeprec.agent.conversation.clause_context import clause_before, is_negated, is_of_the_person, is_question
from deeprec.agent.conversation.delta import ActionKind, RequestedAction, SaidFeedback
from deeprec.agent.conversation.message_reading import CART, REFERENCE, TAKEN, MessageReading
from deeprec.agent.conversation.state import FeedbackKind

_ADVERBS = r"(?:really|very|quite|so|just|already|actually|definitely|rather|pretty|absolutely|only|not) "
_ITEMS = rf"(?P<items>{REFERENCE})"
_ACTIONS: tuple[tuple[ActionKind, str], ...] = (
    ("remove_from_cart", rf"(?:remove|take|drop|delete) {_ITEMS} (?:out of|from|off) {CART}"),
    ("add_to_cart", rf"(?:add|put|place|drop|stick|pop) {_ITEMS} (?:to|in|into) {CART}"),
    ("buy", rf"(?:(?:i'?ll|i will|i'?d like to|let me|let'?s|can i|i want to|please) )"
            rf"(?:just )?(?:take|buy|order|purchase|get|have) {_ITEMS}"),
    ("buy", rf"(?:^|[.,;!]\s*)(?:buy|order|purchase) (?:me )?{_ITEMS}"),
)  # fmt: skip
_NOT_ASKED = re.compile(
    r"(?:\b(?:not|never|without|cannot|don'?t|won'?t|nobody|rather than|instead of)\b|n't\b)[^.,;!?]*$"
    r"|(?:^|[.,;!?]\s*)(?:(?:and|but|so|or|then|please) )*"
    r"(?:why|should|shall|how|when|who|did|do|does|have|has|had|was|were|is|are|if|unless|whether|what)\b[^.;!?]*$",
    re.IGNORECASE,
)
"""Before an action, what makes it no request: a negation of its clause, a question, a condition."""
_NEW_CLAUSE = re.compile(r"\b(?:but|so|then|because)\b", re.IGNORECASE)
_NO_ITEM = rf"(?P<what>(?!{REFERENCE})[^.,;!?{TAKEN}]{{1,60}}?)"
_UNMET: tuple[tuple[str, str], ...] = (
    ("Nothing in your cart is meant by that.", rf"(?:remove|take|drop|delete) {_NO_ITEM} (?:out of|from|off) {CART}"),
    ("No item that was shown is meant by that, so nothing was put into your cart.",
     rf"(?:add|put|place) {_NO_ITEM} (?:to|in|into) {CART}"),
    ("No item that was shown is meant by that, so nothing was put into your cart.",
     r"(?:i'?ll|i will|i'?d like to|let me|please) (?:just )?(?:take|buy|order|purchase|get) "
     r"(?P<what>the [\w' -]{1,40} ones?\b)"),
)  # fmt: skip
"""Actions on what no reference means: why nothing is done, and the words."""
_IS = r"(?:'s|is|are|was|looks?|seems?)"
_TASTE = r"my (?:thing|taste|style|cup of tea)"
_NO_LONGER = r"(?:no longer|do not|does not|don'?t|doesn'?t|didn'?t)"
_TAKEN_BACK: tuple[tuple[FeedbackKind, str], ...] = (
    ("liked", rf"no longer (?:{_ADVERBS})*(?:like|love|want|fancy|enjoy) {_ITEMS}"),
    (
        "liked",
        rf"{_NO_LONGER} (?:{_ADVERBS})*(?:like|love|want|fancy|enjoy) {_ITEMS} (?:after all|any ?more|any longer)",
    ),
    (
        "liked",
        rf"(?:unlike|(?:take back|forget|withdraw|cancel) (?:that I liked?|(?:my|the) like (?:of|for))) {_ITEMS}",
    ),
    ("disliked", rf"{_NO_LONGER} (?:{_ADVERBS})*(?:dislike|hate) {_ITEMS}(?: after all| any ?more| any longer)?"),
)
"""What withdraws an earlier feedback."""
_Guard = Literal["", "stated", "own", "verb"]
_FEEDBACK: tuple[tuple[FeedbackKind, _Guard, str], ...] = (
    ("bought", "own",
     rf"(?:own|got|bought|seen|watched|read|ordered|have) (?:{_ADVERBS})*{_ITEMS}(?: already)?(?! in)"),
    ("disliked", "verb",
     rf"(?:do|did|does|would|can)(?: not|n'?t) (?:{_ADVERBS})*(?:like|love|want|care for|stand) {_ITEMS}"),
    ("disliked", "own", rf"(?:hated?|disliked?|detest|loathe) {_ITEMS}"),
    ("disliked", "verb", rf"not (?:a fan of|into|keen on) {_ITEMS}"),
    ("disliked", "", rf"(?:anything but|nothing like|less like|(?<!why )not|no to|skip) {_ITEMS}"),
    ("disliked", "stated",
     rf"{_ITEMS} ?{_IS} (?:{_ADVERBS}|a bit |too )*(?:ugly|awful|terrible|bad|boring|dull|no good)"),
    ("disliked", "stated",
     rf"{_ITEMS} ?(?:{_IS} not|isn't|aren't|wasn't) (?:{_ADVERBS})*(?:good|great|nice|for me|{_TASTE}|it)"),
    ("liked", "own", rf"(?:liked?|loved?|prefer|enjoy|enjoyed|adored?|fancy|into|yes to) {_ITEMS}"),
    ("liked", "stated", rf"{_ITEMS} ?{_IS} (?:{_ADVERBS})*(?:nice|good|great|perfect|lovely|beautiful|fine|better)\b"),
    ("liked", "stated",
     rf"{_ITEMS} ?{_IS} (?:{_ADVERBS})*(?:brilliant|wonderful|my favou?rite|the best|exactly|ideal)\b"),
)  # fmt: skip
"""Kinds of feedback, what their clause must be, and their words.

The clause is no question where anything is demanded of it; what is "stated" has no negation before it, a "verb" is said
of the person, and what is the person's "own" is both.
"""
_WOULD_LIKE = re.compile(r"(?:\bwould|'d)(?: (?:also|really|still|rather|absolutely))* $", re.IGNORECASE)
_ASKED_BEHIND = re.compile(r"\s*\?")


def find_feedback(reading: MessageReading) -> None:
    """Find what a message says of the items that it refers to, and what it asks to be done with them.

    What is asked for is no feedback: an item is in the cart, or bought, once a tool has confirmed it.
    """
    for action, pattern in _ACTIONS:
        for found in reading.find(re.compile(rf"(?:\b|(?<=^)){pattern}", re.IGNORECASE)):
            ids = reading.referred_ids(found["items"])
            before = reading.text[: found.start()]
            clause = max((each.end() for each in _NEW_CLAUSE.finditer(before)), default=0)
            if (not_asked := _NOT_ASKED.search(before[clause:])) is not None:
                words = reading.take(clause + not_asked.start(), found.end())
                reading.not_clear(words, "This is not read as a request, so nothing was done with your cart.")
                continue
            words = reading.take(*found.span())
            if ids:
                reading.actions.append(RequestedAction(kind=action, item_ids=ids, words=words))
    for reason, pattern in _UNMET:
        for found in reading.find(re.compile(rf"(?:\b|(?<=^)){pattern}", re.IGNORECASE)):
            if reading.referred(found["what"]):
                continue
            reading.not_clear(reading.words(*found.span("what")), reason)
            if "in your cart" in reason:  # what is added stays a preference: the next list may have it
                reading.take(*found.span())
            else:
                reading.take(found.start(), found.start("what"))
                reading.take(found.end("what"), found.end())
    for kind, pattern in _TAKEN_BACK:
        for found in reading.find(re.compile(rf"(?<![\w']){pattern}", re.IGNORECASE)):
            ids = reading.referred_ids(found["items"])
            held = tuple(item_id for item_id in ids if item_id in reading.state.items_with(kind))
            is_refusal = re.match(r"do|did", found[0], re.IGNORECASE) is not None  # where nothing is held, a dislike
            if not held and is_refusal and kind == "liked":  # "I don't dislike the first" states no dislike
                continue
            words = reading.take(*found.span())
            if ids and not held:
                reading.not_clear(words, f"Nothing there counts as {kind}.")
            if held:
                reading.feedback.append(SaidFeedback(kind=kind, item_ids=held, words=words, taken_back=True))
    for kind, guard, pattern in _FEEDBACK:
        for found in reading.find(re.compile(rf"(?<![\w']){pattern}", re.IGNORECASE)):
            ids = reading.referred_ids(found["items"])
            before = clause_before(reading.text, found.start())
            is_feedback = not guard or _is_feedback(reading, guard, before, found)
            words = reading.take(found.start() - (0 if is_feedback else len(before)), found.end())
            if ids and is_feedback:
                reading.feedback.append(SaidFeedback(kind=kind, item_ids=ids, words=words))


def _is_feedback(reading: MessageReading, guard: _Guard, before: str, found: re.Match[str]) -> bool:
    """Whether the person says of themselves what a match reads, and neither asks it nor denies it."""
    if is_question(before) or (not before.strip() and _ASKED_BEHIND.match(reading.text, found.end())):
        return False
    if guard in ("stated", "own") and is_negated(before):
        return False
    if guard == "stated":
        return True
    is_request = re.match(r"(?:like|love|enjoy) ", found[0], re.IGNORECASE) and _WOULD_LIKE.search(before)
    return is_of_the_person(before) and not is_request  # "I'd like Fargo" asks for it
