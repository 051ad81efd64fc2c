"""What a message takes back: "forget the brand", "any colour", "never mind the price", "start over"."""

from __future__ import annotations

import re

from deeprec.agent.conversation.delta import Change
from deeprec.agent.conversation.message_reading import CART, MessageReading
from deeprec.trm_tool.catalogue.said_numbers import said_numbers

_RESTART = re.compile(
    r"\b(?:start(?:ing)? (?:all )?(?:over|again|afresh|fresh|from scratch)|begin again|from scratch|new search|reset"
    r"|(?:forget|clear|drop|scrap|scratch|wipe) (?:about )?(?:everything|it all|all(?: of)? (?:that|this|it))"
    r"(?: I(?:'ve)? said)?)\b(?: (?:then|please|again))*",
    re.IGNORECASE,
)
_ELSE = re.compile(
    r"\b(?:something|anything) (?:else (?:entirely|completely|totally|altogether)|(?:entirely|completely|totally) "
    r"(?:different|else|new))\b|\bnone of (?:these|those|them)\b|\b(?:show|give) me (?:other|different) ones\b",
    re.IGNORECASE,
)
_LAST_TURN = re.compile(
    r"(?:^|[.,;!]\s*)(?:(?:forget|scratch|scrap|ignore) (?:about )?(?:that|it|this)(?: last (?:bit|part))?"
    r"|undo(?: that)?|never\s*mind(?: (?:that|it))?)(?=\s*(?:$|[.,;!?]))",
    re.IGNORECASE,
)
_END = r"(?=\s*(?:$|[.,;:!?()]|\b(?:but|and|though|so|then|just)\b))"
_LEADING = re.compile(
    r"\b(?:forget(?: about)?|never ?mind(?: about)?|(?:drop|remove|lift|lose|ignore|skip|scrap|scratch|cancel|relax)"
    r"(?= (?:the|that|my|this|all)\b)|(?:do not|don'?t|doesn'?t|no longer) (?:really )?(?:care|mind)"
    r"(?: (?:about|so much about|whether|if))?|regardless of|no matter(?: (?:what|which|how))?|whatever"
    r"|(?:not|isn'?t) necessarily|(?:doesn'?t|don'?t|does not|do not) (?:have|need) to (?:be|have)"
    r"|(?:needn'?t|need not) be"
    r"|without (?=the (?:\w+ )?(?:limit|filter|constraint))|(?:not|less) (?:so )?(?:fussy|picky|strict) about"
    r"|no (?:more )?(?=\w+ (?:\w+ )?(?:limit|filter|constraint|preference)\b)|no preference (?:on|for|about)) "
    rf"(?P<about>[^.,;:!?()]{{1,60}}?){_END}",
    re.IGNORECASE,
)
_TRAILING = re.compile(
    r"(?P<about>[^.,;:!?()]{1,60}?) (?:(?:do|does)(?:n'?t| not) (?:really |actually )?matter"
    r"|(?:is|are)(?:n'?t| not) (?:so |that |very |really )?(?:important|a must|necessary)"
    r"|(?:is|are) (?:irrelevant|no (?:object|issue|problem)|flexible|fine too))\b(?: (?:any\s*more|after all|to me))*",
    re.IGNORECASE,
)
_ANY = re.compile(
    r"\bany (?P<about>[\w' -]{2,30}?)(?: (?:(?:is|are) (?:fine|ok|okay|good)"
    r"|(?:will|would) (?:do|be fine)|works?|goes|at all)|\s*(?=$|[.,;!?]|\bbut\b))",
    re.IGNORECASE,
)
_INDIFFERENT = re.compile(
    r"^\W*(?:(?:(?:i'?m |i am )?(?:open to )?any(?:thing)?(?: (?:is fine|will do|works|goes))?"
    r"|(?:it )?(?:doesn'?t|does not) matter"
    r"|(?:i )?(?:do not|don'?t) (?:really )?(?:care|mind)|no preference|whatever|either(?: is fine)?"
    r"|(?:you|it'?s for you to) (?:decide|choose|pick)|(?:it'?s )?(?:all|just) the same(?: to (?:me|us))?"
    r"|(?:it'?s )?up to you|your (?:call|choice)|surprise (?:me|us)|not important)(?:,\s*|\W*$|[.;!?]+\s+|\s+and\s+))+",
    re.IGNORECASE,
)
_AFTER_ALL = re.compile(r"\b(?:not|isn'?t|no) (?P<about>[^.,;:!?()]{1,60}?) after all\b", re.IGNORECASE)
_ALSO_FINE = re.compile(
    r"(?P<about>[^.,;:!?()]{1,40}?) (?:is|are|would be) (?:ok(?:ay)?|fine|alright|all right)"
    r"(?: (?:too|as well|after all|again))?\b",
    re.IGNORECASE,
)
_OF_CART = re.compile(rf"\b{CART}\b", re.IGNORECASE)
_OUT_OF_CART = re.compile(rf"[^.;!?]{{0,60}} (?:out of|from|off) {CART}\b", re.IGNORECASE)
_PRICEY = re.compile(r"\b(?:expensive|pricey|cheap|dear|costly)\b", re.IGNORECASE)
_AGED = re.compile(r"\b(?:old|new|recent|modern)\b", re.IGNORECASE)


def find_withdrawals(reading: MessageReading) -> None:
    """Find what a message takes back, and take the words for it.

    A named attribute is withdrawn with all that was said of it, a named value wherever it was asked for or refused.
    """
    for found in reading.find(_RESTART):
        reading.take(*found.span())
        reading.clears.append(Change(kind="clear", words=reading.words(*found.span())))
    for found in reading.find(_ELSE):
        words = reading.take(*found.span())
        reading.clears.append(Change(kind="clear", hard=False, words=words))
        reading.set_aside += reading.state.last_list
    for found in reading.find(_LAST_TURN):
        words = reading.take(*found.span())
        _relax_last_turn(reading, words)
    indifferent = _INDIFFERENT.match(reading.text)
    if indifferent is not None:
        words = reading.take(*indifferent.span())
        if reading.state.open_question is not None:
            reading.relaxes.append(Change(kind="relax", attribute=reading.state.open_question, words=words))
    for pattern in (_AFTER_ALL, _LEADING, _TRAILING, _ANY):
        for found in reading.find(pattern):
            about, words = found["about"], reading.words(*found.span())
            if pattern is _ANY and not list(reading.vocabulary.attributes_in(about)):
                continue  # "any comedy" asks for one
            if _OF_CART.search(about) or _OUT_OF_CART.match(reading.text, found.end()):
                continue  # "remove the rug from my cart" is an action
            if _relax(reading, about, words, only_held=pattern is _AFTER_ALL):
                reading.take(*found.span())
    for found in reading.find(_ALSO_FINE):
        if _relax_refused(reading, found["about"], reading.words(*found.span())):
            reading.take(*found.span())


def _relax_last_turn(reading: MessageReading, words: str) -> None:
    """Withdraw what the last message stated."""
    state = reading.state
    for each in (*state.required, *state.refused, *state.preferred, *state.disliked):
        if each.turn == state.turn and each.source != "person":
            change = Change(
                kind="relax",
                attribute=each.attribute,
                values=each.values,
                minimum=each.minimum,
                maximum=each.maximum,
                words=words,
            )
            reading.relaxes.append(change)


def _relax(reading: MessageReading, about: str, words: str, only_held: bool) -> bool:
    """Withdraw what some words name; whether they name anything."""
    vocabulary, relaxed = reading.vocabulary, False
    for value in vocabulary.values_in(about):
        for name, values in value.attributes.items():
            held = [each for each in reading.held(name) if set(each.values) & set(values)]
            if held:
                gone = tuple(value for each in held for value in each.values if value in values)
                reading.relaxes.append(Change(kind="relax", attribute=name, values=gone, words=words))
                relaxed = True
    if relaxed or only_held:
        return relaxed or _relax_end(reading, about, words)
    named = [each.attribute for each in vocabulary.attributes_in(about)]
    if not named and (_PRICEY.search(about) or re.search(r"\bhow much|\bcosts?\b|\bmoney\b", about, re.IGNORECASE)):
        named = [vocabulary.price] if vocabulary.price else []
    if not named and (_AGED.search(about) or any(each.is_decade for each in said_numbers(about))):
        named = [vocabulary.year] if vocabulary.year else []
    if not named:
        numbers = {end for each in said_numbers(about) for end in (each.low, each.high)}
        required = (*reading.state.required, *reading.state.preferred)
        named = [each.attribute for each in required if {each.minimum, each.maximum} & numbers]
    if not named and re.search(r"\b(?:limit|filter|constraint)s?\b", about, re.IGNORECASE):
        named = [each.attribute for each in reading.state.required if not each.values]
    for name in dict.fromkeys(named):
        reading.withdrawn[name] = reading.text.find(about)
        reading.relaxes.append(Change(kind="relax", attribute=name, words=words))
    return bool(named) or any(True for _ in vocabulary.values_in(about))


def _relax_end(reading: MessageReading, about: str, words: str) -> bool:
    """Withdraw the end of a range that an adjective stands for: "not that expensive after all"."""
    vocabulary = reading.vocabulary
    pairs = (
        (_PRICEY, vocabulary.price, r"expensive|pricey|dear|costly"),
        (_AGED, vocabulary.year, r"new|recent|modern"),
    )
    for pattern, attribute, is_high in pairs:
        if attribute is None or not pattern.search(about):
            continue
        name = "minimum" if re.search(is_high, about, re.IGNORECASE) else "maximum"
        if any(getattr(each, name) is not None for each in reading.held(attribute)):
            change = Change(kind="relax", attribute=attribute, words=words)
            reading.relaxes.append(change.with_end(0.0, is_minimum=name == "minimum"))
            return True
        order = reading.state.order
        if order is not None and order.attribute == attribute and order.descending == (name == "minimum"):
            reading.relaxes.append(Change(kind="relax", attribute=attribute, words=words))
            return True
    return False


def _relax_refused(reading: MessageReading, about: str, words: str) -> bool:
    """Withdraw the refusal of values that a message now says are fine."""
    relaxed = False
    for value in reading.vocabulary.values_in(about):
        for name, values in value.attributes.items():
            state = reading.state
            refused = [each for each in (*state.refused, *state.disliked) if each.attribute == name]
            gone = tuple(value for each in refused for value in each.values if value in values)
            if gone:
                reading.relaxes.append(Change(kind="relax", attribute=name, values=gone, words=words))
                relaxed = True
    return relaxed
