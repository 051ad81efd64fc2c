"""Titles and quotations in what somebody said, which state nothing: "No Country for Old Men", 'like "Only Horror"'."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_QUOTED = re.compile(r"[\"“”«„][^\"“”«»„\n]{1,120}[\"“”»]|(?<![\w'])['‘][^'‘’\n]{2,120}['’](?!\w)")
_TITLE_WITH_YEAR = re.compile(
    r"(?:\b[A-Z0-9][\w'’-]*[:,]?\s+(?:(?:of|for|the|and|in|a|to|on)\s+){0,2})+\(\d{4}\)|\(\d{4}\)"
)
_CAPITALISED = re.compile(
    r"\b(?:No|Not|Nothing|Never|Only|Without|None|Neither|Skip|Avoid|Hate|Anything But|Under|Over|Before|After)"
    r"(?:\s+(?:(?:of|for|the|and|in|a|to|on|but)\s+){0,2}[A-Z][\w'’-]*){2,}"
)
"""A title that begins like a refusal: the words that carry it begin with capitals."""
_IN_TITLES = _words(
    "no not nothing never none neither without only except avoid skip minus hate hated anything don't can't isn't must "
    "under over below above before after less more since until between up at max stay keep leave away"
)
"""Words of titles that can state something."""


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


def _bare_title(title: str) -> str:
    title = re.sub(r"\s*\(\d{4}\)\s*$", "", title).strip()
    body, comma, article = title.rpartition(", ")
    return (f"{article} {body}" if comma and article in ("The", "A", "An") else title).lower()
