"""HTML that cannot be broken out of: text is escaped unless `element` made it."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import TypeAlias

from deeprec.agent.views.text.run import visible

MAX_MARKS = 4
"""Combining marks on one letter that are shown; more of them would pile up over the lines above."""


class Html(str):
    """Markup that is safe as it is. Only this module and a fixed text make it."""

    __slots__ = ()


Part: TypeAlias = "str | Iterable[Part] | None"


def element(name: str, /, *parts: Part, **attributes: str | int | bool | None) -> Html:
    """One element. Parts that are plain text are made visible and escaped, as is the value of each attribute.

    Args:
        name: the element's name, a constant.
        parts: `Html`, plain text, None (left out), or any nesting of lists of these.
        attributes: `class_` stands for `class`, `aria_label` for `aria-label`; None and False leave one out, True gives
            it without a value.
    """
    opened = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        named = key.rstrip("_").replace("_", "-")
        opened.append(named if value is True else f'{named}="{_escaped(str(value))}"')
    start = f"<{' '.join(opened)}>"
    return Html(start if name in _VOID else f"{start}{join(*parts)}</{name}>")


def join(*parts: Part) -> Html:
    """Parts one after the other, plain text escaped."""
    return Html("".join(_flat(parts)))


def said(value: str, max_chars: int = 4_000) -> Html:
    """Text of a model, a catalogue or a person: on one line, in a direction of its own."""
    return element("bdi", Html(_escaped(value, max_chars)))


def as_written(value: str, max_chars: int = 20_000) -> Html:
    """Text with its line breaks, for an element that keeps white space."""
    cut = value[:max_chars]
    lines = [_escaped(line, max_chars) for line in cut.replace("\r\n", "\n").split("\n")]
    left = len(value) - len(cut)
    return element("bdi", Html("\n".join(lines)), Html(f"… ({left:,} more characters)") if left else None)


def piece(value: str, max_chars: int = 200) -> str:
    """The text of one token, escaped, its line breaks shown and kept."""
    return "↵\n".join(_escaped(line, max_chars) for line in value[:max_chars].split("\n"))


def _flat(parts: Iterable[Part]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, Html):
            yield part
        elif isinstance(part, str):
            yield _escaped(part)
        elif part is not None:
            yield from _flat(part)


def _escaped(value: str, max_chars: int = 4_000) -> str:
    shown = visible(value, max_chars)
    return html.escape(shown if shown.isascii() else _thinned(shown), quote=True)


def _thinned(text: str) -> str:
    """Text whose letters carry at most `MAX_MARKS` combining marks; the first of the others becomes "…"."""
    kept, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            kept.append(char)
        elif marks == MAX_MARKS + 1:
            kept.append("…")
    return "".join(kept)


_VOID = frozenset({"br", "meta"})
