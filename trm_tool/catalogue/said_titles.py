"""Titles and quotations in what somebody said, which state nothing: "No Country for Old Men", 'like "Only Horror"'."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from deeprec.trm_tool.catalogue.phrase_spotting import WORD, fold_words
from deeprec.trm_tool.catalogue.said_clauses import places_within
from deeprec.trm_tool.catalogue.stated_preference import FILLERS
from deeprec.trm_tool.text import word_set

_QUOTED = re.compile(r"[\"“”«„][^\"“”«»„\n]{1,120}[\"“”»]|(?<![\w'])['‘][^'‘’\n]{2,120}['’](?!\w)")
_TITLE_WITH_YEAR = re.compile(
    r"(?:\b[A-Z0-9][\w'’-]*+[:,]?\s++(?:(?:of|for|the|and|in|a|to|on)\s++){0,2}+){1,20}+\(\d{4}\)|\(\d{4}\)"
)
_CAPITALISED = re.compile(
    r"\b(?:No|Not|Nothing|Never|Only|Without|None|Neither|Skip|Avoid|Hate|Anything But|Under|Over|Before|After)"
    r"(?:\s+(?:(?:of|for|the|and|in|a|to|on|but)\s+){0,2}[A-Z][\w'’-]*){2,}"
)
"""A title that begins like a refusal: the words that carry it begin with capitals."""
_IN_TITLES = word_set(
    "no not nothing never none neither without only except avoid skip minus hate hated anything don't can't isn't must "
    "under over below above before after less more since until between up at max stay keep leave away"
)
"""Words of titles that can state something."""
_LIKENED = re.compile(
    r"(?:(?<!would )(?<!['’]d )\blike|\b(?:similar to|along the lines of|in the style of))\s+$", re.IGNORECASE
)
_SMALL = word_set("a an and at for from in of on or the to with")
"""Words without a capital in titles."""
_MAX_TITLE_WORDS = 10
_ENDS = re.compile(r"\s*(?:$|[^\w\s'’&-]|(?:19|20[012])\d\d\b)|\s+-")
_BEHIND_LOWER = word_set("and or but so because please too though although since if also more")
_BEHIND_ONE = _BEHIND_LOWER | word_set(
    "a about after again ago all already am an are as at before by dearly ever every except for from had has have he i "
    "in instead is it just last less lots many maybe most much my never nor not of often on once only quite really "
    "recently set she starring than that the then they this three times to today together tonight twice under over "
    "very was we well were when where which while who with without would yesterday yet you cheaper newer older"
)
"""Words that go on behind a title and make no longer phrase of it, as the films of "Kids films" do."""


class NamedTitles:
    """Finds titles of a catalogue in which values stand, so that the war of "Star Wars" is no value.

    A title counts where it is written with capitals, or where something is to be like it; one that consists of values
    ("Black Rug") counts nowhere.

    Args:
        titles: Item id -> its title as the catalogue writes it. What stands before a colon is a title too.
    """

    def __init__(self, titles: Mapping[str, str]) -> None:
        named: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._bare = {item_id: _bare_title(title) for item_id, title in titles.items()}
        for item_id, bare in self._bare.items():
            for part in dict.fromkeys((bare, bare.partition(":")[0])):
                named[fold_words(part)].append(item_id)
        self._items = {words: tuple(item_ids) for words, item_ids in named.items() if words}
        self._titles = frozenset(words for words in self._items if len(words) > 1)

    def at(self, text: str, start: int) -> tuple[int, tuple[str, ...]] | None:
        """Find the longest title that begins at a place, with or without its article.

        A title of one word counts where it is written with a capital, and no noun follows ("Kids films"); a longer one
        in lower case where the clause ends with it. None counts before a number or a capital ("Toy Story 2").

        Args:
            text: What somebody said.
            start: Where a word of it begins, in characters.

        Returns:
            Where the title ends, and the ids of the items that have it, those that have exactly this one where there
            are such; None where no title begins there.
        """
        words = list(islice(WORD.finditer(text, start), _MAX_TITLE_WORDS))
        folded = fold_words(text[start : words[-1].end()]) if words else ()
        for count in range(len(words), 0, -1):
            begun = words[:count]
            item_ids = self._items.get(folded[:count]) or self._items.get(("the", *folded[:count]), ())
            if item_ids and _stands_alone(text, [each[0] for each in begun], begun[-1].end()):
                written = text[start : begun[-1].end()].lower()
                exact = [each for each in item_ids if self._bare[each] in (written, f"the {written}")]
                return begun[-1].end(), tuple(exact) or item_ids
        return None

    def around(self, text: str, values: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Find where the titles stand around values, each given by where it starts and ends."""
        words = list(WORD.finditer(text))
        folded = tuple(each for word in words for each in fold_words(word[0]))
        starts = [word.start() for word in words]
        valued = places_within(starts, values)
        is_value = [at in valued for at in range(len(words))]
        named = [
            each or not FILLERS.isdisjoint(fold_words(word[0])) for each, word in zip(is_value, words, strict=True)
        ]
        first = [at for at, each in enumerate(is_value) if each]
        for at in first:
            spans = (
                (low, high)
                for low in range(max(0, at + 1 - _MAX_TITLE_WORDS), at + 1)
                for high in range(min(len(words), low + _MAX_TITLE_WORDS), at, -1)
            )
            for low, high in spans:
                start, end = words[low].start(), words[high - 1].end()
                if folded[low:high] not in self._titles or all(named[low:high]):
                    continue
                is_capital = all(not word[0][0].islower() or word[0] in _SMALL for word in words[low:high])
                if is_capital or _LIKENED.search(text[:start]):
                    yield start, end
                    break


class SaidTitles:
    """Masks the titles of a catalogue, quotations and what looks like a title in texts.

    Args:
        titles: As the catalogue writes them.
        could_state: Whether a text could be read as a refusal, a limit or a bound; other titles need no mask.
    """

    def __init__(self, titles: Iterable[str], could_state: Callable[[str], bool]) -> None:
        bare = {_bare_title(title) for title in titles}
        marked = (title for title in bare if " " in title and not _IN_TITLES.isdisjoint(title.split()))
        self._titles = sorted(title for title in marked if could_state(title))

    def masked(self, text: str) -> str:
        """The text with blanks in place of quotations and titles."""
        lower = text.replace("İ", "I").lower()  # the one letter that is longer in lower case
        for title in self._titles:
            at = lower.find(title)
            while at >= 0:
                if title.count(" ") > 1 or text[at].isupper():
                    text = f"{text[:at]}{' ' * len(title)}{text[at + len(title) :]}"
                at = lower.find(title, at + len(title))
        for pattern in (_QUOTED, _TITLE_WITH_YEAR, _CAPITALISED):
            text = pattern.sub(lambda found: f"{' ' * (len(found[0]) - 1)}|", text)
        return text


def _stands_alone(text: str, title: Sequence[str], end: int) -> bool:
    """Whether words are a title by how they are written, and by what follows them."""
    is_lower, is_mixed = is_lower_case(title), any(word[0].islower() and word not in _SMALL for word in title)
    if len(title) == 1 and is_lower:
        return False
    if _ENDS.match(text, end):
        return True
    behind = WORD.search(text, end)
    word = "" if behind is None else behind[0]
    if is_lower:
        return word in _BEHIND_LOWER
    if len(title) == 1 or is_mixed:
        return word.lower().partition("'")[0] in _BEHIND_ONE and (word == "I" or word[0].islower())
    return word == "I" or word[:1].islower()


def is_lower_case(title: Sequence[str]) -> bool:
    """Whether the words of a title are written as those of any phrase, without capitals."""
    return all(word[0].islower() or word.lower() in _SMALL for word in title)


def _bare_title(title: str) -> str:
    title = re.sub(r"\s*\(\d{4}\)\s*$", "", title).strip()
    body, comma, article = title.rpartition(", ")
    return (f"{article} {body}" if comma and article in ("The", "A", "An") else title).lower()
