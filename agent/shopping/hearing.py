"""A message and a person's own edit are read into the state, and what the turn answers is decided."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    StateDelta,
    apply_delta,
    check_delta,
    delta_of_message,
    read_delta,
)
from deeprec.agent.conversation.said_text import FUNCTION_WORDS, content_words, left_over
from deeprec.agent.conversation.unknown_things import is_understood
from deeprec.agent.shopping.intents import asks, intent_of, intent_of_edit, wants_more
from deeprec.agent.shopping.shopping_input import storable_edit
from deeprec.agent.shopping.turn_plan import TurnPlan
from deeprec.trm_tool.catalogue.german import is_german, read_in_english
from deeprec.trm_tool.text import plain, whole_characters, word_set

MAX_CHARS = 2_000
"""Characters of a message that are read."""
GERMAN = "de"
READS_GERMAN = "Ich lese Deutsch und antworte auf Englisch."
"""What a person reads once who writes German: German is read, by a table and by the encoder, and not written."""
CUT = f"Only the first {MAX_CHARS:,} characters of the message were read."

UNUSED = "Nothing was done with {words!r}. Say what you think of it, or ask about it."

_THINGS = FUNCTION_WORDS | word_set("film films movie movies item items product products thing things please")


def plan_turn(
    text: str,
    before: ConversationState,
    catalogue: ConversationCatalogue,
    *,
    edit: Mapping[str, Any] | None = None,
    last: TurnPlan | None = None,
) -> tuple[TurnPlan, ConversationState]:
    """Read what a person wrote and changed by hand, and decide what to answer.

    Args:
        text: The message; empty where there is none.
        before: What is known before it.
        catalogue: The catalogue, laid out.
        edit: A change by hand, as `read_delta` reads it.
        last: The turn before. Where it asked which item was meant, and the message names one, its message is read
            again with that item.

    Returns:
        The turn, and what is known behind the message and the edit.
    """
    problems = [CUT] if len(text) > MAX_CHARS else []
    text = whole_characters(text[:MAX_CHARS])
    delta = delta_of_message(text, before, catalogue)
    names_only = not asks(text) and intent_of(text, delta, apply_delta(before, delta), catalogue)[0] == "facts"
    if names_only and (resolved := _resolved(delta, before, last, catalogue)) is not None:
        text, delta = resolved, delta_of_message(resolved, before, catalogue)
    after, actions = apply_delta(before, delta), delta.actions
    english = read_in_english(text).text
    intent, item_ids = intent_of(english, delta, after, catalogue)
    if intent == "count":  # a question asks for nothing
        delta = StateDelta(turn=delta.turn)
        after = apply_delta(before, delta)
    if edit is not None:
        edited, unread = read_delta(storable_edit(edit), turn=after.turn, source="person")
        checked = check_delta(edited, after, catalogue, "")
        after = apply_delta(after, checked.delta)
        actions += checked.delta.actions
        problems += [each.reason for each in (*unread, *checked.problems)]
        if not text:
            intent, item_ids = intent_of_edit(checked.delta)
    if intent == "comparison" or (delta.order is None and _wishes_beyond_values(delta.said, catalogue)):
        after = replace(after, order=before.order if intent == "comparison" else None)
    if is_german(text, least=2) and before.language != GERMAN:
        after, problems = replace(after, language=GERMAN), [*problems, READS_GERMAN]
    if intent == "search":
        problems += [UNUSED.format(words=plain(words, 80)) for words in dict.fromkeys(delta.unused)]
    if intent != "search":  # a question is no wish, so that no retrieval hears its words
        after = replace(after, said=tuple(each for each in after.said if each.turn != after.turn))
    plan = TurnPlan(
        intent=intent,
        message=text[:MAX_CHARS],
        before=before,
        item_ids=item_ids,
        unresolved=delta.unresolved,
        actions=actions,
        problems=tuple(problems),
        not_understood="" if intent != "search" or edit is not None else _not_understood(delta, text, catalogue),
        wants_more=wants_more(english),
    )
    return plan, after


def _not_understood(delta: StateDelta, text: str, catalogue: ConversationCatalogue) -> str:
    """What was said, where it is no wish by the words of the catalogue; German words are for the encoder to map."""
    stated = (delta.changes, delta.order, delta.feedback, delta.actions, delta.similar_to, delta.references)
    if any(stated) or delta.set_aside or delta.missing or delta.unresolved or is_german(text):
        return ""
    return delta.said if content_words(delta.said) and not is_understood(delta.said, catalogue) else ""


def _wishes_beyond_values(said: str, catalogue: ConversationCatalogue) -> bool:
    """Whether words wish for more than values, such as "set in space", which no superlative answers."""
    for value in reversed(list(catalogue.values_in(said))):
        said = f"{said[: value.start]} {said[value.end :]}"
    return any(word not in _THINGS for word in re.findall(r"[^\W\d_]+", left_over(said).lower()))


def _resolved(
    delta: StateDelta, state: ConversationState, last: TurnPlan | None, catalogue: ConversationCatalogue
) -> str | None:
    """The message of the turn before with the item that this one names; None where it answers no such question."""
    unclear = next((each for each in last.unresolved if each.item_ids), None) if last is not None else None
    if last is None or unclear is None or len(delta.references) != 1:
        return None
    if delta.changes or delta.actions or delta.feedback or delta.said or delta.unresolved:
        return None
    [item_id] = delta.references
    listed = state.last_list
    meant = f"number {listed.index(item_id) + 1}" if item_id in listed else catalogue.catalogue.item(item_id).title
    again, count = re.subn(rf"(?<!\w){re.escape(unclear.words)}(?!\w)", lambda _: meant, last.message, count=1)
    return again if count else None
