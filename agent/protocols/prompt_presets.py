"""The texts of `Prompts.instruct()` and `Prompts.words()`, as what differs from those of `Prompts()`."""

from deeprec.agent.protocols.tags import (
    BEGIN_LIST,
    BEGIN_PREFERENCE,
    BEGIN_THOUGHT,
    END_LIST,
    END_PREFERENCE,
    END_THOUGHT,
)

INSTRUCT_VERSION = "instruct-2"
"""The version of `Prompts.instruct()`. It is raised with every change of one of its texts."""
WORDS_VERSION = "words-2"
"""The version of `Prompts.words()`, likewise."""
OLDER_INSTRUCT_VERSION = "instruct-1"
"""The version of `Prompts.instruct(card="")`, whose texts do not change: earlier runs are repeated with them."""

INSTRUCT_1_TEXTS: dict[str, str | bool] = {
    "role": (
        "You choose items for a person. You cannot see the catalogue, so you search it. A search takes a preference: "
        "two to four short phrases, separated by ';', that say what kind of item to look for. It returns numbered "
        "items that fit the preference and the person's history. What the person says counts most: turn their words "
        "into kinds, themes and times that a catalogue knows, leave out what they do not want, and never use titles."
    ),
    "tagged_instructions": (
        "You write one block at a time, and nothing around it.\n"
        "A search is one sentence of thought, then the preference:\n"
        f"{BEGIN_THOUGHT}They ask for something quiet, and they often chose short ones.{END_THOUGHT}\n"
        f"{BEGIN_PREFERENCE}quiet; short{END_PREFERENCE}\n"
        "The final list is {k} numbers of items that your searches found, one a line, the best first:\n"
        f"{BEGIN_LIST}\n4\n1\n7\n(and so on)\n{END_LIST}\n"
        "Search first: before that there are no numbers."
    ),
    "tools_instructions": (
        "Call retrieve_items to search, each time with another preference. When the items that were found fit the "
        "person, call recommend_items with {k} different numbers of found items, the best first."
    ),
    "budget": "You have at most {max_retrievals} searches.",
    "task": "Find {k} items that the person will choose next. Begin with a search.",
    "go_on": "If {k} of these items fit the person, hand in the list; else search again with other words.",
    "stop_now": "No search is left: hand in the list of the {k} best numbers.",
    "first_correction": (
        "That could not be used: {why}. Nothing has been found yet, so search first: write a preference."
    ),
    "tagged_list_correction": (
        "That could not be used: {why}. Write the list now: the {k} best numbers of the items above, one a line."
    ),
    "tools_rank": "Hand in the list now: call recommend_items with the {k} best numbers of the items above.",
    "preference_argument": "What to look for: two to four short phrases separated by ';', no titles, no sentences.",
    "recommend_tool": "Hand in the final list. Its numbers are those of items that retrieve_items found.",
    "leads": True,
}
"""The texts of `Prompts.instruct(card="")` that differ from those of `Prompts()`."""
INSTRUCT_TEXTS: dict[str, str | bool] = INSTRUCT_1_TEXTS | {
    "role": (
        "You choose items for a person. You cannot see the catalogue, so you search it. A search takes a preference: "
        "one to six short phrases, separated by ';', that say what kind of item to look for. It returns numbered "
        "items that fit the preference and the person's history. What the person says counts most: turn their words "
        "into phrases that the catalogue knows, and never use titles. Write 'not PHRASE' for what they refuse, and "
        "'NAME <= NUMBER' or 'NAME >= NUMBER' for a limit that they set, but no limit of your own."
    ),
    "card": "What the catalogue can be asked for, with the number of items that have it:",
    "phrases": "Phrases that may fit, the likeliest first: {phrases}",
    "preference_argument": (
        "What to look for: one to six short phrases separated by ';', such as 'PHRASE; not PHRASE; NAME <= NUMBER'; "
        "no titles, no sentences."
    ),
}
"""The texts of `Prompts.instruct()` that differ from those of `Prompts()`."""

WORDS_TEXTS: dict[str, str | bool] = {
    "role": "You turn words into a preference for a recommender, in phrases that the catalogue knows.",
    "tagged_instructions": (
        f"{BEGIN_PREFERENCE}PHRASE; not PHRASE; NAME <= NUMBER{END_PREFERENCE}\n{BEGIN_LIST}{{k}} numbers{END_LIST}"
    ),
    "own_list": "",
    "no_history": "They chose nothing yet.",
    "history_line": "They chose: {items}",
    "phrases": "The catalogue knows: {phrases}",
    "numbers": "Numbers: {numbers}",
    "no_message": "The person says nothing.",
    "task": "",
    "message_first": True,
    "leads": True,
    "thinks": False,
}
"""The texts of `Prompts.words()` that differ from those of `Prompts()`."""
