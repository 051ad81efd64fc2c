"""A state as a retrieval takes it: constraints, excluded items, a preference and words; items of a superlative."""

from __future__ import annotations

from dataclasses import dataclass

from deeprec.agent.conversation.state import ConversationState
from deeprec.agent.conversation.vocabulary import ConversationCatalogue
from deeprec.trm_tool import Where
from deeprec.trm_tool.catalogue.catalogue import phrase_of
from deeprec.trm_tool.catalogue.merged_where import merge_where

MAX_WORDS_CHARS = 2_000
"""Characters of the words; the newest are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalTerms:
    """What a state asks a recommender for."""

    where: Where | None
    """The hard constraints, as far as one condition an attribute can say them."""
    hard: tuple[Where, ...]
    """Each hard constraint by itself: an item passes all of them (`ConversationCatalogue.passing`)."""
    weighed: tuple[Where, ...]
    """Each condition that only weighs, for a retrieval that is fused with one without them."""
    exclude: tuple[str, ...]
    """Items that are not to come back: in the cart, bought, disliked, or set aside."""
    preference: str | None
    """Phrases of the catalogue that are asked for, joined by `; `."""
    words: str | None
    """What the person said beside the constraints, and has not taken back."""
    history: tuple[str, ...]
    """Items that go behind the person's history: liked, bought, in the cart, and those that new ones shall resemble."""


def retrieval_terms(state: ConversationState) -> RetrievalTerms:
    """Convert a state to what it asks a recommender for. The state holds values as the catalogue writes them."""
    hard = [{each.attribute: each.condition} for each in state.required]
    hard += [{each.attribute: {"not_in": list(each.values)}} for each in state.refused]
    weighed = [{each.attribute: each.condition} for each in state.preferred]
    weighed += [{each.attribute: {"not_in": list(each.values)}} for each in state.disliked]
    phrases = [phrase_of(value) for each in (*state.preferred, *state.required) for value in each.values]
    words = ". ".join(each.text for each in state.said)[-MAX_WORDS_CHARS:]
    return RetrievalTerms(
        where=merge_where(*hard) or None,
        hard=tuple(hard),
        weighed=tuple(weighed),
        exclude=tuple(dict.fromkeys((*state.items_with("in_cart", "bought", "disliked"), *state.set_aside))),
        preference="; ".join(dict.fromkeys(filter(None, phrases))) or None,
        words=words or None,
        history=tuple(dict.fromkeys((*state.items_with("liked", "bought", "in_cart"), *state.similar_to))),
    )


def items_in_order(state: ConversationState, catalogue: ConversationCatalogue) -> tuple[str, ...]:
    """The items that a superlative asks for, from the whole catalogue, with the least (or greatest) number first.

    Items pass every hard constraint. What only weighs narrows them as long as an item is left, unless the superlative
    was asked of everything ("the cheapest thing you have"). Items with the same number have the order of the catalogue,
    so a caller who shows one of them shows all.

    Returns:
        Item ids; empty where no superlative was said, or no item has the number.
    """
    if state.order is None:
        return ()
    terms, attribute = retrieval_terms(state), state.order.attribute
    wheres = list(terms.hard)
    found = catalogue.passing(wheres, terms.exclude)
    for where in () if state.order.everywhere else terms.weighed:
        narrower = catalogue.passing([*wheres, where], terms.exclude)
        if narrower:
            wheres, found = [*wheres, where], narrower
    numbers = {item_id: n for item_id in found if (n := catalogue.number(item_id, attribute)) is not None}
    return tuple(sorted(numbers, key=lambda item_id: numbers[item_id], reverse=state.order.descending))
