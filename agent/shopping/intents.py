"""What a message asks for beside changes of the state: facts, a comparison, reasons, the cart.

English alone is read.
"""

from __future__ import annotations

import re

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, StateDelta
from deeprec.agent.conversation.message_reading import CART
from deeprec.agent.conversation.said_text import FAREWELL
from deeprec.agent.shopping.counted_items import counted_subject, counts_list
from deeprec.agent.shopping.turn_plan import Intent
from deeprec.trm_tool.text import has_words

_CART = re.compile(
    r"\b(?:what(?:'s| is| do i have| have i(?: got)?)|which|show|see|view|list|open|anything)\b[^.!?]{0,30}"
    rf"\b(?:cart|basket|bag|trolley)\b|\bhow many\b[^.!?]{{0,30}}\bin {CART}\b",
    re.IGNORECASE,
)
_STATE = re.compile(
    r"\bwhat (?:do|did) (?:you (?:know|remember)|i (?:ask|say|want|tell))|\bwhat (?:have|had) i (?:asked|said|wanted)"
    r"|\b(?:show|list|what are|see)\b[^.!?]{0,20}\bmy (?:filters|preferences|constraints|criteria|wishes|requirements)"
    r"|\bwhat (?:filters|constraints|criteria)\b",
    re.IGNORECASE,
)
_WHY = re.compile(r"\bwhy\b(?! (?:not|don't we)\b)|\bexplain\b|\bhow come\b|\bwhat makes\b", re.IGNORECASE)
_COMPARE = re.compile(
    r"\bcompar|\bdifferen(?:ce|t)\b|\bdiffer\b|\bversus\b|\bvs\b|\bwhich (?:one |of (?:them|these|those|the) ?\w* ?)?"
    r"(?:is|are|has|costs?|would)\b|\bside by side\b",
    re.IGNORECASE,
)
_WHICH_SHOWN = re.compile(r"\b(?:which|what)(?: one)? of (?:these|those|them)\b|^\W*which one\b", re.IGNORECASE)
_ASKS = re.compile(
    r"^\W*(?:and |so |but |ok(?:ay)?,? )?(?:how|what|what's|which|does|do|did|is|are|was|were|has|have|can|could|will"
    r"|would|when|who|where|tell me|any (?:more )?details|more (?:about|on)|details|describe)\b"
    r"|\b(?:how much|tell me|what does|details|more about|the price of)\b",
    re.IGNORECASE,
)
_CATALOGUE = re.compile(
    r"\b(?:what|which|any)\b[^.!?]*\b(?:do you (?:have|carry|sell|stock|offer)|are there|have you got|is there|exist"
    r"|available|can i (?:ask|choose|pick|search|filter))\b",
    re.IGNORECASE,
)
_ASKABLE = re.compile(
    r"\bwhat (?:all )?can (?:i|you)\b|\bwhat (?:else )?do you (?:have|sell|carry|offer)\W*$|\bwhat(?:'s| is) there\W*$"
    r"|\bhow does (?:this|it) work\b",
    re.IGNORECASE,
)
_ALL = re.compile(r"\b(?:these|those|them|all)\b", re.IGNORECASE)
_MORE = re.compile(
    r"^\W*(?:(?:can|could) (?:you|i) )?(?:please )?(?:(?:show|give|see|get|find)(?: me)? )?(?:some |any |a few )?"
    r"(?:more|others?|other ones|the next|next)"
    r"(?: (?:please|options|results|ones|items|suggestions|of (?:these|those|them)"
    r"|like (?:these|those|that)|page))*\W*$"
    r"|^\W*(?:what|anything) else(?: (?:do you have|have you got|is there))?\W*$",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"^\W*(?:(?:hi|hello|hey|good (?:morning|evening|afternoon|day)|thanks|thank(?: you)?|cheers|great|cool"
    r"|ok(?:ay)?|(?:good)?bye|perfect|nice|that(?:'s|’s| is| was| will be) (?:all|it|enough|everything)"
    r"|for (?:now|today)|from me|see you|there|so much|very much|a lot|help|please)\b\W*)+$",
    re.IGNORECASE,
)
_HOW_MUCH = re.compile(r"\bhow (?:much|expensive|cheap)\b|\bcosts?\b|\bpricey\b", re.IGNORECASE)
_HOW_OLD = re.compile(r"\bhow (?:old|new|recent)\b|\bwhen\b|\bwhat year\b", re.IGNORECASE)


def says_farewell(message: str) -> bool:
    """Whether a message ends the conversation: "thanks, that is all"."""
    return FAREWELL.search(message.replace("’", "'")) is not None


def wants_more(message: str) -> bool:
    """Whether a message asks for further items of the same kind: "show me more", "what else?"."""
    return _MORE.search(message) is not None


def asks(message: str) -> bool:
    """Whether a message has the form of a question."""
    return _ASKS.search(message) is not None


def intent_of(
    message: str, delta: StateDelta, state: ConversationState, catalogue: ConversationCatalogue
) -> tuple[Intent, tuple[str, ...]]:
    """Decide what a message is to be answered with.

    Args:
        message: What the person wrote.
        delta: What it changes.
        state: The state behind it.
        catalogue: The catalogue, laid out.

    Returns:
        The intent, and the items that it is about. A message that changes what is asked for is a search.
    """
    changes = bool(delta.changes or delta.order or delta.similar_to or delta.set_aside)
    shown = state.last_list
    if shown and delta.order is not None and not delta.changes and _WHICH_SHOWN.search(message):
        return "comparison", shown  # "which of these is the newest?" asks for no other list
    is_about = delta.references or delta.feedback or delta.actions or delta.similar_to or delta.set_aside
    if shown and delta.changes and not delta.actions and counts_list(message):
        return "count", shown
    if not is_about and not _CART.search(message) and counted_subject(message, catalogue) is not None:
        return "count", ()
    if delta.unresolved and not changes and not delta.actions:
        return "unclear", ()
    if _CART.search(message):
        return "cart", state.items_with("in_cart")
    if _STATE.search(message):
        return "state", ()
    if delta.actions and not changes:
        return "cart", ()
    about = delta.references or (state.focus if not changes else ())
    if _WHY.search(message) and shown and not changes:
        return "explanation", (() if _ALL.search(message) else about) or shown
    if shown and _COMPARE.search(message) and (len(about) > 1 or not changes):
        return "comparison", about if len(about) > 1 else shown
    if delta.references and not changes and not delta.feedback and (not delta.said or asks(message)):
        return "facts", delta.references
    is_open = not (delta.references or changes or delta.feedback or delta.missing)
    if is_open and (_ASKABLE.search(message) or (_CATALOGUE.search(message) and attributes_asked(message, catalogue))):
        return "catalogue", ()
    if is_open and (_GREETING.search(message) or not has_words(message)):
        return "greeting", ()
    return "search", ()


def intent_of_edit(delta: StateDelta) -> tuple[Intent, tuple[str, ...]]:
    """Decide what a person's own edit without a message is to be answered with, and the items that it is about.

    Feedback alone is noted: a click on a card is no request for another list.
    """
    if not delta.changes and delta.actions:
        return "cart", ()
    if not delta.changes and delta.feedback:
        return "feedback", tuple(item_id for each in delta.feedback for item_id in each.item_ids)
    return ("search" if delta.changes else "state"), ()


def attributes_asked(message: str, catalogue: ConversationCatalogue) -> tuple[str, ...]:
    """The attributes that a question names, in its words or in others: "how much" names the price."""
    named = [each.attribute for each in catalogue.attributes_in(message)]
    if _HOW_MUCH.search(message) and catalogue.price:
        named.append(catalogue.price)
    if _HOW_OLD.search(message) and catalogue.year:
        named.append(catalogue.year)
    return tuple(dict.fromkeys(named))


def asks_for_number(message: str) -> str | None:
    """`price` or `year` where a question asks for it, whether the catalogue has it or not."""
    return "price" if _HOW_MUCH.search(message) else "year" if _HOW_OLD.search(message) else None
