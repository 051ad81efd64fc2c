"""Numbers as a text writes them, in figures and in English words, and the words of the text that they are made of."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from deeprec.trm_tool.catalogue.catalogue import is_year

MAX_DIGITS = 15
"""Longer figures are no bounds."""
TOKEN = re.compile(
    r"(?P<decade>\d{1,3}0)['’]?s(?!\w)|(?P<figure>\d+(?:[.,]\d+)*)(?P<thousands>k(?!\w))?(?![^\W_])"
    r"|[<>]=?|[=≤≥+:]|[$€£]|[-–—]|\.\.|(?P<stop>[.,;!?\n()])|(?P<word>\w+(?:['’]\w+)*)"
)
"""A word, a figure or a sign of a text, or a mark that ends a clause."""
_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_DECADES = "twenties thirties forties fifties sixties seventies eighties nineties"
_SMALL = {word: number for number, word in enumerate(_SMALL_WORDS.split())}
_SMALL |= {word: 10 * number for number, word in enumerate(_TENS.split(), 2)}
_LARGE = {"hundred": 100, "thousand": 1_000, "grand": 1_000, "million": 1_000_000}
_SPELT_DECADES = {word: 10 * number for number, word in enumerate(_DECADES.split(), 2)}


def split_words(text: str) -> list[str]:
    """Words, figures and signs of a text in lower case, without apostrophes; marks that end a clause are "." tokens."""
    return words_of(TOKEN.finditer(text))


def words_of(tokens: Iterable[re.Match[str]]) -> list[str]:
    """The words of `split_words` from the matches of `TOKEN`."""
    return ["." if found["stop"] else _plain(found[0]) for found in tokens]


def word_places(text: str) -> list[tuple[int, int]]:
    """Where each word of `split_words` stands: the positions of its first character and behind its last."""
    return [found.span() for found in TOKEN.finditer(text)]


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A number or a decade, and the words that it is made of."""

    low: float
    high: float
    """The same as `low`, but for a decade."""
    start: int
    """The position of its first word."""
    stop: int
    """The position behind its last word."""
    is_decade: bool = False
    is_short: bool = False
    """Whether a decade lacks its century."""

    @property
    def is_dated(self) -> bool:
        """Whether it is a decade, or may be a year."""
        return self.is_decade or is_year(self.low)


def written_numbers(
    tokens: Sequence[re.Match[str]], words: Sequence[str], *, before_a_sign: Collection[str]
) -> Iterator[WrittenNumber]:
    """Find the numbers of a text, in its order.

    Args:
        tokens: The matches of `TOKEN` in it.
        words: The words of the same tokens, by `words_of`.
        before_a_sign: Words behind which a dash is the sign of a number, as it is where a text begins; elsewhere it
            joins or separates.
    """
    at = 0
    while at < len(words):
        found, word = tokens[at], words[at]
        if found["decade"] and len(found["decade"]) in (2, 4):
            tens = float(found["decade"])
            yield WrittenNumber(tens, tens + 9, at, at + 1, is_decade=True, is_short=tens < 100)
        elif word in _SPELT_DECADES:
            tens = float(_SPELT_DECADES[word])
            yield WrittenNumber(tens, tens + 9, at, at + 1, is_decade=True, is_short=True)
        elif found["figure"]:
            if len(word) <= MAX_DIGITS and (value := _figure(found["figure"])) is not None:
                value *= 1_000 if found["thousands"] else 1
                is_negative = words[max(0, at - 1)] == "-" and (at == 1 or words[at - 2] in before_a_sign)
                value = -value if is_negative else value
                yield WrittenNumber(value, value, at - is_negative, at + 1)
        elif (spelt := _spelt(words, at)) is not None:
            value, stop = spelt
            yield WrittenNumber(value, value, at, stop)
            at = stop
            continue
        at += 1


def _figure(text: str) -> float | None:
    groups = re.split(r"[.,]", text)
    is_grouped = len(groups) > 1 and all(len(group) == 3 for group in groups[1:]) and ("," in text or len(groups) > 2)
    if is_grouped:
        return float("".join(groups))
    return float(".".join(groups)) if len(groups) <= 2 else None


def _spelt(words: Sequence[str], start: int) -> tuple[float, int] | None:
    """A number in words that begins at a position, and the position behind it: "two thousand", "nineteen ninety"."""
    total = current = 0
    last, at = 0, start
    parts: list[str] = []
    while at < len(words):
        word = words[at]
        if word in ("-", "and") and parts and at + 1 < len(words) and words[at + 1] in _SMALL:
            if word == "and" and parts[-1] not in _LARGE:
                break
            at += 1
            continue
        if word in _SMALL:
            value = _SMALL[word]
            if parts and parts[-1] in _SMALL:
                if 10 <= last < 100 and value >= 10 and len(parts) == 1:  # nineteen ninety
                    current = 100 * current
                elif last < 20 or value >= 10:
                    break
            current += value
            last = value
        elif word in _LARGE and parts:
            scaled = max(current, 1) * _LARGE[word]
            current, total, last = (scaled, total, 100) if word == "hundred" else (0, total + scaled, 1000)
        elif word in ("hundred", "thousand") and start and words[start - 1] == "a":
            current, last = (100, 100) if word == "hundred" else (1_000, 1_000)
        else:
            break
        parts.append(word)
        at += 1
    if not parts or parts in (["one"], ["zero"]):  # "not one that is blue" names no number
        return None
    return float(total + current), at


def _plain(word: str) -> str:
    return word.lower().replace("'", "").replace("’", "")
