"""What a reply claims of the cart, read from its text, and whether the cart's contents confirm it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter, fold_words

if TYPE_CHECKING:
    from deeprec.trm_tool.recommender import CatalogueView

_FIRST_MARK = 0xE000
"""Titles are replaced by characters of private use, so that their words and full stops are not read."""
_MARK = re.compile("[\ue000-\uf8ff]")
_MAX_MARKS = 1_000
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+")
_NUMBERED = re.compile(r"\s*(?:\d{1,2}[.)]|[-*•])\s")
_IN_CART = re.compile(
    r"\b(?:your|the|my) (?:shopping )?(?:cart|basket|bag|trolley)\b"
    r"|\b(?:im|der|den|dem|dein(?:e[nm])?|ihr(?:e[nm])?|mein(?:e[nm])?) (?:warenkorb|einkaufswagen|einkaufskorb)\b",
    re.IGNORECASE,
)
_DONE = re.compile(r"\b(?:added|removed|taken out|put in|hinzugefügt|entfernt|herausgenommen)\b", re.IGNORECASE)
_ORDERED = re.compile(
    r"\b(?:ordered|purchased|order (?:is|was|has been) (?:placed|confirmed|complete)|bestellt|gekauft)\b", re.IGNORECASE
)
_MODAL = (
    "can|could|shall|should|would|will|may|might|kann|könnte|könnten|soll|sollen|sollte|wird|werde|werden|würde|möchte"
)
_IF = "if|once|unless|wenn|falls|sobald"
_OPEN = re.compile(
    r"\?\s*$|^[^\w\ue000-\uf8ff]*(?:is|are|was|were|has|have|do|does|did|ist|sind|liegt|hast|haben)\b"
    rf"|\b(?:{_MODAL}|{_IF}|please|want|wish|i['’]ll|say|bitte|willst|wollen|möchtest|möchten)\b",
    re.IGNORECASE,
)
"""Questions, offers, promises and conditions, which claim nothing."""
_CLAUSE_ENDS = re.compile(
    rf";|,\s*(?=(?:or |oder )?(?:{_IF}|{_MODAL})\b)"
    rf"|\s(?:and|but|und|aber)\s+(?=(?:(?:i|it|we|ich|es|wir)\s+)?(?:{_MODAL})\b)",
    re.IGNORECASE,
)
"""Where a claim ends and an offer, a promise or a condition begins, or another claim."""
_EMPTY = re.compile(
    r"\b(?:is|are) (?:now |still )?empty\b|\bnothing (?:is )?in\b|\bist (?:jetzt |noch |nun )?leer\b|\bnichts im\b",
    re.IGNORECASE,
)
_NO_LONGER = re.compile(r"\b(?:no longer|nicht mehr)\b", re.IGNORECASE)
_GONE = re.compile(
    r"\b(?:no longer|nicht mehr|out of|removed|deleted|gone|taken|took|entfernt|herausgenommen|aus de[mr]"
    r"|aus (?:deinem|ihrem|meinem))\b",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"\b(?:not|never|nothing|none|no|unable|failed|fails|unavailable|cannot|nicht|nichts|nie|kein\w*)\b|n['’]t\b",
    re.IGNORECASE,
)


class CartClaims:
    """Reads what replies claim of a cart: that an item is in it, was taken out of it or is not in it, that it is empty.

    Claims are read from sentences about "your cart" (or basket, bag, trolley), sentences with "added" or "removed", and
    the lines under one that ends in a colon. The clauses that ask, offer, promise or set a condition claim nothing.
    English and German are read. The simulated shop takes no
    orders, so that the claim of one is false.

    Args:
        catalogue: Its titles name the items of a claim. Where several items share one, any of them confirms it.
    """

    def __init__(self, catalogue: CatalogueView) -> None:
        self._titles: dict[tuple[str, ...], dict[str, set[str]]] = {}
        """Folded words of a title -> each title that has them -> ids of its items."""
        for item_id in catalogue.ids:
            title = _bare(catalogue.item(item_id).title)
            self._titles.setdefault(fold_words(title), {}).setdefault(title, set()).add(item_id)
        self._spotter = PhraseSpotter(title for titles in self._titles.values() for title in titles)

    def false_claims(
        self, text: str, before: Collection[str], after: Collection[str], meant: Sequence[str] = ()
    ) -> tuple[int, list[str]]:
        """Compare the claims of a reply with the cart.

        Args:
            text: The reply.
            before: Ids of the items that were in the cart before it.
            after: Ids of the items in the cart behind it.
            meant: Ids of the items that the person asked for, which "it" stands for.

        Returns:
            How many claims there are, and the sentences of the false ones.
        """
        masked, titles = self._masked(text)
        claims, false = 0, list[str]()
        lists, listed = False, set[str]()
        for sentence in (*_sentences(masked), ""):
            named = [self._ids(titles[mark]) for mark in _MARK.findall(sentence)]
            if lists and named and _NUMBERED.match(sentence):
                claims += 1
                listed |= named[0]
                holds = not named[0].isdisjoint(after)
            elif _NUMBERED.match(sentence):
                continue
            else:
                if lists and not listed >= set(after):
                    false.append("The list of the cart leaves an item out.")
                lists = _IN_CART.search(sentence) is not None and sentence.rstrip().endswith(":")
                listed = set()
                found = []
                for clause in [sentence] if lists else _CLAUSE_ENDS.split(sentence):
                    items = [self._ids(titles[mark]) for mark in _MARK.findall(clause)]
                    items = items or named or [{item_id} for item_id in meant]
                    found.append(self._holds(clause, items, set(before), set(after)))
                claims += sum(each is not None for each in found)
                holds = False not in found
            if holds is False:
                false.append(_MARK.sub(lambda mark: titles[mark[0]], sentence).strip())
        return claims, false

    def names(self, text: str, item_ids: Collection[str]) -> bool:
        """Whether a text has the titles of all these items."""
        _, titles = self._masked(text)
        return set().union(*map(self._ids, titles.values())) >= set(item_ids)

    def _masked(self, text: str) -> tuple[str, dict[str, str]]:
        """The text with a mark in the place of each title, and the titles by their marks."""
        masked, end, titles = list[str](), 0, dict[str, str]()
        for _, start, stop in self._spotter.places(text):
            title = _bare(text[start:stop])
            if title in self._titles.get(fold_words(title), ()) and len(titles) < _MAX_MARKS:
                mark = chr(_FIRST_MARK + len(titles))
                titles[mark] = title
                masked += [_MARK.sub(" ", text[end:start]), mark]
                end = stop
        return "".join([*masked, _MARK.sub(" ", text[end:])]), titles

    def _ids(self, title: str) -> set[str]:
        return self._titles[fold_words(title)][title]

    def _holds(self, sentence: str, items: Sequence[Collection[str]], before: set[str], after: set[str]) -> bool | None:
        """Whether the claim of a sentence holds; None where it makes none."""
        if _OPEN.search(sentence):
            return None
        is_negated = _NOT.search(_NO_LONGER.sub(" ", sentence)) is not None
        if _ORDERED.search(sentence) and not is_negated:
            return False
        about_cart = _IN_CART.search(sentence) is not None
        if not about_cart and not _DONE.search(sentence):
            return None
        if about_cart and _EMPTY.search(sentence):
            return not after
        if sentence.rstrip().endswith(":"):
            return None
        if is_negated:
            says_absent = about_cart and items and not _GONE.search(sentence)
            return all(after.isdisjoint(ids) for ids in items) if says_absent and _MARK.search(sentence) else None
        if _GONE.search(sentence):
            gone = before - after
            return all(not gone.isdisjoint(ids) for ids in items) if items else bool(gone)
        return all(not after.isdisjoint(ids) for ids in items) if items else bool(after - before)


def _sentences(text: str) -> Iterator[str]:
    for line in filter(None, text.split("\n")):
        yield from [line] if _NUMBERED.match(line) else _SENTENCE_ENDS.split(line)


def _bare(title: str) -> str:
    """A title as it is found in a text: without the signs around it."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", " ".join(title.split()))
