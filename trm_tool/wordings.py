"""Sentences around phrases of preference: how people, assistants and models say "comedy; 1990s".

A recommender that is trained on bare phrases only learns those by heart. These frames say the same phrases in many
ways; evals keeps other frames and other words for the same things, which never occur here.
"""

import re
from collections.abc import Collection, Sequence

import numpy as np

from deeprec.trm_tool.catalogue import Catalogue
from deeprec.trm_tool.everyday_words import EVERYDAY_WORDS

FRAMES = (
    # a request
    "I'm looking for {wish}",
    "Please recommend {wish}",
    "Could you find me {wish}?",
    "I want {wish}",
    "I'd like to try {wish} next",
    "Show me {wish}",
    "Any good {wish}?",
    "Can you suggest {wish}, please",
    "Do you have {wish} on offer?",
    "Which {wish} should I pick first?",
    "Help me choose: {wish}",
    "Surprise me with {wish}, but keep it short",
    "My request is simple, {wish}, and nothing that I know already",
    # talk
    "hmm, maybe {wish}?",
    "I feel like {wish} right now",
    "we were thinking of {wish} for the weekend",
    "not sure, but {wish} would be nice",
    "give me {wish}, whatever is good",
    "I've been really into {wish} lately",
    "ok so my sister told me to go for {wish} and she is never wrong",
    "it rains all day here, so {wish} it is, with a cup of tea",
    "no idea what to do tonight... {wish} perhaps",
    "yes! more of that, {wish} and so on",
    "everyone at the office talks about {wish}, am I missing out?",
    "too tired for anything else, just {wish}",
    "ha, the last one was great. now {wish}",
    # courtesy
    "Good evening, I wonder whether you could propose {wish}. Many thanks in advance.",
    "I hope this is not too much trouble: {wish} is what my husband would love for his birthday",
    "Dear all, our book and culture club wants {wish} for its next meeting",
    "Thank you for your patience. What I have in mind is {wish}",
    "If it is possible, {wish}; if not, your best guess will do",
    # a memory
    "Years ago I came across {wish} by accident and I have wanted more ever since",
    "There was one that I loved as a teenager, {wish}, though the name escapes me",
    "On holiday we had nothing but {wish}, and strangely that became a habit",
    "My father always chose {wish}, so it reminds me of home",
    "I finished the whole series and now there is a hole that only {wish} can fill",
    "Yesterday I gave up on a dull one halfway; today I need {wish}",
    # terse
    "{wish}",
    "{wish} please",
    "more {wish}",
    "{wish}, well rated",
    "need: {wish}",
    "{wish} recommendations",
    "{wish} 2 hours max",
    "genre: {wish}",
    "tags = [{wish}]",
    "search {wish} sort by popularity",
    # an assistant's notes
    "The user prefers {wish}.",
    "The user seems to enjoy {wish} and may want more of it.",
    "Preference: {wish}",
    "Their recent history points to {wish}.",
    "This person has a taste for {wish}.",
    "A strong interest in {wish}",
    "Based on the last ten items, the customer is drawn to {wish} rather than to what is new.",
    "Summary of the profile so far: {wish}, with a few exceptions.",
    "The next query asks for {wish} in order to test another side of this taste.",
    "Since earlier results were too narrow, broaden the call to {wish}.",
    "Likely motive is curiosity about {wish}; confidence medium.",
    "What they rated highest has one thing in common, namely {wish}.",
    # a description
    "A title that counts as {wish}",
    "An item best described as {wish}",
    "Known for being {wish}",
    "Something in the line of {wish}",
    "The kind that is filed under {wish}",
    "Critics called it {wish}, audiences agreed",
    "On the cover it says {wish}",
    "A classic example of {wish} that still holds up today",
)
"""Sentences with one slot, `{wish}`, in seven registers, some of them with talk that says nothing about the wish."""

_JOINTS = (", ", " and ", " with ", " / ", ", also ", " plus ")
_ERAS = ("{era}", "the {era}", "from the {era}", "made in the {era}", "{short}", "from the {short}", "{era}")
_YEARS = (
    "from {year}",
    "released around {year}",
    "year {year}",
    "circa {year}",
    "{year}",
    "made about {year}",
    "about as old as {title}",
    "same period as {title}",
    "from when {title} was new",
    "released close to {title}",
)
_LIKE = ("something like {title}", "titles such as {title}", "more in the spirit of {title}")
LIKE = 0.2
"""Share of the everyday sentences that name an item alike instead of its phrases."""
KNOWN_TITLES = 1_000
"""Titles that may stand in a sentence: those of the most popular third of the items, and no more than this."""
_DECADE = re.compile(r"(1[89]|20)(\d0)s")


class SentenceWriter:
    """Says phrases of preference in sentences.

    Args:
        catalogue: Its best-known titles stand for their decade now and then ("about as old as Toy Story").
        popularity: Interactions of each item in training (items,), in catalogue order.
        everyday: Share of the phrases said in other words, where `EVERYDAY_WORDS` has some or a decade can be told by
            a year or a title.
    """

    def __init__(self, catalogue: Catalogue, popularity: Sequence[float], everyday: float = 0.5) -> None:
        self.everyday = everyday
        order = sorted(range(len(catalogue)), key=lambda row: -popularity[row])
        best = order[: min(len(order) // 3 + 1, KNOWN_TITLES)]
        known = {catalogue.ids[row]: catalogue.item(catalogue.ids[row]).title for row in best}
        self._titles = {
            phrase: {item_id: title for item_id, title in known.items() if item_id in ids}
            for phrase, ids in catalogue.phrases(1).items()
        }

    def write(self, phrases: Sequence[str], rng: np.random.Generator, never: Collection[str] = ()) -> str:
        """Say phrases in a sentence drawn at random.

        Args:
            phrases: At least one, as `Catalogue.phrases_of` gives them.
            rng: Draws the frame, the joints and the words.
            never: Titles that must not stand in the sentence, as `unfit` gives them.
        """
        alike = self._known(phrases, never) if rng.random() < self.everyday * LIKE else []
        if alike:
            return _draw(FRAMES, rng).format(wish=_draw(_LIKE, rng).format(title=_draw(alike, rng)))
        said = [self._say(phrase, rng, never) for phrase in phrases]
        wish = said[0]
        for phrase in said[1:]:
            wish += (" " if phrase.startswith(_POSTPOSED) else _draw(_JOINTS, rng)) + phrase
        return _draw(FRAMES, rng).format(wish=wish)

    def unfit(self, titles: Collection[str]) -> frozenset[str]:
        """The well-known titles that are one of these, or hold one, or are held by one, whatever the case."""
        own = [folded for title in titles if (folded := _folded(title))]
        known = {title for by_item in self._titles.values() for title in by_item.values()}
        return frozenset(title for title in known if any(_overlap(_folded(title), other) for other in own))

    def _say(self, phrase: str, rng: np.random.Generator, never: Collection[str]) -> str:
        otherwise = rng.random() < self.everyday
        decade = _DECADE.fullmatch(phrase)
        if decade is None:
            words = EVERYDAY_WORDS.get(phrase)
            return _draw(words, rng) if otherwise and words else phrase
        if not otherwise:
            return _draw(_ERAS, rng).format(era=phrase, short=f"{decade[2]}s")
        titles = self._known([phrase], never)
        year = int(phrase[:4]) + int(rng.integers(10))
        ways = _YEARS if titles else _YEARS[:6]
        return _draw(ways, rng).format(year=year, title=_draw(titles, rng) if titles else "")

    def _known(self, phrases: Sequence[str], never: Collection[str]) -> list[str]:
        """Titles of well-known items of which all phrases are true."""
        first, *others = (self._titles.get(phrase, {}) for phrase in phrases)
        return [
            title
            for item_id, title in first.items()
            if title not in never and all(item_id in other for other in others)
        ]


_POSTPOSED = ("from ", "made ", "released ", "about as ", "same ", "circa ")


def _draw(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _folded(title: str) -> str:
    return " ".join(title.lower().split())


def _overlap(one: str, other: str) -> bool:
    return one in other or other in one
