"""A message while it is read: what each recogniser has found, and the text that is left for the next one.

A recogniser takes the words that it understood, so that no later one reads them again. A reference to items leaves a
mark in their place, which the patterns of the next recognisers name (`REFERENCE`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from deeprec.agent.conversation.delta import Change, RequestedAction, SaidFeedback, Unresolved
from deeprec.agent.conversation.state import ConversationState, ItemOrder, Missing, StatedCondition
from deeprec.agent.conversation.vocabulary import ConversationCatalogue
from deeprec.trm_tool.catalogue.german import EnglishReading, read_in_english
from deeprec.trm_tool.text import plain

MAX_CHARS = 2_000
"""Characters of a message that are read."""
TAKEN = "\x00"
_FIRST_MARK = 0xE000  # private use: `plain` leaves none of these in a message
_MAX_MARKS = 200
REFERENCE = r"(?:(?<![\ue000-\ue0ff])[\ue000-\ue0ff]++(?:(?:,| and| or|, and|,? but)? [\ue000-\ue0ff]++)*)"
"""One reference or several in a row, in a pattern; it begins and ends with a whole mark, so that a search is short."""
CART = r"(?:(?:the|my) )?(?:shopping )?(?:cart|basket|bag|trolley)"
"""A cart, in a pattern."""
_MARK = re.compile("[\ue000-\ue0ff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Words that refer to shown items."""

    words: str
    item_ids: tuple[str, ...]
    start: int = 0
    """Where the words stand in the message."""
    unresolved: Unresolved | None = None
    """Why the words do not decide; the reference then has no items."""


@dataclass(kw_only=True)
class MessageReading:
    """One message, the state before it, and what has been found in it so far."""

    message: str
    state: ConversationState
    vocabulary: ConversationCatalogue
    text: str = ""
    """The message with everything that was taken masked; places are those of `message`."""
    references: list[Reference] = field(default_factory=list)
    clears: list[Change] = field(default_factory=list)
    relaxes: list[Change] = field(default_factory=list)
    excludes: list[Change] = field(default_factory=list)
    sets: list[Change] = field(default_factory=list)
    order: ItemOrder | None = None
    feedback: list[SaidFeedback] = field(default_factory=list)
    actions: list[RequestedAction] = field(default_factory=list)
    similar_to: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    withdrawn: dict[str, int] = field(default_factory=dict)
    """Attribute -> where the words stand that withdraw all about it; what stands before them is withdrawn too."""
    corrects: bool = False
    """Whether the message corrects what was said before: "actually", "I meant", "instead"."""
    compared: list[str] = field(default_factory=list)
    """Items in relation to which a bound was read."""
    undecided: list[tuple[int, int]] = field(default_factory=list)
    """Where bounds stand of which a negation leaves open what is meant."""
    quiet: list[tuple[int, int]] = field(default_factory=list)
    """Places that are understood and yet stay in the text for retrievals: values that are wanted."""
    _read: EnglishReading = field(init=False)

    def __post_init__(self) -> None:
        written = plain(self.message, MAX_CHARS)
        values = [(value.start, value.end) for value in self.vocabulary.values_in(written)]
        self._read = read_in_english(written, values, self._titles_in(written))
        self.message = self._read.text
        self.text = _MARK.sub(" ", self.message).replace("’", "'")

    def _titles_in(self, text: str) -> Iterator[tuple[int, int]]:
        """Where titles of items stand that were shown or are in the cart."""
        known = (*(each.item_id for each in self.state.shown), *self.state.items_with("in_cart"))
        for title in sorted(
            {self.vocabulary.catalogue.item(item_id).title for item_id in known}, key=len, reverse=True
        ):
            if title.strip():
                case = re.IGNORECASE if " " in title.strip() else 0
                for found in re.finditer(rf"(?<!\w){re.escape(title)}(?!\w)", text, case):
                    yield found.span()

    @property
    def is_translated(self) -> bool:
        """Whether English words of grammar stand in the places of German ones."""
        return self._read.text != self._read.original

    @property
    def turn(self) -> int:
        """The turn of the message, from 1."""
        return self.state.turn + 1

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes in the order in which they are applied."""
        return (*self.clears, *self.relaxes, *self.excludes, *self.sets)

    def find(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Matches of a pattern in what is left, each looked for after the one before was taken."""
        start = 0
        while (found := pattern.search(self.text, start)) is not None:
            yield found
            is_left = self.text[found.start() : found.end()] == found[0]
            start = max(found.end(), start + 1) if is_left else found.start() + 1

    def written(self, start: int, end: int) -> str:
        """What the person wrote there."""
        return self._read.written(start, end)

    def words(self, start: int, end: int) -> str:
        """What the person wrote there, without the marks around it."""
        return self.written(start, end).strip(" ,.;:!?")

    def take(self, start: int, end: int) -> str:
        """Take a part of the text and return what the person wrote there."""
        self.text = self.text[:start] + TAKEN * (end - start) + self.text[end:]
        return self.words(start, end)

    def refer(self, start: int, end: int, reference: Reference) -> None:
        """Put the mark of a reference in the place of its words."""
        if len(self.references) < _MAX_MARKS and end > start:
            mark = chr(_FIRST_MARK + len(self.references))
            self.text = self.text[:start] + mark * (end - start) + self.text[end:]
            self.references.append(replace(reference, start=start))

    def referred(self, text: str) -> tuple[Reference, ...]:
        """The references whose marks stand in a part of the text."""
        marks = dict.fromkeys(_MARK.findall(text))
        return tuple(self.references[ord(mark) - _FIRST_MARK] for mark in marks)

    def referred_ids(self, text: str) -> tuple[str, ...]:
        """Ids of the items that a part of the text refers to."""
        return tuple(dict.fromkeys(chain.from_iterable(each.item_ids for each in self.referred(text))))

    def held(self, attribute: str) -> Sequence[StatedCondition]:
        """What is asked for or refused of an attribute so far, hard or not."""
        state = self.state
        lists = (state.required, state.refused, state.preferred, state.disliked)
        return [each for each in chain.from_iterable(lists) if each.attribute == attribute]

    def lacks(
        self, words: str, attribute: str | None = None, *, min_cosine: float | None = None, **kind: object
    ) -> None:
        """Note something that the catalogue lacks; `words` names the attribute itself where that is missing.

        `min_cosine` is that of `ConversationCatalogue.nearest`.
        """
        is_value = attribute is not None or bool(kind)
        nearest = self.vocabulary.nearest(words, attribute, min_cosine) if is_value else ()
        if attribute is None and nearest:
            attribute = self.vocabulary.attribute_of(nearest[0])
        found = Missing(words=words, attribute=attribute, nearest=nearest, turn=self.turn, **kind)  # type: ignore[arg-type]
        if all(each.words != found.words for each in self.missing):
            self.missing.append(found)

    def not_clear(self, words: str, reason: str, item_ids: Sequence[str] = ()) -> None:
        """Note words that do not decide what they mean."""
        unresolved = Unresolved(words=words, item_ids=tuple(item_ids), reason=reason)
        self.references.append(Reference(words=words, item_ids=(), unresolved=unresolved, start=len(self.message)))
