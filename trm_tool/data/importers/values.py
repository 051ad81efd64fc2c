"""Raw values are parsed for an atomic file: one-line text, prices, years, times, tags."""

import html
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

MAX_PROSE_CHARS = 2000
"""Characters of a description that are kept: text encoders read a few hundred words at most."""
TAG_MARK = "\x1f"
"""Separator of tags until a whole column is read; cleaned text never holds it."""

# Control characters other than white space, lone surrogates and byte order marks do not belong into a line of text.
_UNFIT = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff]")
_MARKUP = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>|</?[a-zA-Z][^<>]*>", re.DOTALL | re.IGNORECASE)
_AMOUNT = r"[$€£]?\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_PRICE = re.compile(rf"(?:from\s+)?{_AMOUNT}(?:\s*[-–]\s*{_AMOUNT})?(?:\s*(?:USD|EUR|GBP))?", re.IGNORECASE)
# "(1995)", "(1995-1999)", "(1995– )", and "(1995) (V)" of films released on video
_YEAR = re.compile(r"\s*\((\d{4})(?:\s*[-–—]\s*(?:\d{4})?\s*)?\)(?:\s*\((?:V|TV|VG)\))?\s*$")
# What pandas, and so RecBole, reads as a missing value, except for the empty text.
_MISSING = frozenset(
    {"NA", "<NA>", "#NA", "N/A", "n/a", "#N/A", "#N/A N/A", "NULL", "null", "None", "NaN", "nan", "-NaN", "-nan"}
    | {"1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
_EMPTY = frozenset({"", "nan", "none", "null", "n/a", "na", "<na>", "-", "—"})


def clean(text: str, max_chars: int | None = None) -> str:
    """Text on one line, cut at a word: white space is collapsed, control characters and lone surrogates are dropped."""
    line = " ".join(_UNFIT.sub("", text).split())
    if max_chars is None or len(line) <= max_chars:
        return line
    return line[:max_chars].rpartition(" ")[0] or line[:max_chars]


def why_no_id(text: str) -> str | None:
    """Why a text that is not empty cannot be an id; None where it can, and RecBole reads it unchanged."""
    if _CONTROL.search(text):
        return "holds control characters"
    if text.startswith('"'):
        return "begins with a quote, which RecBole expects to be closed"
    if text in _MISSING:
        return "RecBole takes for a missing value"
    return None


def from_html(text: str) -> str:
    """The beginning of a text, without tags and with its entities resolved; some sources escape them twice."""
    text = text[: 5 * MAX_PROSE_CHARS]  # the rest would be cut
    return clean(_MARKUP.sub(" ", html.unescape(html.unescape(text))))


def safe_field(text: str) -> str:
    """A cleaned text as a field: pandas, and so RecBole, expects a quote at its start to be closed."""
    if not text.startswith('"'):
        return text
    parts = text.split('"')
    return parts[0] + "".join(("“" if at % 2 == 0 else "”") + part for at, part in enumerate(parts[1:]))


def is_empty(text: str) -> bool:
    """Whether a text stands for a missing value."""
    return text.strip().lower() in _EMPTY


def parse_number(value: object) -> float | None:
    """A finite number from a number or its text, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parse_price(value: object) -> float | None:
    """A price from 12.99, "$12.99", "1,299.00" or "from 12.99", the lower end of "$5.99 - $12.00"; otherwise None."""
    if not isinstance(value, str):
        number = parse_number(value)
        return number if number is not None and number >= 0 else None
    match = _PRICE.fullmatch(value.strip()) if len(value) <= 80 else None
    return float(match.group(1).replace(",", "")) if match else None


def parse_time(value: object) -> int | float | None:
    """A time stamp, exact where it is whole; a date as text becomes seconds since 1970, in UTC unless it has a zone."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return _whole(value)
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.strip()
    try:
        return parse_time(int(text))
    except ValueError:
        pass
    number = parse_number(text)
    if number is not None:
        return _whole(number)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _whole((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def split_title(title: str) -> tuple[str, float | None]:
    """Title and year, `("Toy Story", 1995.0)` of "Toy Story (1995)"; the first year of "(1995-1999)", or None."""
    match = _YEAR.search(title)
    if match is None or not title[: match.start()].strip():
        return clean(title), None
    return clean(title[: match.start()]), float(match.group(1))


def mark_tags(tags: Iterable[str]) -> str:
    """Tags joined by `TAG_MARK`, without repeats and empty ones."""
    return TAG_MARK.join(dict.fromkeys(tag for raw in tags if (tag := clean(raw))))


def show_number(number: float) -> str:
    """The shortest text that reads back as the same finite number: `12.99`, `3`."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def _whole(number: float) -> int | float | None:
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
