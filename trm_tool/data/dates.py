"""Dates as people and programs write them; which of day and month stands first is decided over a whole column."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Literal

DateOrder = Literal["day-first", "month-first"]

MAX_DATE_CHARS = 64
_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d{2})?")
_ISO_MONTHS = {"", *(f"{month:02d}" for month in range(1, 13))}
_TIME = r"(?:[T ,]+(?P<clock>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?)?"
_ZONE = r"(?:\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})(?:\s*\([A-Z]+\))?)?"
_YEAR_FIRST = re.compile(rf"(?P<y>\d{{4}})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}}){_TIME}{_ZONE}")
_YEAR_LAST = re.compile(
    rf"(?P<a>\d{{1,2}})(?P<mark>[-/.])(?P<b>\d{{1,2}})(?P=mark)(?P<y>\d{{4}}|\d{{2}}){_TIME}{_ZONE}"
)
_MONTHS = dict(zip("jan feb mar apr may jun jul aug sep oct nov dec".split(), range(1, 13), strict=True))  # noqa: SIM905
_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:(?P<d1>\d{1,2})(?:st|nd|rd|th)?[-. ]+)?(?P<name>[A-Za-z]{3,9})\.?[-, ]+"
    r"(?:(?P<d2>\d{1,2})(?:st|nd|rd|th)?,?\s+)?"
    rf"(?P<y>\d{{4}}){_TIME}{_ZONE}"
)
_CLOCK_FIRST = re.compile(r"([A-Za-z]{3} +\d{1,2}) (\d{1,2}:\d{2}:\d{2})(?: ([A-Z]{3,4}|[+-]\d{4}))? (\d{4})")


def parse_date(text: str, order: DateOrder | None = None) -> datetime | None:
    """A moment from its text, in UTC unless it has a zone; None where it is none that is known.

    Known are ISO 8601 (also with slashes, dots, and a UTC behind it), `31.12.2020`, `12/31/2020 9:03 PM`,
    `31-Dec-2020`, `December 31, 2020`, and the forms of email and of Twitter. Of `1/2/2020` the order decides; None
    takes what only one order gives.
    """
    text = text.strip()
    if not 6 <= len(text) <= MAX_DATE_CHARS:
        return None
    if text[4] == "-":
        try:
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        except ValueError:
            pass  # perhaps with UTC behind it
    text = _WEEKDAY.sub("", text, count=1)
    text = _CLOCK_FIRST.sub(lambda m: f"{m[1]} {m[4]} {m[2]}{' ' + m[3] if m[3] else ''}", text)
    try:
        if match := _YEAR_FIRST.fullmatch(text):
            return _moment(match, int(match["y"]), int(match["m"]), int(match["d"]))
        if match := _YEAR_LAST.fullmatch(text):
            day, month = _in_order(match, order)
            year = int(match["y"])
            return _moment(match, year if year > 99 else year + (1900 if year > 68 else 2000), month, day)
        if (match := _NAMED.fullmatch(text)) and bool(match["d1"]) != bool(match["d2"]):
            return _moment(match, int(match["y"]), _MONTHS[match["name"][:3].lower()], int(match["d1"] or match["d2"]))
        moment = datetime.fromisoformat(text)
    except (KeyError, ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def iso_day(text: str, order: DateOrder | None = None) -> str | None:
    """The day of a date as `1995-08-19`; a month `1995-08` or a year `1995` stays; None for other text."""
    text = text.strip()
    if _YEAR_OR_MONTH.fullmatch(text):
        return text if text[5:7] in _ISO_MONTHS else None
    moment = parse_date(text, order)
    return moment.date().isoformat() if moment else None


def is_day(text: str) -> bool:
    """Whether a text is a date with a day, whichever of day and month stands first."""
    return not text.strip().isdecimal() and any(parse_date(text, order) for order in ("day-first", "month-first"))


def seconds_of(moment: date | datetime) -> int | float:
    """Seconds since 1970, whole where they are whole; a moment without a zone, and a day, are in UTC."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = since.days * 86400 + since.seconds
    return seconds + since.microseconds / 1e6 if since.microseconds else seconds


def find_order(texts: Iterable[str]) -> DateOrder | Literal["any", "unknown"]:
    """Which of day and month stands first in dates such as `31/12/2020`: the first date that has one order decides.

    Returns:
        "any" where no date of this form is there, "unknown" where every one of them has both orders.
    """
    seen = False
    for text in texts:
        match = _YEAR_LAST.fullmatch(text.strip()) if len(text) <= MAX_DATE_CHARS else None
        if match is None or match["mark"] == ".":
            continue
        first, second = int(match["a"]), int(match["b"])
        if first > 12 >= second:
            return "day-first"
        if second > 12 >= first:
            return "month-first"
        seen = seen or first != second
    return "unknown" if seen else "any"


def _in_order(match: re.Match[str], order: DateOrder | None) -> tuple[int, int]:
    """Day and month; with dots the day stands first everywhere."""
    first, second = int(match["a"]), int(match["b"])
    if match["mark"] == ".":
        return first, second
    if order is None and first != second:
        if first <= 12 and second <= 12:
            raise ValueError("both orders")
        order = "day-first" if first > 12 else "month-first"
    return (second, first) if order == "month-first" else (first, second)


def _moment(match: re.Match[str], year: int, month: int, day: int) -> datetime:
    hour, minute, *rest = (match["clock"] or "0:00").replace(",", ".").split(":")
    hours = int(hour)
    if match["half"]:
        if not 1 <= hours <= 12:
            raise ValueError("no hour of half a day")
        hours = hours % 12 + (12 if match["half"] in "Pp" else 0)
    second, _, fraction = (rest[0] if rest else "0").partition(".")
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    zone = match["zone"]
    at = UTC
    if zone and zone[0] in "+-":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        at = timezone(-offset if zone[0] == "-" else offset)
    return datetime(year, month, day, hours, int(minute), int(second), micros, at)
