"""What a message compares with items, and superlatives: "like the second but older", "cheaper", "the cheapest"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

from deeprec.agent.conversation.clause_context import clause_before, is_negated, is_question
from deeprec.agent.conversation.delta import Change, SaidFeedback
from deeprec.agent.conversation.message_reading import REFERENCE, TAKEN, MessageReading
from deeprec.agent.conversation.state import ItemOrder
from deeprec.agent.conversation.vocabulary import ConversationCatalogue
from deeprec.trm_tool.text import word_set

_SIMILAR = re.compile(
    r"(?:(?<![\w'])(?P<before>[\w']+) )?(?:(?:just|exactly|much|a lot|very) )?"
    rf"(?<!\w)(?P<way>like|similar to|along the lines of|in the style of) (?P<items>{REFERENCE})",
    re.IGNORECASE,
)
_LIKERS = word_set(
    "i we you they she he don't dont not do does didn't really also quite nothing would i'd we'd to less n't longer"
)
"""Words in front of "like" that make it a verb, or refuse what follows."""
_NOT_A_VERB = re.compile(r"(?:^|[^\w'])not$", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"\b(?:do|does|did|would|could|can|will|should|may|might|i|we|you|they|he|she)(?: (?:really|quite|also))* not$",
    re.IGNORECASE,
)
_REFUSES_LIKE = re.compile(
    r"(?:^|[^\w'])not(?: (?:at all|too|very|so much|anything|something|things?|films?|movies?|ones?|another|one))*$"
    r"|^\W*+(?:(?:please|or|and|just|with|also|absolutely|definitely) )*"
    r"(?:no|without|avoid|skip|exclude|except|not|i hate|i dislike|i can't stand)\b"
    r"(?! (?:idea|doubt|problem|wonder|just|only|exactly|necessarily|quite|unlike|sure|bad)\b)"
    r"|\b(?:do not|don't|dont|did not|didn't|never|not|no longer) (?:really )?"
    r"(?:want|need|like|enjoy|love|show|give|recommend|suggest|bring|looking for|in the mood for|interested in|into)\b",
    re.IGNORECASE,
)
"""Before "like" and items, what refuses them plainly: "no films like", "I don't want something like"."""
_OPINION_BEHIND = re.compile(
    r"\s*,?\s*but (?:(?:i|we|really|also|absolutely) )*(?:loved?|liked?|enjoyed|adored|hated?|disliked)\b",
    re.IGNORECASE,
)
_DISLIKES = re.compile(
    r"\b(?:hated?|hates|dislikes?|disliked|detest(?:ed)?|loathed?|less like|skip|avoid|unlike|except|bored of|tired of"
    r"|sick of|no to|rather than|instead of)\b",
    re.IGNORECASE,
)
_ONLY_BUT = re.compile(r"\s*,?\s*(?:but|only|just|except)\b", re.IGNORECASE)
_BUT = re.compile(rf"(?P<items>{REFERENCE})\s*,?\s*(?:but|only|just|except)\b(?! (?:not|don))", re.IGNORECASE)
_COMPARATIVES: tuple[tuple[str, bool, str], ...] = (  # the role of the number, whether more of it is asked for, words
    ("price", False, r"cheaper|less (?:expensive|pricey|costly|money)|more affordable|lower[\s-]priced|costs? less"),
    ("price", False, r"(?:not|nothing|isn'?t) (?:so|that|as|quite so|too|very) (?:expensive|pricey|costly|dear)"),
    ("price", False, r"(?:way |far |much |a bit |a little )?too (?:expensive|pricey|dear|costly|much money)"),
    ("price", True, r"more (?:expensive|upmarket|luxurious)|pricier|dearer|higher[\s-]priced|(?:not )?too cheap"),
    ("year", False, r"older|less (?:recent|modern)|too (?:new|recent|modern)|not (?:so|that|too) (?:new|recent)"),
    ("year", True, r"newer|more (?:recent|modern)|too old|not (?:so|that|as|too) old"),
)  # fmt: skip
_THAN = rf"(?: (?:than|as) (?P<items>{REFERENCE}))?"
_SUPERLATIVES: tuple[tuple[str, bool, str], ...] = (
    ("price", False, r"cheapest|least expensive|lowest[\s-]priced?|most affordable|best priced"),
    ("price", True, r"most expensive|priciest|dearest|highest[\s-]priced?"),
    ("year", False, r"(?:very )?oldest|earliest"),
    ("year", True, r"(?:very )?newest|latest|most recent"),
)
_EVERYWHERE = re.compile(
    r"\b(?:overall|of (?:them )?all|at all|in (?:the|your) (?:whole |entire )?(?:shop|store|catalogue|catalog))\b"
    rf"|(?:(?<={TAKEN})|(?<={TAKEN} thing)|(?<={TAKEN} item)|(?<={TAKEN} one)|(?<={TAKEN} product))"
    r" (?:that )?(?:you|they)(?: have|'ve got| sell| carry| stock)\b",
    re.IGNORECASE,
)
_VAGUE: tuple[tuple[str, bool, str], ...] = (
    ("price", False, r"cheap|inexpensive|affordable|budget[\s-]friendly|on a budget|low[\s-]cost"),
    ("price", True, r"expensive|pricey|high[\s-]end|upmarket|luxur(?:y|ious)"),
    ("year", False, r"old|classic|vintage"),
    ("year", True, r"recent|modern"),
)


def find_similar(reading: MessageReading) -> None:
    """Find the items that new ones are to resemble: "more like the second", "the third, but in blue"."""
    for found in reading.find(_SIMILAR):
        before = clause_before(reading.text, found.start("way")).rstrip()
        is_verb = found["way"].lower() == "like" and (found["before"] or "").lower() in _LIKERS
        is_verb = is_verb and not (_NOT_A_VERB.search(before) and not _AUXILIARY.search(before))
        if is_verb and not (_ONLY_BUT.match(reading.text, found.end()) and found["before"].lower() in ("i", "we")):
            continue  # "I like the second" is feedback
        refused = _REFUSES_LIKE.search(before)
        if not is_verb and (refused is not None or is_negated(before)):
            ids = reading.referred_ids(found["items"])
            is_plain = refused is not None and not is_question(before)
            behind = len(before) - refused.start() + 1 if refused is not None and is_plain else 0
            words = reading.take(max(0, found.start("way") - behind), found.end("items"))
            if is_plain and ids:
                reading.feedback.append(SaidFeedback(kind="disliked", item_ids=ids, words=words))
            continue
        reading.similar_to += reading.referred_ids(found["items"])
        reading.take(found.start(), found.start("items"))
    for found in reading.find(_BUT):
        before = clause_before(reading.text, found.start("items"))
        if is_negated(before) or _DISLIKES.search(before) or _OPINION_BEHIND.match(reading.text, found.end("items")):
            continue  # "I hated Alien but loved Babe"
        reading.similar_to += reading.referred_ids(found["items"])
        reading.take(found.end("items"), found.end())


def find_superlatives(reading: MessageReading) -> None:
    """Find the superlative of a message. What stands with it weighs, and narrows it (`items_in_order`)."""
    for role, descending, attribute, pattern in _patterns(reading.vocabulary, _SUPERLATIVES, _SUPERLATIVE_OF):
        for found in reading.find(re.compile(rf"\b(?:the |your )?(?:{pattern})\b", re.IGNORECASE)):
            words = reading.take(*found.span())
            if attribute is None:
                reading.lacks(role)
                continue
            everywhere = None
            for everywhere in reading.find(_EVERYWHERE):
                reading.take(*everywhere.span())
            reading.order = ItemOrder(
                attribute=attribute, descending=descending, everywhere=everywhere is not None, words=words
            )


def find_comparatives(reading: MessageReading) -> None:
    """Find "cheaper", "older" and the like: a bound below or above the items that they are said of.

    Without a reference they are said of the list that was shown last, by its median: half of it is cheaper already, and
    a whole list below its cheapest item would often be empty. Before any list, a bound that holds stands in its place.
    """
    for role, more, attribute, pattern in _patterns(reading.vocabulary, _COMPARATIVES, _COMPARATIVE_OF):
        for found in reading.find(re.compile(rf"\b(?:{pattern})\b{_THAN}", re.IGNORECASE)):
            if _compares(reading, found):
                continue
            if attribute is None:
                reading.lacks(role)
                reading.take(*found.span())
                continue
            change = _relative(reading, attribute, more, found)
            if change is not None:
                reading.sets.append(change)
            reading.take(found.start(), found.end() if not found["items"] else found.start("items"))


def find_vague_numbers(reading: MessageReading) -> None:
    """Find adjectives that stand for a number without naming one, such as "cheap": they weigh."""
    for role, more, pattern in _VAGUE:
        attribute = reading.vocabulary.price if role == "price" else reading.vocabulary.year
        for found in reading.find(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)):
            if attribute is None:
                continue
            numbers = _numbers(reading.vocabulary, attribute, reading.vocabulary.passing(()))
            words = reading.words(*found.span())
            change = Change(kind="set", attribute=attribute, hard=False, words=words)
            reading.sets.append(change.with_end(float(median(numbers)), is_minimum=more))
            reading.take(*found.span())


_COMPARATIVE_OF = (
    (True, r"(?:more|higher|greater|bigger|larger|longer|better)"),
    (False, r"(?:less|lower|smaller|shorter|fewer)"),
)
_SUPERLATIVE_OF = (
    (True, r"(?:most|highest|greatest|biggest|largest|longest|best)"),
    (False, r"(?:least|lowest|smallest|shortest|fewest)"),
)


def _patterns(
    vocabulary: ConversationCatalogue,
    by_role: Sequence[tuple[str, bool, str]],
    by_name: Sequence[tuple[bool, str]],
) -> list[tuple[str, bool, str | None, str]]:
    """(what the number is, whether more of it is asked for, the attribute, the pattern of the words)."""
    roles = {"price": vocabulary.price, "year": vocabulary.year}
    found = [(role, more, roles[role], pattern) for role, more, pattern in by_role]
    for name in vocabulary.numbers:
        spelt = re.escape(name.replace("_", " "))
        found += [(name, more, name, rf"{adjective} {spelt}s?") for more, adjective in by_name]
    return found


def _compares(reading: MessageReading, found: re.Match[str]) -> bool:
    """Whether a comparative only asks which of several items has more, or is it said of an item in a question."""
    before = reading.text[: found.start()]
    return bool(re.search(r"\b(?:which|what|who)\b[^.;!]*\b(?:is|are|one|costs?)\s*$", before, re.IGNORECASE)) or bool(
        re.search(rf"(?:^|[.;!?]\s*)(?:is|are|was) {REFERENCE}\s*$", before, re.IGNORECASE)
    )


def _relative(reading: MessageReading, attribute: str, more: bool, found: re.Match[str]) -> Change | None:
    """The bound that a comparative states; None, with the reason noted, where nothing says in relation to what."""
    state, vocabulary = reading.state, reading.vocabulary
    words = reading.words(found.start(), found.start("items") if found["items"] else found.end())
    ids: Sequence[str] = reading.referred_ids(found["items"]) if found["items"] else ()
    if found["items"] and not ids:
        return None  # the reference says itself why it is not resolved
    ids = ids or _subject(reading, found.start())
    reading.compared += ids
    ids = ids or reading.similar_to[-1:] or state.last_list
    numbers = _numbers(vocabulary, attribute, ids)
    if numbers:
        at = float(median(numbers))
    else:
        ends = [each.minimum if more else each.maximum for each in state.required if each.attribute == attribute]
        held = [end for end in ends if end is not None]
        if not held and attribute == vocabulary.year:  # "an older film" compares with nothing
            every = _numbers(vocabulary, attribute, vocabulary.passing(()))
            vague = Change(kind="set", attribute=attribute, hard=False, words=words)
            return vague.with_end(float(median(every)), is_minimum=more)
        if not held:
            reading.not_clear(words, "No list was shown yet that this could be said in relation to.")
            return None
        at = held[-1]
    every = _numbers(vocabulary, attribute, vocabulary.passing(()))
    beyond = [number for number in every if (number > at if more else number < at)]
    if not beyond:
        end_of = "more" if more else "less"
        reading.not_clear(words, f"No item of the catalogue has {end_of} than {at:.12g} as {attribute}.")
        return None
    end = min(beyond) if more else max(beyond)
    return Change(kind="set", attribute=attribute, words=words).with_end(end, is_minimum=more)


def _subject(reading: MessageReading, start: int) -> tuple[str, ...]:
    """The items that a comparative is said of: "the second is too expensive"."""
    before = re.search(rf"(?P<items>{REFERENCE})\s*(?:'s|is|are|looks?|seems?|was)?\s*$", reading.text[:start])
    return reading.referred_ids(before["items"]) if before else ()


def _numbers(vocabulary: ConversationCatalogue, attribute: str, item_ids: Sequence[str]) -> list[float]:
    return [number for item_id in item_ids if (number := vocabulary.number(item_id, attribute)) is not None]
