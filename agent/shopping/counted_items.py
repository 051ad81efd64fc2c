"""How many items the catalogue has that meet what a question names: "how many black kettles do you have?"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    apply_delta,
    delta_of_message,
    retrieval_terms,
)
from deeprec.agent.conversation.said_text import content_words
from deeprec.agent.conversation.state import alternatives
from deeprec.agent.shopping.item_records import ItemRecords
from deeprec.agent.shopping.wording import joined
from deeprec.trm_tool.text import plain, word_set

MAX_NAMED = 5
"""Words of a question that are named where the count does not go by them."""
_BEHIND = (
    r"do|does|did|are|is|were|was|have|has|can|could|will|would|exist|under|over|below|above|from|with|without|in|for|that|which"
    r"|who|at|of|by|between|after|before|since|more|less|a|an|the|my"
)
_HOW_MANY = re.compile(
    r"^\W*(?:(?:and|so|but|ok|okay|hi|hello|hey|please|well|tell me)\b\W*)*how many\b(?: of (?:the|your|all)(?: the)?)?"
    r"(?: (?:different|other|such|more))*\s*(?P<subject>[\w'-]+(?: (?!do\b|are\b|have\b)[\w'-]+){0,3}?)??"
    rf"(?=\s*(?:$|[?.!,;]|\b(?P<behind>{_BEHIND})\b))",
    re.IGNORECASE,
)
_OF_LIST = re.compile(r"^\W*(?:(?:and|so|but|ok|okay|tell me)\b\W*)*how many of (?:these|those|them)\b", re.IGNORECASE)
_OF_ITEMS = re.compile(
    r"\b(?:of|does|do|is|are|was|were|has|have|in|on|for|with) (?:this|that|them|these|those|he|she|they)\b|\bit\b",
    re.IGNORECASE,
)
"""A question about items of a list, or about one of them: "how many of these", "how many seasons does it have"."""
_OF_THE_PAST = re.compile(r"\bdid\b|\b(?:do|have|had|should) (?:i|we)\b", re.IGNORECASE)
"""A question about what people did, have or need: "how many did I like"."""
_MORE_SAID = re.compile(
    r"[?.!;]+\s+(?!(?:and |so |but )?how many\b)(?P<rest>\S.*)"
    r"|(?:,|\band\b|\bbut\b|\bthen\b)\s*(?:please )?(?P<asks>i|i'[dm]|we|show|give|find|recommend|suggest|add|put)\b",
    re.IGNORECASE | re.DOTALL,
)
"""What a message says beside its question, and what a question alone does not ask for."""
_BARE = word_set("do are have under over below above from with without in between after before since more less") | {
    None
}
"""What may stand directly behind "how many" where it counts what is asked for."""
_OWNED = re.compile(
    r"\s*(?:(?:do you|does (?:the|this|your) shop) (?:have|sell|carry|stock|offer)|are there|have you(?: got)?|are in"
    r"|exist|in (?:stock|total|all|the (?:shop|catalogue))|$|[?.!,;])",
    re.IGNORECASE,
)
_THINGS = word_set(
    "article articles film films item items movie movies one ones product products thing things title titles"
)
_NOT_COUNTED_BY = _THINGS | word_set(
    "altogether available carry catalogue exist exists offer sell shop stock store total"
)


def counted_subject(message: str, catalogue: ConversationCatalogue) -> str | None:
    """What a question counts, as it was written; "" where it only says "how many", and None where it asks for no count.

    What is counted are items, by a value or by a word for them, or the values of an attribute. "How many people fit in
    it?" asks for no count of items.
    """
    found = _HOW_MANY.match(message)
    if found is None or _OF_ITEMS.search(message) or _OF_THE_PAST.search(message) or _says_more(message):
        return None
    subject = found["subject"] or ""
    if not subject:
        return "" if (found["behind"] or "").lower() in _BARE or found["behind"] is None else None
    is_known = (
        not _THINGS.isdisjoint(subject.lower().split())
        or next(iter(catalogue.values_in(subject)), None) is not None
        or next(iter(catalogue.attributes_in(subject)), None) is not None
    )
    return subject if is_known or _OWNED.match(message, found.end()) else None


def counts_list(message: str) -> bool:
    """Whether a question counts items of the list that was shown: "how many of these are washable?"."""
    return _OF_LIST.match(message) is not None and not _says_more(message)


def _says_more(message: str) -> bool:
    """Whether a message asks for something beside its question: "how many kettles are there? I want a black one"."""
    return any(
        found["asks"] or content_words(found["rest"]) or any(map(str.isdigit, found["rest"]))
        for found in _MORE_SAID.finditer(message.replace("’", "'"))
    )


def list_count_line(message: str, item_ids: Sequence[str], catalogue: ConversationCatalogue) -> str:
    """The answer to a question how many items of a list have what it names."""
    own = apply_delta(ConversationState(), delta_of_message(message, ConversationState(), catalogue))
    number = len(_passing(own, catalogue).intersection(item_ids))
    conditions = joined(_conditions(own, ItemRecords(catalogue)))
    if not conditions:
        return f"The last list has {len(item_ids)} {'items' if len(item_ids) > 1 else 'item'}."
    return f"{number} of the {len(item_ids)} items of the last list {'has' if number == 1 else 'have'} {conditions}."


def count_lines(message: str, before: ConversationState, catalogue: ConversationCatalogue) -> Iterator[str]:
    """The answer to a question how many items the catalogue has, on lines.

    The conditions of the question are counted by themselves, and once more together with what was asked for before.

    Args:
        message: The question.
        before: What is known before it; a question adds nothing to it.
        catalogue: The catalogue, laid out.
    """
    records = ItemRecords(catalogue)
    subject = counted_subject(message, catalogue) or ""
    delta = delta_of_message(message, ConversationState(), catalogue)
    own = apply_delta(ConversationState(), delta)
    both = apply_delta(before, delta_of_message(message, before, catalogue))
    attribute = next((each.attribute for each in catalogue.attributes_in(subject)), None)
    if attribute is not None and attribute not in catalogue.numbers:
        yield f"{records.label(attribute)}: {_different(attribute, own, catalogue)}."
        if _conditions(both, records) != _conditions(own, records):
            yield f"With all that you asked for so far: {_different(attribute, both, catalogue)}."
        return
    lacks = _not_counted(subject, catalogue)
    if lacks and lacks[-1] == subject.lower().split()[-1]:  # the thing itself
        words = plain(subject, 80)
        is_known = catalogue.knows_word(lacks[-1])
        yield (
            f"No attribute says {words!r}, so it is not counted."
            if is_known
            else f"Nothing in this catalogue has {words!r}."
        )
        return
    conditions, all_conditions = _conditions(own, records), _conditions(both, records)
    if subject or not all_conditions:
        yield _sentence(len(_passing(own, catalogue)), conditions)
    if all_conditions and (all_conditions != conditions or not subject):
        so_far = "With all that you asked for so far: " if subject else ""
        yield so_far + _sentence(len(_passing(both, catalogue)), all_conditions)
    if others := _not_counted(delta.said, catalogue):
        yield f"The count does not go by {joined([repr(plain(word, 80)) for word in others[:MAX_NAMED]], 'or')}."


def _different(attribute: str, state: ConversationState, catalogue: ConversationCatalogue) -> str:
    values = {value for each in _passing(state, catalogue) for value in catalogue.item_values(each, attribute)}
    number = len(values.intersection(catalogue.values_of(attribute)))
    return f"{number:,} different {'one' if number == 1 else 'ones'}"


def _passing(state: ConversationState, catalogue: ConversationCatalogue) -> frozenset[str]:
    """The items that meet all that a state asks for, also what only weighs."""
    found = frozenset(catalogue.passing(retrieval_terms(state).hard))
    for either in alternatives(state.preferred):
        found &= frozenset().union(*(catalogue.passing([{each.attribute: each.condition}]) for each in either))
    return found


def _conditions(state: ConversationState, records: ItemRecords) -> list[str]:
    parts = [records.condition_text({each.attribute: each.condition}) for each in state.required]
    parts += [records.refusal_text(each) for each in state.refused]
    for either in alternatives(state.preferred):
        parts.append(joined([records.condition_text({each.attribute: each.condition}) for each in either], "or"))
    return parts


def _sentence(number: int, conditions: list[str]) -> str:
    items = f"{number:,} {'items' if number > 1 else 'item'}" if number else "no item"
    if not conditions:
        return f"The catalogue has {items}."
    return f"{items.capitalize()} of the catalogue {'have' if number > 1 else 'has'} {joined(conditions)}."


def _not_counted(text: str, catalogue: ConversationCatalogue) -> list[str]:
    """The words of a text that may name something, and that are neither a value nor a word for items or attributes."""
    places = [(each.start, each.end) for each in catalogue.values_in(text)]
    places += [(each.start, each.end) for each in catalogue.attributes_in(text)]
    for start, end in sorted(places, reverse=True):
        text = f"{text[:start]} {text[end:]}"
    return [word for word in dict.fromkeys(content_words(text)) if word not in _NOT_COUNTED_BY]
