"""What would give a target away in a person's words: forms of its title, its numbers, four words of its text."""

import re
from collections.abc import Iterable

from deeprec.evals.simulation.need_card import NeedCard
from deeprec.trm_tool.catalogue.catalogue import Item
from deeprec.trm_tool.catalogue.phrase_spotting import WORD

NGRAM_WORDS = 4
_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?!\w)")
_PART = re.compile(r"[:()\[\]/–—]|\s-\s")
_LAST_ARTICLE = re.compile(r"(.+), (the|an?|les?|la|il|das|der|die|el)", re.IGNORECASE)
_FIRST_ARTICLE = re.compile(r"(?:the|an?)\s+(.+)", re.IGNORECASE)


def find_target_leaks(text: str, item: Item, card: NeedCard) -> tuple[str, ...]:
    """Find what a text gives away of an item; words that the card names are the person's to say.

    Args:
        text: What the person wrote.
        item: The target.
        card: What the person needs.

    Returns:
        Titles and other forms of the title, numbers, and runs of four words that text and item share, each once.
    """
    said = _spaced(text)
    found = [name for name in names_of(item) if f" {name} " in said]
    found += sorted(numbers_of(item) & set(_NUMBER.findall(text)))
    own = _ngrams(f"{item.title} / {item.text}") - _ngrams(" / ".join(need.written for need in card.needs))
    found += sorted(" ".join(words) for words in own & _ngrams(text))
    return tuple(dict.fromkeys(found))


def could_name(texts: Iterable[str], item: Item) -> bool:
    """Whether words of some texts, put together in any way, could name an item or one of its numbers."""
    together = " / ".join(texts)
    words = set(_words(together))
    if any(set(name.split()) <= words for name in names_of(item)):
        return True
    return bool(numbers_of(item) & set(_NUMBER.findall(together)))


def names_of(item: Item) -> tuple[str, ...]:
    """The title and its other forms in lower case: its parts, `Matrix, The` and `The Matrix`, without the article."""
    names: dict[str, None] = {}
    for part in (item.title, *_PART.split(item.title)):
        last = _LAST_ARTICLE.fullmatch(part.strip())
        turned = f"{last[2]} {last[1]}" if last else part.strip()
        first = _FIRST_ARTICLE.fullmatch(turned)
        for form in (part, turned, first[1] if first else ""):
            words = _words(form)
            if words and not all(word.isdigit() for word in words):  # numbers are compared as numbers
                names[" ".join(words)] = None
    return tuple(names)


def numbers_of(item: Item) -> set[str]:
    """The numbers of an item as people write them: of its id, its title, and its attributes."""
    numbers = set(_NUMBER.findall(f"{item.id} / {item.title}"))
    for value in item.attributes.values():
        if isinstance(value, float):
            numbers |= {f"{value:.12g}", f"{value:.2f}"}
    return numbers


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("’", "'") for word in WORD.findall(text.casefold()))


def _spaced(text: str) -> str:
    return f" {' '.join(_words(text))} "


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {words[at : at + NGRAM_WORDS] for at in range(len(words) - NGRAM_WORDS + 1)}
