"""Every text that the agent itself puts before the model. Change the wording here, and the version with it."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.trm_tool import neutralise

PROMPT_VERSION = "1"
MAX_MESSAGE_CHARS = 2_000

BEGIN_THOUGHT, END_THOUGHT = "<think>", "</think>"
BEGIN_PREFERENCE, END_PREFERENCE = "<|begin_of_preference|>", "<|end_of_preference|>"
BEGIN_ITEMS, END_ITEMS = "<|begin_of_item_list|>", "<|end_of_item_list|>"
BEGIN_LIST, END_LIST = "<recommendation_list>", "</recommendation_list>"

_ROLE = (
    "You find items that a person will choose next. You cannot see the catalogue: you call a recommender that knows "
    "the person's history, with a preference of a few short phrases separated by ';'. It returns numbered items. "
    "Look at them, then try another side of the person's taste. At last rank the best of all numbered items."
)

TAGGED_SYSTEM = (
    f"{_ROLE}\n"
    f"To call the recommender, write what you think and then what to look for:\n"
    f"{BEGIN_THOUGHT}...{END_THOUGHT}\n{BEGIN_PREFERENCE}...; ...{END_PREFERENCE}\n"
    f"When you have seen enough, write the numbers of {{k}} different items, one a line, the best first:\n"
    f"{BEGIN_LIST}\n...\n...\n{END_LIST}"
)

TOOLS_SYSTEM = (
    f"{_ROLE}\nCall the tool retrieve_items to search. When you have seen enough, call recommend_items with the "
    "numbers of {k} different items, the best first."
)

TAGGED_CORRECTION = (
    "\nThat could not be read: {why}. Write a preference between "
    f"{BEGIN_PREFERENCE} and {END_PREFERENCE}, or the numbers of items between {BEGIN_LIST} and {END_LIST}.\n"
)
TOOLS_CORRECTION = (
    "That could not be used: {why}. Call retrieve_items with a preference, or recommend_items with numbers."
)


def person_text(history: Sequence[str], message: str | None, *, k: int) -> str:
    """Say who the list is for.

    Args:
        history: one short line an item, oldest first, already neutralised.
        message: what the person asked for, as it came in; it is neutralised and cut here.
        k: items that are wanted.
    """
    lines = ["Items that the person chose, the latest last:", *(f"- {line}" for line in history)]
    if not history:
        lines = ["Nothing is known of what the person chose before."]
    if message:
        lines.append(f"The person says: {neutralise(message, MAX_MESSAGE_CHARS)}")
    lines.append(f"Find {k} items that the person will choose next.")
    return "\n".join(lines)


def items_text(numbered: Sequence[tuple[int, str]]) -> str:
    """Show what a retrieval found: a line an item, `4. Title (facts)`; the summaries are already neutralised."""
    return "\n".join(f"{number}. {summary}" for number, summary in numbered) or "Nothing was found."
