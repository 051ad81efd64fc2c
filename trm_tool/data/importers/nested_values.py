"""Lists, records and lists of records in a cell become tags, or the one name that they hold."""

import ast
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

_MAX_PARSED_CHARS = 20_000
"""Longer texts are parsed as JSON alone, whose parser is bounded."""
_NAMES = ("name", "title", "label", "display_name", "value", "tag", "term", "genre", "category", "keyword", "text")
"""Keys of a record that hold what people call it."""


def parse_nested(text: str) -> list[Any] | dict[str, Any] | None:
    """A list or a record from its text, in JSON or as Python writes it; None where it is other text."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        if len(text) > _MAX_PARSED_CHARS:
            return None
        try:
            parsed = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return parsed if isinstance(parsed, (list, dict)) else None


def flat_value(value: object) -> str | list[str] | None:
    """Tags of a list or of a record, or the name of a record that has one; None where it is empty."""
    if isinstance(value, Mapping):
        name = _name_of(value)
        return name if name is not None else list(_tags_of(value)) or None
    return list(_texts(value)) or None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        name = _name_of(value)
        yield from _tags_of(value) if name is None else [name]
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, (int, Decimal)) or (isinstance(value, float) and value == value):
        yield f"{value:g}" if isinstance(value, float) else str(value)


def _name_of(record: Mapping[Any, Any]) -> str | None:
    """What people call a record: the text of a key such as `name`, or else of one that ends so."""
    texts = {str(key).lower(): text for key, text in record.items() if isinstance(text, str) and text.strip()}
    for key in (*_NAMES, *(key for key in texts if key.endswith(("name", "title", "label")))):
        if key in texts:
            return texts[key]
    return None


def _tags_of(record: Mapping[Any, Any]) -> Iterator[str]:
    """A key that is true or counted is a tag, as in `{"Fantasy": 31}`; a key with a text is one together with it."""
    for key, value in record.items():
        if isinstance(value, str) and value.strip():
            yield f"{key}: {value}"
        elif isinstance(value, (int, float, Decimal)) and value:
            yield str(key)
