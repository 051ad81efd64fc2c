"""What an attribute of numbers holds, by its English name, and which units of a text are in keeping with it."""

import re

from deeprec.trm_tool.catalogue.said_numbers import SaidNumber

PRICES = ("price", "cost", "msrp")
"""One of these is part of the name of a price."""
_AGE = r"(?<![a-z])age(?![a-z])"
_YEARS = re.compile(rf"year|date|decade|releas|publish|vintage|{_AGE}")
_WEIGHTS = re.compile(r"weight|mass|load|kg|gram")
_UNITS = {  # a unit -> what the name of an attribute holds that is counted in it
    r"min(?:ute)?s?|hours?|hrs?|days?|weeks?|months?": rf"time|duration|length|min(?:ute)?s|hour|day|week|month|{_AGE}",
    r"pages?": r"page|length",
    r"people|persons?|players?": r"people|person|player|guest|group|size|capacity|seat|serving",
    r"cm|mm|m|km|inch(?:es)?": (
        r"size|height|width|length|depth|diameter|diagonal|distance|screen|range|cm|mm|km|inch|met(?:re|er)"
    ),
    r"kg|g|grams?": r"weight|mass|load|kg|gram",
    r"lit(?:re|er)s?|l": r"volume|capacity|lit(?:re|er)|size",
    r"watts?|w": r"watt|power",
    r"stars?": r"star|rating|score|review",
    r"pieces?": r"piece|part|count|size|number",
    r"percent|%": r"percent|pct|share|rat(?:e|ing)|score|discount|content|alcohol|abv",
    r"years? old": rf"year|{_AGE}",
    r"seasons?": r"season",
    r"episodes?": r"episode",
}
_SCALES = {  # a short unit -> what it measures, and how many of the smallest of these it is
    **{unit: ("mass", scale) for unit, scale in (("mg", 1.0), ("g", 1e3), ("kg", 1e6))},
    **{unit: ("length", scale) for unit, scale in (("mm", 1.0), ("cm", 10.0), ("m", 1e3), ("km", 1e6))},
    **{unit: ("volume", scale) for unit, scale in (("ml", 1.0), ("cl", 10.0), ("l", 1e3))},
    **{unit: ("time", scale) for unit, scale in (("min", 1.0), ("mins", 1.0), ("h", 60.0), ("hrs", 60.0))},
    "w": ("power", 1.0),
}
UNIT = re.compile(rf"\s?-?(?P<unit>{'|'.join(_UNITS)})(?:(?<=%)|\b)(?!\w)", re.IGNORECASE)
"""A unit behind a number."""


def split_unit(name: str) -> tuple[str, str | None]:
    """The name of an attribute in words, and the unit that closes it: `weight_g` is the weight, in g."""
    *words, last = name.replace("_", " ").split(" ")
    return (" ".join(words), last) if any(words) and last.lower() in _SCALES else (" ".join([*words, last]), None)


def is_price(name: str) -> bool:
    """Whether an attribute of numbers holds prices, by its name."""
    return any(part in name.lower() for part in PRICES)


def unit_of(said: SaidNumber, text: str, places: list[tuple[int, int]]) -> str | None:
    """The unit that stands behind a number and its bound, in lower case; None where none is known.

    Args:
        said: One of `said_numbers(text)`.
        text: What was said.
        places: `word_places(text)`.
    """
    found = UNIT.match(text, places[max(said.used)][1])
    return None if found is None else found["unit"].lower()


def scale_between(unit: str | None, name: str) -> float:
    """What a number in a unit is multiplied with to be in the unit of an attribute: 1000 for "2 kg" and `weight_g`.

    It is 1 where the name of the attribute has no unit, or one of these measures something else.
    """
    short = re.sub(r"^(?:grams?)$", "g", re.sub(r"^(?:min(?:ute)?s?)$", "min", re.sub(r"^hours?$", "h", unit or "")))
    said, own = _SCALES.get(short), _SCALES.get((split_unit(name)[1] or "").lower())
    return said[1] / own[1] if said and own and said[0] == own[0] else 1.0


def is_in_keeping(said: SaidNumber, unit: str | None, name: str) -> bool:
    """Whether a number can be about an attribute: "under 20 bucks" about prices alone, "90 minutes" about times."""
    if said.about == "price":
        return is_price(name)
    if said.about == "weight" and not _WEIGHTS.search(name.lower()):
        return False
    if unit is not None:
        names = next(names for each, names in _UNITS.items() if re.fullmatch(each, unit))
        return re.search(names, name.lower()) is not None
    return said.about in (None, "weight") or _YEARS.search(name.lower()) is not None
