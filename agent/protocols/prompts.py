"""Every text that the agent itself puts before the model, as one value that can be replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from deeprec.agent.protocols.prompt_placeholders import check_placeholders
from deeprec.agent.protocols.prompt_presets import (
    INSTRUCT_1_TEXTS,
    INSTRUCT_TEXTS,
    INSTRUCT_VERSION,
    OLDER_INSTRUCT_VERSION,
    WORDS_TEXTS,
    WORDS_VERSION,
)
from deeprec.agent.protocols.tags import (
    BEGIN_LIST,
    BEGIN_PREFERENCE,
    BEGIN_THOUGHT,
    END_LIST,
    END_PREFERENCE,
    END_THOUGHT,
)
from deeprec.agent.protocols.turn import Remark
from deeprec.trm_tool import ConfigError, neutralise

if TYPE_CHECKING:
    from deeprec.agent.protocols.turn import Briefing

PROMPT_VERSION = "1"
"""The version of `Prompts()`. It is raised with every change of one of its texts."""
MAX_MESSAGE_CHARS = 2_000
"""Characters of a person's message that a prompt shows."""
MAX_REMINDER_CHARS = 300
"""Characters of it that are shown again after each retrieval."""
MAX_REMARK_CHARS = 120
"""Characters of each part of a remark on a preference."""

_SWITCHES = ("message_first", "leads", "thinks")
_NEEDED_TAGS = (BEGIN_PREFERENCE, END_PREFERENCE, BEGIN_LIST, END_LIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The texts that a run shows the model beside the catalogue's titles and the person's message.

    `Prompts()` are the texts that policies have been trained on; `Prompts.instruct()` those for models that follow
    instructions and were not trained for this; `Prompts.words()` the short ones of the adapter that ships with the
    package. `AgentConfig.prompts` chooses between them where no texts are given.

    Replace `role` to speak for a shop of your own, in both protocols: `Prompts(role="You advise the guests of a tea
    shop. …")`. In texts with a placeholder, such as `{k}`, other braces are doubled.

    Raises:
        ConfigError: a text lacks a placeholder or a tag that it needs, or has a placeholder that nothing fills.
    """

    role: str = (
        "You find items that a person will choose next. You cannot see the catalogue: you call a recommender that "
        "knows the person's history, with a preference of a few short phrases separated by ';'. It returns numbered "
        "items. Look at them, then try another side of the person's taste. At last rank the best of all numbered items."
    )
    """The opening of the system prompt in both protocols."""
    tagged_instructions: str = (
        "To call the recommender, write what you think and then what to look for:\n"
        f"{BEGIN_THOUGHT}...{END_THOUGHT}\n{BEGIN_PREFERENCE}...; ...{END_PREFERENCE}\n"
        "When you have seen enough, write the numbers of {k} different items, one a line, the best first:\n"
        f"{BEGIN_LIST}\n...\n...\n{END_LIST}"
    )
    """The rest of the system prompt in the tagged protocol, with the tags by which its turns are read; `{k}` items."""
    own_list: str = "An empty preference is a search too: it finds what the recommender itself would recommend."
    """The next line of the system prompt in both protocols, where `AgentConfig.allows_no_preference` says so."""
    tools_instructions: str = (
        "Call the tool retrieve_items to search. When you have seen enough, call recommend_items with the numbers of "
        "{k} different items, the best first."
    )
    """The rest of the system prompt in the tools protocol; `{k}` items."""
    tagged_correction: str = (
        "\nThat could not be read: {why}. Write a preference between "
        f"{BEGIN_PREFERENCE} and {END_PREFERENCE}, or the numbers of items between {BEGIN_LIST} and {END_LIST}.\n"
    )
    """The answer to a malformed turn of the tagged protocol; `{why}` says what is malformed."""
    tools_correction: str = (
        "That could not be used: {why}. Call retrieve_items with a preference, or recommend_items with numbers."
    )
    """The answer to a malformed turn of the tools protocol; `{why}` says what is malformed."""
    history: str = "Items that the person chose, the latest last:"
    """The heading of the person's history."""
    history_item: str = "- {item}"
    """One line of the history."""
    no_history: str = "Nothing is known of what the person chose before."
    """What stands in place of an empty history."""
    earlier: str = "Earlier in the conversation:"
    """The heading of what was said before the message, where the request comes with a conversation."""
    message: str = "The person says: {message}"
    """The person's message, where there is one."""
    task: str = "Find {k} items that the person will choose next."
    """The last line of the opening prompt."""
    found_item: str = "{number}. {item}"
    """One line of what a retrieval found. The model names the item by its number."""
    nothing_found: str = "Nothing was found."
    """What stands in place of an empty retrieval."""
    not_in_catalogue: str = "Not in this catalogue: {what}."
    """What follows the items where the preference asks for what the catalogue has no value or attribute for."""
    only_weighed: str = "The person did not ask for it, so it only weighs: {what}."
    """What follows the items where the preference has constraints that the person's words do not support."""
    kept: str = "Kept: {what}."
    """What follows one of these two: the constraints that every item passes."""
    tools_rank: str = "Now rank: hand in the numbers of the {k} best items."
    """The request for the final list in the tools protocol."""
    tools_no_retrieval_left: str = "Not carried out: no search is left."
    """The answer to a call of retrieve_items after the last retrieval."""
    tools_one_call: str = "Not carried out: one call at a time."
    """The answer to each further call of one message."""
    retrieve_tool: str = "Ask the recommender for items that fit the person and a preference."
    """The description of the tool retrieve_items."""
    preference_argument: str = "A few short phrases separated by ';'."
    """The description of its argument `preference`."""
    where_argument: str = ""
    """The description of its argument `where`, constraints by attribute; without one the argument is not offered, and
    taken all the same."""
    limit_argument: str = "How many items to find, 1 to {most}. A long list shows more of what may fit."
    """The description of its argument `limit`, which `AgentConfig.max_retrieve_k` (`{most}`) offers."""
    describe_tool: str = "Look up what the catalogue can be asked for, before a search."
    """The description of the tool describe_catalogue, where `AgentConfig.describes_catalogue` offers it."""
    choices_tool: str = "Look up what people chose together with items, next after them, or lately, before a search."
    """The description of the tool people_also_chose, where `AgentConfig.shows_choices` offers it."""
    recommend_tool: str = "Hand in the final list."
    """The description of the tool recommend_items."""
    numbers_argument: str = "Numbers of different items, the best first."
    """The description of its argument `numbers`."""
    budget: str = ""
    """The last line of the system prompt: how often the model may retrieve (`{max_retrievals}`)."""
    go_on: str = ""
    """What follows the items of a retrieval, after the person's message, where another retrieval may follow."""
    stop_now: str = ""
    """What follows the items of the last retrieval."""
    first_correction: str = ""
    """The answer to a malformed turn before anything was retrieved, where it is another one; `{why}` as above."""
    tagged_list_correction: str = ""
    """The answer to a malformed turn of the tagged protocol after that, where it is another one."""
    history_line: str = ""
    """The history in one line of titles, in place of the heading and its lines; `{items}` are the titles."""
    card: str = ""
    """The heading of the catalogue card: what can be asked for, a line an attribute."""
    phrases: str = ""
    """The line of what the catalogue can be asked for; `{phrases}` are the phrases on offer, the likeliest first."""
    numbers: str = ""
    """The line of the numbers that can be bounded; `{numbers}` are their names and ranges."""
    no_message: str = ""
    """What stands in place of a message where there is none."""
    thinks: bool = True
    """Whether a turn of the tagged protocol begins with a thought. Else it is the preference alone."""
    message_first: bool = False
    """Whether the message stands before the phrases on offer, so that a model reads them with the message in mind."""
    leads: bool = False
    """Whether the tagged protocol writes the opening tag of the block that is due, so that the model only goes on; and
    whether a turn is read leniently: what is too long is cut, and a list or a preference need not be closed."""

    def __post_init__(self) -> None:
        for name, text in self._texts().items():
            if not isinstance(text, str):
                raise ConfigError(f"Prompts.{name} is {str(text)[:80]}, which is not text. Pass a string.")
            check_placeholders(name, text)
        missing = [tag for tag in _NEEDED_TAGS if tag not in self.tagged_instructions]
        if missing:
            raise ConfigError(
                f"Prompts.tagged_instructions does not show the model the tag {missing[0]}, by which its turns are "
                "read. Write it into the text, or leave this text out and replace `role` alone."
            )

    @classmethod
    def instruct(cls, **texts: str) -> Prompts:
        """Make the texts for models that were not trained on these protocols, of some 1 to 8 billion parameters.

        Args:
            texts: Texts of one's own, by name; the others are those for such models. With `card=""` they are those of
                version `instruct-1`, from before there was a catalogue card.

        Raises:
            ConfigError: as for `Prompts`.
        """
        base = INSTRUCT_TEXTS if texts.get("card", True) else INSTRUCT_1_TEXTS
        return cls(**{**base, **texts})  # type: ignore[arg-type]

    @classmethod
    def words(cls, **texts: str) -> Prompts:
        """Make the texts of the adapter that ships with the package: words, and what the catalogue can be asked for.

        Args:
            texts: Texts of one's own, by name; the others are those that the adapter was trained on.

        Raises:
            ConfigError: as for `Prompts`.
        """
        return cls(**{**WORDS_TEXTS, **texts})  # type: ignore[arg-type]

    @property
    def version(self) -> str:
        """The version of the texts that have one; of other texts `custom-` and 12 digits of their fingerprint."""
        base, known = (INSTRUCT_TEXTS, INSTRUCT_VERSION) if self.leads else ({}, PROMPT_VERSION)
        if not self.thinks:
            base, known = WORDS_TEXTS, WORDS_VERSION
        elif self.leads and not self.card:
            base, known = INSTRUCT_1_TEXTS, OLDER_INSTRUCT_VERSION
        own = {field.name: field.default for field in fields(self)}
        defaults = own | base
        changed = {name: text for name, text in asdict(self).items() if text != defaults[name]}
        if self.own_list == own["own_list"]:  # texts without a thought were versioned before there was such a line
            changed.pop("own_list", None)
        if not changed:
            return known
        content = json.dumps({"version": known, "changed": changed}, sort_keys=True)
        return f"custom-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    @classmethod
    def of_version(cls, version: str) -> Prompts | None:
        """The package's texts of an earlier version, with which runs of that version are repeated; else None."""
        return cls.instruct(card="") if version == OLDER_INSTRUCT_VERSION else None

    def _texts(self) -> dict[str, object]:
        return {name: text for name, text in asdict(self).items() if name not in _SWITCHES}

    def tagged_system(self, k: int, max_retrievals: int | None = None, *, may_be_empty: bool = False) -> str:
        """The system prompt of the tagged protocol, for a list of `k` items and `own_list` where it `may_be_empty`."""
        return self._system(self.tagged_instructions, k, max_retrievals, may_be_empty)

    def tools_system(self, k: int, max_retrievals: int | None = None, *, may_be_empty: bool = False) -> str:
        """The system prompt of the tools protocol, likewise."""
        return self._system(self.tools_instructions, k, max_retrievals, may_be_empty)

    def _system(self, instructions: str, k: int, max_retrievals: int | None, may_be_empty: bool) -> str:
        own_list = self.own_list if may_be_empty else ""
        budget = self.budget.format(max_retrievals=max_retrievals) if max_retrievals else ""
        return "\n".join(filter(None, (self.role, instructions.format(k=k), own_list, budget)))

    @property
    def has_card(self) -> bool:
        """Whether the opening prompt shows what the catalogue can be asked for."""
        return bool(self.card or self.phrases or self.numbers)

    def opening(self, briefing: Briefing) -> str:
        """The opening prompt of a request."""
        return self.person(
            briefing.history,
            briefing.message,
            k=briefing.k,
            earlier=briefing.earlier,
            titles=briefing.titles,
            phrases=briefing.phrases,
            numbers=briefing.numbers,
            card=briefing.card,
        )

    def person(
        self,
        history: Sequence[str],
        message: str | None,
        *,
        k: int,
        earlier: Sequence[str] = (),
        titles: Sequence[str] = (),
        phrases: Sequence[str] = (),
        numbers: Sequence[str] = (),
        card: Sequence[str] = (),
    ) -> str:
        """The opening prompt: who the list is for.

        Args:
            history: One short line an item, oldest first, already neutralised.
            message: What the person asks for, as it came in; it is neutralised and cut here.
            k: Items that are wanted.
            earlier: What was said before the message, a line each, oldest first, already neutralised.
            titles: The titles of the history, for texts with a `history_line`, already neutralised.
            phrases: The phrases on offer, for texts with `phrases`, already neutralised.
            numbers: The numbers that can be bounded, such as `year 1922 to 1998`, for texts with `numbers`.
            card: Lines of the catalogue card, for texts with `card`, already neutralised.
        """
        lines = [self.history, *(self.history_item.format(item=item) for item in history)]
        if not history:
            lines = [self.no_history]
        elif self.history_line:
            lines = [self.history_line.format(items="; ".join(titles))]
        if earlier:
            lines += [self.earlier, *earlier]
        offered = [self.card, *card] if card and self.card else []
        if phrases and self.phrases:
            offered.append(self.phrases.format(phrases="; ".join(phrases)))
        if numbers and self.numbers:
            offered.append(self.numbers.format(numbers="; ".join(numbers)))
        said = neutralise(message, MAX_MESSAGE_CHARS) if message else ""
        asked = [self.message.format(message=said)] if message else []
        if self.no_message and not said:
            asked = [self.no_message]
        lines += [*asked, *offered] if self.message_first else [*offered, *asked]
        return "\n".join([*lines, self.task.format(k=k)] if self.task else lines)

    def items(self, numbered: Sequence[tuple[int, str]]) -> str:
        """What a retrieval found, a line an item: its number and its summary, which is already neutralised."""
        lines = [self.found_item.format(number=number, item=summary) for number, summary in numbered]
        return "\n".join(lines) or self.nothing_found

    def remark(self, remark: Remark | None) -> str:
        """One line about what of a preference was not enforced; empty without a remark."""
        if remark is None:
            return ""
        parts = ((self.not_in_catalogue, remark.missing), (self.only_weighed, remark.weighed), (self.kept, remark.kept))
        shown = [text.format(what=_cut(", ".join(what), MAX_REMARK_CHARS)) for text, what in parts if text and what]
        return " ".join(shown)

    def after_items(self, message: str | None, *, k: int, is_last: bool) -> str:
        """What follows the items of a retrieval: the person's message again, and what comes next; empty in `Prompts()`.

        Args:
            message: As for `person`.
            k: Items that are wanted.
            is_last: Whether no further retrieval is left.
        """
        text = self.stop_now if is_last else self.go_on
        if not text:
            return ""
        asked = self.message.format(message=neutralise(message, MAX_REMINDER_CHARS)) if message else ""
        return "\n".join(filter(None, (asked, text.format(k=k))))

    def correction(self, why: str, *, k: int, is_tagged: bool, has_found: bool) -> str:
        """The answer to a malformed turn.

        Args:
            why: What is malformed.
            k: Items that are wanted.
            is_tagged: Whether the turn is one of the tagged protocol.
            has_found: Whether a retrieval has found items.
        """
        if self.first_correction and not has_found:
            return self.first_correction.format(why=why)
        if is_tagged and self.tagged_list_correction:
            return self.tagged_list_correction.format(why=why, k=k)
        return (self.tagged_correction if is_tagged else self.tools_correction).format(why=why)


def _cut(text: str, max_chars: int) -> str:
    """Text that is safe already, cut like `neutralise` does, which would change its signs of comparison."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1].rstrip()}…"
