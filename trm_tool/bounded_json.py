"""JSON that comes from outside, read within bounds: its bytes, its depth and the digits of its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_FILE_BYTES = 16 * 2**20
"""The most bytes of a file of settings or figures. Those that deeprec writes have some thousands."""
MAX_DIGITS = 40
"""The most digits of a whole number; the largest that are stored have 20."""


def read_json(path: Path) -> Any:
    """Read a small file of JSON.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has over `MAX_FILE_BYTES`, or as for `parse_json`.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it has over {MAX_FILE_BYTES:,} bytes")
    return parse_json(data.decode("utf-8"))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, or has a whole number of over `MAX_DIGITS` digits.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("its lists and objects are nested too deeply") from None


def json_objects(text: str, *, most: int = 20) -> list[tuple[int, dict[str, Any]]]:
    """Find the objects of JSON that stand in a text, one inside another left out.

    Args:
        text: Any text.
        most: Brackets at which an object is tried for, at most, so that no text takes long.

    Returns:
        (place of the opening bracket, object), in the order of the text.
    """
    decoder, found, start = json.JSONDecoder(parse_int=_integer), list[tuple[int, dict[str, Any]]](), 0
    for _ in range(most):
        start = text.find("{", start)
        if start < 0:
            break
        try:
            written, end = decoder.raw_decode(text, start)
        except (RecursionError, ValueError):
            start += 1
        else:
            found.append((start, written))
            start = end
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(digits):,} digits, and {MAX_DIGITS} are read")
    return int(digits)
