"""Constraints as segments of a preference: `{"year": {"min": 1990}}` as `year >= 1990`."""

from collections.abc import Mapping, Sequence
from typing import Any

from deeprec.trm_tool.catalogue.written_numbers import MAX_DIGITS
from deeprec.trm_tool.text import plain

MAX_VALUE_CHARS = 80
MAX_VALUES = 20


def preference_segments(where: Mapping[Any, Any]) -> list[str]:
    """Write constraints as the segments that `read_stated_preference` reads back.

    Args:
        where: Attribute -> a condition as in `Where`, or in its place a value or a list of values that an item may
            have. What is neither is left out.

    Returns:
        `only NAME: VALUE or VALUE`, `not NAME: VALUE`, `NAME >= NUMBER` and `NAME <= NUMBER`, each on one line.
    """
    segments: list[str] = []
    for name, condition in list(where.items())[:MAX_VALUES]:
        named = _word(name)
        if not isinstance(condition, Mapping):
            condition = {"in": condition}
        allowed, refused = _words(condition.get("in")), _words(condition.get("not_in"))
        segments += [f"only {named}: {' or '.join(allowed)}"] if allowed else []
        segments += [f"not {named}: {value}" for value in refused]
        for key, sign in (("min", ">="), ("max", "<=")):
            bound = condition.get(key)
            if isinstance(bound, str | int | float) and not isinstance(bound, bool) and _word(bound):
                segments.append(f"{named} {sign} {_word(bound)}")
    return segments


def _words(values: object) -> list[str]:
    if isinstance(values, str | int | float):
        values = [values]
    if not isinstance(values, Sequence | set | frozenset):
        return []
    listed = [value for value in list(values)[:MAX_VALUES] if isinstance(value, str | int | float)]
    return [word for value in listed if (word := _word(value))]


def _word(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        return ""  # Python writes no integer of thousands of digits
    text = f"{value:.12g}" if isinstance(value, float) else str(value)[: 4 * MAX_VALUE_CHARS]
    return plain(text.replace(";", ","), MAX_VALUE_CHARS)
