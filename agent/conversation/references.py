"""References to shown items: "the second", "the black one", "that last one", "both", a title. English alone is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deeprec.agent.conversation.delta import Unresolved
from deeprec.agent.conversation.message_reading import CART, MessageReading, Reference
from deeprec.agent.conversation.vocabulary import ConversationCatalogue
from deeprec.trm_tool.catalogue.phrase_spotting import fold_words
from deeprec.trm_tool.catalogue.said_titles import is_lower_case

_ORDINALS = {
    word: position
    for position, word in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=1
    )
}
_COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5}
_NOUN = r"(?:one|ones|item|product|film|movie|option|result|pick|suggestion)"
_ORDINAL = re.compile(
    r"(?<!\w)(?:(?P<article>the|that|this|your|my) (?:very )?)?"
    r"(?:(?:(?:number|no\.|nr\.?|option|item|result)\s*#?|#)(?P<number>\d{1,2})|(?P<figure>\d{1,2})(?:st|nd|rd|th)"
    rf"|(?P<word>{'|'.join(_ORDINALS)}|last|final|middle))\b"
    rf"(?: (?P<count>two|three|four|five|[2-5])\b)?(?P<noun> {_NOUN}\b)?"
    r"(?! (?:time|thing|place|half|hand|week|month|year|day|night|name|choice|step|of all|world|class|date)\b)",
    re.IGNORECASE,
)
_ONE = re.compile(
    r"\b(?:the|that|this) (?P<about>(?:[\w'-]+ ){1,5}?)ones?\b(?P<more> (?:from|by|in|with) [\w' -]{2,40})?"
    r"|\b(?:the|that) one (?:from|by|in|with|that is|that's) (?P<behind>[\w' -]{2,40})",
    re.IGNORECASE,
)
_DEFINITE = re.compile(r"\b(?:the|that|this) (?=[^\W\d_])", re.IGNORECASE)
_OUT_OF_CART = re.compile(
    rf"\b(?:remove|take|drop|delete) (?P<what>[^.;!?]{{1,60}}?) (?:out of|from|off) {CART}", re.IGNORECASE
)
_NUMBERS_FOR_CART = re.compile(
    rf"\b(?:add|put|place|drop|stick|pop) (?P<what>#?\d{{1,2}}(?:(?:\s*,\s*(?:and )?| and | & )#?\d{{1,2}})*) "
    rf"(?:to|in|into) {CART}",
    re.IGNORECASE,
)
_JOINT = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+", re.IGNORECASE)
_EXAMPLE = re.compile(
    r"\b(?:like|similar to|along the lines of|in the style of|liked|loved?|enjoy(?:ed)?|adored?|seen|saw|watched"
    r"|hated?)\s+(?P<verb>)(?=[^\W_])",
    re.IGNORECASE,
)
"""Words behind which a title of the catalogue is an example, or something that the person has an opinion of."""
_TASTE = re.compile(
    r"(?:\b(?:i|we|you|they|he|she|who|people|really|also|quite|do|don't|not|always|absolutely|still|would|just)"
    r"|'d)\s*(?:like|loves?|enjoy|hate)\s*$",
    re.IGNORECASE,
)
"""Before a title, a verb of taste of which any noun is the object: "I like beautiful girls" names no film."""
_FURTHER = re.compile(r"(?:\s*,)?(?:\s*(?:and|or)\b)?\s+(?P<verb>)(?=[A-Z0-9])")
"""Between two titles in a row."""
_ARTICLES = re.compile(r"(?:(?:the|film|movie)\s+)*", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:the|my|that|this)\s", re.IGNORECASE)
_THIS_ONE = re.compile(r"\b(?:that|this) (?:last )?(?:one|film|movie|item|product)\b", re.IGNORECASE)
_OTHER = re.compile(r"\bthe other(?: one)?\b(?! \w+s\b)", re.IGNORECASE)
_ALL = re.compile(
    r"\b(?:both(?: of (?:them|these|those))?|(?:all|any|none) of (?:them|these|those)|these (?:ones|two|three)"
    r"|those (?:ones|two|three)?|them all)(?! \w+s\b)(?!\w)",
    re.IGNORECASE,
)
_PRONOUNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:like|than|love|hate|want|take|have|seen|from|with|does|will|keep|read|what|about|to"
        r"|liked|loved|order|bought|remove|watch|tried|dislike) (?P<it>it|that|this|them)\b"
        r"(?! (?:one|much|kind|sort|many)\b)",
        r"\b(?:own|buy|add|put|get|was|are|has|did|can|for|is) (?P<it>it|them)\b",
        r"(?:^|[.,;!?]\s)(?P<it>it|that|this|they|those|these)(?=(?:'s| (?:is|was|looks|seems|are|look))\b)",
    )
)
_EXTREMES = {  # adjective -> role of the number, and whether the greatest is meant
    **dict.fromkeys(("cheap", "cheaper", "cheapest", "least expensive", "less expensive"), ("price", False)),
    **dict.fromkeys(("expensive", "most expensive", "more expensive", "priciest", "dearest"), ("price", True)),
    **dict.fromkeys(("old", "older", "oldest", "earliest", "earlier"), ("year", False)),
    **dict.fromkeys(("new", "newer", "newest", "latest", "most recent", "later"), ("year", True)),
}
_SUPERLATIVE = r"(?P<about>cheapest|least expensive|most expensive|priciest|oldest|newest|latest|most recent)"
_OF_THE_SHOWN = (
    re.compile(
        rf"(?P<whole>\b(?:the )?{_SUPERLATIVE}(?: (?:one|item|film|movie))? (?:of|from|among|in) "
        r"(?:them|these|those|(?:the|this|that|your) list))\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\b(?:take|buy|order|like|love|add) (?P<whole>the {_SUPERLATIVE}(?: one)?)\b", re.IGNORECASE),
)


def find_references(reading: MessageReading) -> None:
    """Find the references of a message to items that were shown, and put marks in their places.

    The list that was shown last is meant, by its positions, by what only one of its items has, or by a title. What is
    in the cart is meant by a title, or by what it is where it is to be removed. Where several items fit, the
    reference is unresolved: nothing is chosen in silence.
    """
    shown = reading.state.last_list
    _titles(reading)
    _examples(reading)
    _in_cart(reading)
    if not shown:
        for pattern in _PRONOUNS if reading.references else ():  # "I liked Alien, more like that"
            for found in reading.find(pattern):
                _pronoun(reading, found["it"].lower(), *found.span("it"), shown)
        return
    for pattern in _OF_THE_SHOWN:
        for found in reading.find(pattern):
            fitting = _extreme(reading.vocabulary, found["about"].lower(), shown)
            _refer_to(reading, found.start("whole"), found.end("whole"), fitting)
    for found in reading.find(_NUMBERS_FOR_CART):
        for number in re.compile(r"#?(\d+)").finditer(reading.text, *found.span("what")):
            position = int(number[1])
            _refer_to_some(reading, number, shown[position - 1 : position] if position else (), 1, len(shown))
    _ordinals(reading, shown)
    _described(reading, shown)
    for found in reading.find(_ALL):
        both = 2 if found[0].lower().startswith("both") else None
        count = next((n for word, n in _COUNTS.items() if word in found[0].lower()), both)
        _refer_to_some(reading, found, shown[:count], count or len(shown), len(shown))
    for found in reading.find(_OTHER):
        named = {item_id for each in reading.references for item_id in each.item_ids} or set(reading.state.focus)
        if len(shown) == 2 and len(named) == 1:
            _refer(reading, found, [item_id for item_id in shown if item_id not in named])
    focus = reading.state.focus or (shown if len(shown) == 1 else ())
    for found in reading.find(_THIS_ONE):
        _refer_to(reading, found.start(), found.end(), focus[-1:] if focus else shown)
    for pattern in _PRONOUNS:
        for found in reading.find(pattern):
            _pronoun(reading, found["it"].lower(), *found.span("it"), shown)


def _pronoun(reading: MessageReading, word: str, start: int, end: int, shown: Sequence[str]) -> None:
    """Refer to what the message named last, else to what the conversation did, else to a list of one item."""
    many = word in ("them", "they", "those", "these")
    named = [each.item_ids for each in reading.references if each.item_ids]
    meant = named[-1] if named else reading.state.focus or (shown if many or len(shown) == 1 else ())
    words = reading.words(start, end)
    if many or (meant and len(meant) == 1):
        reading.refer(start, end, Reference(words=words, item_ids=tuple(meant)))
    else:
        _refer_to(reading, start, end, meant or shown)


def _ordinals(reading: MessageReading, shown: Sequence[str]) -> None:
    for found in reading.find(_ORDINAL):
        before = reading.text[: found.start()].rstrip()
        goes_on = before.endswith(("and", "or", ",", "&")) and bool(reading.references)
        is_numbered = bool(found["number"] or (found["figure"] and found["article"]))
        if not (found["article"] or found["noun"] or is_numbered or goes_on):
            continue
        count = int(_COUNTS.get((found["count"] or "").lower(), found["count"] or 1))
        word = (found["word"] or "").lower()
        if word in ("last", "final"):
            chosen = shown[-count:]
        elif word == "middle":
            chosen = shown[len(shown) // 2 :][:1]
        else:
            position = _ORDINALS.get(word) or int(found["number"] or found["figure"] or 0)
            chosen = shown[position - 1 : position - 1 + count] if position else ()
        if chosen or found["article"] or is_numbered:
            _refer_to_some(reading, found, chosen, count, len(shown))


def _described(reading: MessageReading, shown: Sequence[str]) -> None:
    """References by what an item has: "the black one", "the one from Foxtarn", "the Foxtarn kettle"."""
    for found in reading.find(_ONE):
        about = found["about"] or found["behind"]
        extreme = _extreme(reading.vocabulary, about.strip().lower(), shown)
        fitting = extreme or _having(reading.vocabulary, about + (found["more"] or ""), shown)
        end = found.end()
        if found["behind"] is not None or found["more"] is not None:
            last = max((v.end for v in reading.vocabulary.values_in(found[0])), default=len(found[0]))
            end = found.start() + max(last, len(found[0]) - len(found["more"] or found["behind"] or ""))
        is_several = found[0].lower().rstrip().endswith("ones")
        if is_several and fitting:
            _refer(reading, found, fitting)
        elif fitting:
            _refer_to(reading, found.start(), end, fitting)
    for found in reading.find(_DEFINITE):
        run = _run_of_values(reading.vocabulary, reading.text[found.end() : found.end() + 80])
        is_plural = run.endswith("s") and not any(
            run.casefold().endswith(value.casefold())
            for item_id in shown
            for name in reading.vocabulary.kinds
            for value in reading.vocabulary.item_values(item_id, name)
        )
        fitting = _having(reading.vocabulary, run, shown) if run and not is_plural else ()
        if len(fitting) == 1:
            _refer_to(reading, found.start(), found.end() + len(run), fitting)


def _in_cart(reading: MessageReading) -> None:
    """References to what is in the cart by what it is: "remove the black rug from my cart"."""
    for found in reading.find(_OUT_OF_CART):
        what, start = found["what"], found.start("what")
        in_cart = reading.state.items_with("in_cart")
        joints = list(_JOINT.finditer(what))
        if not joints:
            _refer_to(reading, start, found.end("what"), _having(reading.vocabulary, what, in_cart))
            continue
        lows = [start, *(start + joint.end() for joint in joints)]
        highs = [*(start + joint.start() for joint in joints), found.end("what")]
        parts = [(low, high, reading.text[low:high]) for low, high in zip(lows, highs, strict=True)]
        if not all(reading.referred(part) or _ARTICLE.match(part) for _, _, part in parts):
            fitting = _having(reading.vocabulary, what, in_cart)  # "the black and white rug"
            _refer_to(reading, start, found.end("what"), fitting)
            continue
        for low, high, part in parts:
            fitting = _having(reading.vocabulary, part, in_cart)
            if fitting:
                _refer_to(reading, low, high, fitting)
            elif not reading.referred(part):
                reason = "Nothing in your cart is meant by that."
                unresolved = Unresolved(words=reading.words(low, high), reason=reason)
                reading.refer(low, high, Reference(words=unresolved.words, item_ids=(), unresolved=unresolved))


def _run_of_values(vocabulary: ConversationCatalogue, text: str) -> str:
    """The values that stand at the beginning of a text with nothing but spaces between them."""
    end = 0
    for value in vocabulary.values_in(text):
        if text[end : value.start].strip():
            break
        end = value.end
    return text[:end]


def _having(vocabulary: ConversationCatalogue, about: str, shown: Sequence[str]) -> tuple[str, ...]:
    """The shown items that have every value that a text names; none where it names none."""
    named = list(vocabulary.values_in(about))
    if not named:
        return ()
    return tuple(
        item_id
        for item_id in shown
        if all(
            any(set(values) & set(vocabulary.item_values(item_id, name)) for name, values in value.attributes.items())
            for value in named
        )
    )


def _extreme(vocabulary: ConversationCatalogue, about: str, shown: Sequence[str]) -> tuple[str, ...]:
    """The shown items with the least or the greatest number that an adjective names, all of those that share it."""
    role, greatest = _EXTREMES.get(about, ("", False))
    attribute = {"price": vocabulary.price, "year": vocabulary.year}.get(role)
    numbers = {i: n for i in shown if attribute and (n := vocabulary.number(i, attribute)) is not None}
    if not numbers:
        return ()
    end = (max if greatest else min)(numbers.values())
    return tuple(item_id for item_id, number in numbers.items() if number == end)


def _titles(reading: MessageReading) -> None:
    """References by the whole title of an item that was shown or is in the cart.

    A title of one word is meant only as it is written, with its capital letter.
    """
    named: dict[str, list[str]] = {}
    shown = [each.item_id for each in sorted(reading.state.shown, key=lambda each: -each.turn)]
    for item_id in (*shown, *reading.state.items_with("in_cart")):
        title = reading.vocabulary.catalogue.item(item_id).title
        if item_id not in named.setdefault(title, []):
            named[title].append(item_id)
    for title in sorted(named, key=len, reverse=True):
        words = title if len(fold_words(title)) > 1 else ""
        article = r"(?:\b[Tt]he |\b[Mm]y |\b[Tt]h(?:at|is) )?"
        pattern = re.compile(rf"{article}(?<!\w){re.escape(words or title)}(?!\w)", re.IGNORECASE if words else 0)
        if not fold_words(title):
            continue
        for found in reading.find(pattern):
            _refer_to(reading, found.start(), found.end(), named[title])


def _examples(reading: MessageReading) -> None:
    """References by the title of an item that was not shown, where the words name it as an example: "like Toy Story".

    A title that several items have means all of them.
    """
    vocabulary = reading.vocabulary
    for found in reading.find(_EXAMPLE):
        begins: re.Match[str] | None = found
        while begins is not None:
            first, begins = begins.end("verb"), None
            for start in dict.fromkeys((first, _ARTICLES.match(reading.text, first).end())):  # type: ignore[union-attr]
                titled = vocabulary.titled_at(reading.text, start)
                if titled is not None and _names_item(reading, start, titled[0]):
                    end, item_ids = titled
                    reading.refer(first, end, Reference(words=reading.words(start, end), item_ids=item_ids))
                    begins = _FURTHER.match(reading.text, end)
                    break


def _names_item(reading: MessageReading, start: int, end: int) -> bool:
    """Whether a title of the catalogue is meant as one: it is not made of values, nor what a person likes at large."""
    title = reading.text[start:end]
    if reading.vocabulary.is_values(title):
        return False
    return not (is_lower_case(title.split()) and _TASTE.search(reading.text[:start]))


def _refer_to_some(
    reading: MessageReading, found: re.Match[str], item_ids: Sequence[str], count: int, listed: int
) -> None:
    """Refer to so many items of the last list; where it has fewer, the reference is unresolved."""
    if len(item_ids) == count:
        _refer(reading, found, item_ids)
        return
    words = reading.words(found.start(), found.end())
    unresolved = Unresolved(words=words, reason=f"The last list has {listed} item{'s' if listed > 1 else ''}.")
    reading.refer(found.start(), found.end(), Reference(words=words, item_ids=(), unresolved=unresolved))


def _refer(reading: MessageReading, found: re.Match[str], item_ids: Sequence[str]) -> None:
    words = reading.words(found.start(), found.end())
    reading.refer(found.start(), found.end(), Reference(words=words, item_ids=tuple(item_ids)))


def _refer_to(reading: MessageReading, start: int, end: int, item_ids: Sequence[str]) -> None:
    """Refer to one item; where several fit, the reference is unresolved."""
    while end > start and reading.text[end - 1] == " ":
        end -= 1
    words = reading.words(start, end)
    if len(item_ids) == 1:
        reading.refer(start, end, Reference(words=words, item_ids=tuple(item_ids)))
    elif item_ids:
        shown = "shown" if set(item_ids) <= {each.item_id for each in reading.state.shown} else "in your cart"
        reason = f"{len(item_ids)} of the items {shown} fit."
        unresolved = Unresolved(words=words, item_ids=tuple(item_ids), reason=reason)
        reading.refer(start, end, Reference(words=words, item_ids=(), unresolved=unresolved))
