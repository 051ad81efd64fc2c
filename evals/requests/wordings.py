"""Held-out wordings of a preference: sentences and words that the recommender's training never uses.

Training writes phrases of the catalogue in lists. To see whether the recommender has learned what they mean and not how
they sound, the same attributes are written here in sentences, with other words for the embedded catalogue's genres, and
with a decade named by a year, a nickname or a well-known title of that time.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from deeprec.trm_tool.catalogue.catalogue import Catalogue

REGISTERS: Mapping[str, tuple[str, ...]] = {
    "casual": (
        "got anything {kind} {era}? movie night at ours",
        "honestly I could go for something {kind} {era}",
        "what's fun to put on if I fancy something {kind} {era}",
        "in the mood tonight: {kind}, {era}",
        "my mates keep raving about stuff that's {kind} {era}",
        "bored on the sofa, throw me something {kind} {era}",
        "let's do {kind} {era}, yeah?",
    ),
    "polite": (
        "Would you be so kind as to point out a picture that is {kind} {era}",
        "My grandmother would be delighted by a film that is {kind} {era}",
        "I should be grateful for advice on works that are {kind} {era}",
        "Might there be a feature that is {kind}, ideally {era}",
        "It would be lovely to see one that is {kind} {era}",
        "We hope to spend a quiet evening over a film that is {kind} {era}",
    ),
    "story": (
        "As a student I used to rent tapes that were {kind} {era}, and I miss them",
        "Last week a friend described a film to me, {kind} it was, {era}, and now I cannot stop thinking about it",
        "My partner and I met over a film that was {kind} {era}, so one like it would be sweet",
        "After a long day at work nothing helps me like a film that is {kind} {era}",
        "The kids are at camp and at last I get to choose: {kind}, {era}",
        "On the plane I caught half of one that was {kind} {era} and wish to see another",
    ),
    "keywords": (
        "movie {kind} {era}",
        "{era} | {kind} | full length",
        "best of: {kind} ({era})",
        "films tagged as {kind} // {era}",
        "top list {kind} {era} must watch",
        "query={kind} {era}",
    ),
    "analyst": (
        "Viewing behaviour indicates an appetite for material that is {kind} {era}.",
        "Next session should explore {kind} cinema, {era}.",
        "Having watched similar pictures, this viewer would probably welcome one that is {kind} {era}.",
        "Hypothesis: what attracts them is {kind} storytelling {era}.",
        "Rationale: past choices lean towards what is {kind}; period: {era}.",
        "Recommended direction for retrieval is {kind} fare {era}.",
    ),
}
"""Register -> sentences with the slots `{kind}` and `{era}`; 31 in all."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "action": ("full of fights and chases", "explosive and fast-paced"),
    "adventure": ("about a daring quest", "a journey to far-off places"),
    "animation": ("drawn, like a cartoon", "a cartoon feature"),
    "children's": ("light, for the little ones", "suitable for the kids"),
    "comedy": ("funny", "good for a laugh"),
    "crime": ("about gangsters and heists", "set among criminals"),
    "documentary": ("factual, about real events", "non-fiction"),
    "drama": ("serious and moving", "emotional and character-driven"),
    "fantasy": ("full of magic and wizards", "set in a magical world"),
    "film-noir": ("dark, with a cynical detective and a femme fatale", "a shadowy noir story"),
    "horror": ("scary", "terrifying, with monsters or ghosts"),
    "musical": ("full of songs and dancing", "where everybody sings"),
    "mystery": ("a whodunit", "a puzzle about an unsolved murder"),
    "romance": ("a love story", "romantic"),
    "sci-fi": ("about space and the future", "science fiction with robots or aliens"),
    "thriller": ("suspenseful", "tense, edge-of-your-seat"),
    "war": ("about soldiers in battle", "set on the front lines"),
    "western": ("with cowboys and gunslingers", "set in the Wild West"),
}
"""Genres of the embedded catalogue in other words; a phrase that is not here is used as it is."""

_NICKNAMES = {"1920s": "twenties", "1930s": "thirties", "1940s": "forties", "1950s": "fifties", "1960s": "sixties"}
_NICKNAMES |= {"1970s": "seventies", "1980s": "eighties", "1990s": "nineties"}
_DECADE = re.compile(r"\d{3}0s")


class HeldOutWordings:
    """Writes phrases in held-out sentences. `reworded` also puts other words for genres and decades.

    Args:
        catalogue: Titles that stand for a decade are drawn from its items, by their decade's phrase.
        popularity: Items' interactions in training, in catalogue order: only well-known titles stand for a time.
        reworded: False keeps the catalogue's own words and changes the sentences alone.
    """

    def __init__(self, catalogue: Catalogue, popularity: Sequence[float], *, reworded: bool = True) -> None:
        self.catalogue = catalogue
        self.reworded = reworded
        known = sorted(range(len(catalogue)), key=lambda row: -popularity[row])[: max(len(catalogue) // 5, 1)]
        self._titles: dict[str, list[str]] = {}
        for row in known:
            item_id = catalogue.ids[row]
            for phrase in catalogue.phrases_of(item_id):
                if _DECADE.fullmatch(phrase):
                    self._titles.setdefault(phrase, []).append(item_id)

    def write(self, phrases: Sequence[str], template: str, rng: np.random.Generator, *, never: str) -> str:
        """Say phrases in a sentence.

        Args:
            phrases: At least one.
            template: Of `REGISTERS`.
            rng: Draws the words.
            never: Item whose title must not stand in the sentence (the target).
        """
        eras = [phrase for phrase in phrases if _DECADE.fullmatch(phrase)]
        kinds = [phrase for phrase in phrases if not _DECADE.fullmatch(phrase)]
        kind = " and ".join(self._kind(phrase, rng) for phrase in kinds) or "of any sort"
        era = " ".join(self._era(phrase, rng, never) for phrase in eras)
        return " ".join(template.format(kind=kind, era=era).replace("()", "").split())

    def _kind(self, phrase: str, rng: np.random.Generator) -> str:
        words = WORDS.get(phrase) if self.reworded else None
        return phrase if words is None else words[int(rng.integers(len(words)))]

    def _era(self, phrase: str, rng: np.random.Generator, never: str) -> str:
        if not self.reworded:
            return f"out of the {phrase}"
        title = self.catalogue.item(never).title
        titles = [self.catalogue.item(i).title for i in self._titles.get(phrase, []) if i != never]
        titles = [other for other in titles if title not in other and other not in title]
        ways = [f"out in {int(phrase[:4]) + int(rng.integers(10))} or so"]
        if phrase in _NICKNAMES:
            ways.append(f"the sort they did in the {_NICKNAMES[phrase]}")
        if titles:
            ways.append(f"around the time of {titles[int(rng.integers(len(titles)))]}")
        return ways[int(rng.integers(len(ways)))]
