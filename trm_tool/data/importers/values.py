"""Raw values are parsed for an atomic file: one-line text, prices, years, times, tags."""

import html
import math
import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from deeprec.trm_tool.data.dates import MAX_DATE_CHARS, DateOrder, parse_date, seconds_of

MAX_PROSE_CHARS = 2000
"""Characters of a description that are kept: text encoders read a few hundred words at most."""
TAG_MARK = "\x1f"
"""Separator of tags until a whole column is read; cleaned text never holds it."""

# Control characters other than white space, lone surrogates and byte order marks do not belong into a line of text.
_UNFIT = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff]")
_MARKUP = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>|</?[a-zA-Z][^<>]*>", re.DOTALL | re.IGNORECASE)
_SIGN = r"(?:[A-Z]{0,3}[$€£¥₹₽₩₺₫฿₴]|US\$|R\$|[A-Z]{3}|kr\.?|zł|Kč|Ft|lei|Rs\.?|Fr\.?)"
_AMOUNT = rf"(?:{_SIGN}\s*)?(\d[\d., \u00a0\u202f'’]*\d|\.?\d)(?:[.,]?[-–—]{{1,2}}(?!\s*\d))?\s*(?:{_SIGN})?"
_PRICE = re.compile(rf"(?:from\s+|ab\s+)?{_AMOUNT}(?:\s*[-–]\s*{_AMOUNT})?", re.IGNORECASE)
_CURRENCY = re.compile(r"[$€£¥₹₽₩₺₫฿₴]|\b(?:USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|BRL|CAD|AUD)\b")
_FREE = ("free", "free to play", "gratis")
_COMMA_DECIMAL, _POINT_DECIMAL = re.compile(r"\d,\d{1,2}(?!\d)"), re.compile(r"\d\.\d{1,2}(?!\d)")
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


def text_of(value: bytes) -> str | None:
    """Bytes as text in UTF-8, or None."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def parse_number(value: object) -> float | None:
    """A finite number from a number or its text, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parse_price(value: object, mark: str | None = None) -> float | None:
    """A price from 12.99, "$12.99", "1.299,00 €", "CHF 1'299.–" or "free"; the lower end of "$5.99 - $12.00"; or None.

    Args:
        value: A number or a text.
        mark: The decimal mark of the column, which decides for texts such as "1.299"; None reads a point as the mark
            and a comma as a separator of thousands there.
    """
    if not isinstance(value, str):
        number = parse_number(value)
        return number if number is not None and number >= 0 else None
    text = value.strip()
    if text.lower() in _FREE:
        return 0.0
    match = _PRICE.fullmatch(text) if len(text) <= 80 else None
    return parse_amount(match.group(1), mark) if match else None


def parse_amount(text: str, mark: str | None = None) -> float | None:
    """A number as people write it, such as "1,299.50", "1.299,50", "1 299,5" or "-3"; None for other text.

    Args:
        text: The number.
        mark: The decimal mark where the text itself does not show it, as in "1.299"; see `parse_price`.
    """
    digits = re.sub(r"(?<=\d)[ \u00a0\u202f'’](?=\d{3})", "", text.strip())
    marks = [char for char in digits if char in ".,"]
    if len(set(marks)) == 2:
        decimal = marks[-1]
    elif len(marks) == 1 and re.search(r"\d[.,]\d{3}$", digits):
        decimal = mark or "."
    else:
        decimal = marks[0] if len(marks) == 1 else ""
    for separator in ".,":
        if separator != decimal and not re.fullmatch(r"[^.,]*", digits):
            digits = re.sub(rf"(?<=\d)\{separator}(?=\d{{2,3}}(?!\d))", "", digits)
    return parse_number(digits.replace(",", ".")) if digits.count(decimal or "\0") <= 1 else None


def decimal_mark(texts: Iterable[str]) -> str | None:
    """The decimal mark of a column: the one before one or two last digits; None where both or none stand there."""
    found = {
        mark for text in texts for mark, form in ((",", _COMMA_DECIMAL), (".", _POINT_DECIMAL)) if form.search(text)
    }
    return found.pop() if len(found) == 1 else None


def has_currency(text: str) -> bool:
    """Whether a text names a currency."""
    return bool(_CURRENCY.search(text))


def parse_time(value: object) -> int | float | None:
    """A time stamp, exact where it is whole; a date as text becomes seconds since 1970, in UTC unless it has a zone."""
    return parse_date_time(value) if (number := parse_stamp(value)) is None else number


def parse_stamp(value: object) -> int | float | None:
    """A time stamp that is a number or its text, exact where it is whole."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, (float, Decimal)):
        return _whole(float(value))
    if not isinstance(value, str) or len(value) > MAX_DATE_CHARS:
        return None
    try:
        return parse_stamp(int(value))
    except ValueError:
        number = parse_number(value)
        return None if number is None else _whole(number)


def parse_date_time(value: object, order: DateOrder | None = None) -> int | float | None:
    """Seconds since 1970 of a date or of its text."""
    moment = parse_date(value, order) if isinstance(value, str) else value
    return seconds_of(moment) if isinstance(moment, date) else None


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
