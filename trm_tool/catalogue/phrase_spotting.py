"""A catalogue's phrases are found in free text: "a funny comedy from the 90s" names comedy and the 1990s."""

import re
from collections.abc import Iterable, Iterator

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
"""A word, with its apostrophes."""
_YEAR = re.compile(r"(1[89]\d|20\d)\d")
_SHORT_DECADE = re.compile(r"\d0s")
_SPELT = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_SPELT_DECADES = {spelt: f"{tens}0s" for tens, spelt in enumerate(_SPELT, 2)}


class PhraseSpotter:
    """Finds phrases in texts, word by word, longer phrases first; case, plurals and apostrophes are ignored.

    A year, "90s" and "nineties" mean their decade, where the catalogue has a phrase for it.

    Args:
        phrases: All phrases of the catalogue, as `Catalogue.phrases` names them.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self._phrases = {words: phrase for phrase in phrases if (words := fold_words(phrase))}
        self._longest = max(map(len, self._phrases), default=0)
        self._decades: dict[str, str] = {}
        for phrase in self._phrases.values():
            if _YEAR.fullmatch(phrase[:-1]) and phrase.endswith("0s"):
                # "90s" means the latest such decade of the catalogue.
                self._decades[phrase[-3:]] = max(phrase, self._decades.get(phrase[-3:], ""))

    def spot(self, text: str) -> tuple[str, ...]:
        """Phrases that a text names, in its order, each once."""
        return tuple(dict.fromkeys(phrase for phrase, _, _ in self.places(text)))

    def places(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Phrases that a text names, in its order, each with the positions of its start and its end."""
        found = list(WORD.finditer(text))
        words, start = tuple(_fold(word.group().lower()) for word in found), 0
        while start < len(words):
            for length in range(min(self._longest, len(words) - start), 0, -1):
                phrase = self._phrases.get(words[start : start + length])
                if phrase is None and length == 1:
                    phrase = self._decade(words[start])
                if phrase is not None:
                    yield phrase, found[start].start(), found[start + length - 1].end()
                    start += length
                    break
            else:
                start += 1

    def _decade(self, word: str) -> str | None:
        if _YEAR.fullmatch(word):
            return self._phrases.get((f"{word[:3]}0s",))
        return self._decades.get(word if _SHORT_DECADE.fullmatch(word) else _SPELT_DECADES.get(word, ""))


def fold_words(text: str) -> tuple[str, ...]:
    """Words of a text, folded so that "Comedies", "comedy" and "comedy's" are one."""
    return tuple(_fold(word.group().lower()) for word in WORD.finditer(text))


def _fold(word: str) -> str:
    word = word.replace("'", "").replace("’", "")
    if word in _SPELT_DECADES or any(character.isdigit() for character in word) or len(word) <= 3:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
