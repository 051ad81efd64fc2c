r"""Text of a model, a catalogue or a person, made safe to show: no character of it steers a terminal or a page."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

MAX_CHARS = 4_000
"""Characters of one value that are shown, unless a caller sets another limit."""


def visible(text: str, max_chars: int = MAX_CHARS) -> str:
    r"""Return text on one line that steers no terminal: invisible characters become escapes (``\x1b``, ``\u202e``).

    Invisible are control, format (bidirectional, zero width), surrogate, private use and unassigned characters, and
    line and paragraph separators. A line break or a tab becomes a space.

    Args:
        text: any text.
        max_chars: the most characters to return; a longer text ends in "…".
    """
    shown = text[: max_chars + 1]
    if not shown.isprintable():
        shown = "".join(_visible_char(char) for char in shown)
    return shown if len(shown) <= max_chars else shown[: max_chars - 1] + "…"


def visible_json(value: Any) -> str:
    """Write a value as indented JSON that steers no terminal: invisible characters of its texts are escaped."""
    return re.sub(r"[^\x20-\x7e\n]", _escaped, json.dumps(value, indent=2, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]


def _visible_char(char: str) -> str:
    if char in "\n\r\t":
        return " "
    if char.isprintable() or unicodedata.category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode("ascii")
