"""The Jinja2 environment of all pages. It hardens and escapes every value, so that no template has to.

A page is a template that extends `shell`: `page.html.j2` for a document of its own, `fragment.html.j2` for a part of
another page, such as the output of a notebook's cell. Documents fetch nothing and run nothing: their
Content-Security-Policy allows their own style sheet, by its hash, and no script, font, frame or form. A template that
embeds pictures as data allows them in its block `sources`.
"""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from deeprec.agent.views.comparison_words import difference_text, setting_text
from deeprec.agent.views.html.style import PAGE_STYLE, STYLE, style_source
from deeprec.agent.views.run_facts import (
    constraint_lines,
    duration,
    fork_line,
    held_out_line,
    model_name,
    reward_text,
    score_text,
    turn_cost,
)
from deeprec.agent.views.visible_text import MAX_CHARS, visible

MAX_MARKS = 4
"""Combining marks on one letter that are shown; more of them would pile up over the lines above."""
TEMPLATES = Path(__file__).parents[1] / "templates"


@cache
def page_environment(folder: Path | None = None) -> Environment:
    """Return the environment that renders pages.

    Its `finalize` hardens every value before autoescaping: invisible and bidirectional characters become escapes, line
    breaks spaces, long values are cut. Filters for the words of a model, a catalogue or a person: `isolated` (one line
    in a direction of its own), `as_written` (keeps line breaks), `token_text` (shows line breaks).

    Args:
        folder: templates of another package, found beside those of this one.
    """
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES] if folder is None else [folder, TEMPLATES]),
        autoescape=True,
        finalize=hardened,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    facts = (constraint_lines, duration, fork_line, held_out_line, model_name, reward_text, score_text, turn_cost)
    others = (as_json, as_written, difference_text, isolated, setting_text, thousands, token_text)
    environment.filters |= {function.__name__: function for function in (*facts, *others)}
    environment.globals |= {
        "style": Markup(STYLE),
        "page_style": Markup(PAGE_STYLE),
        "page_style_source": Markup(style_source(PAGE_STYLE)),
    }
    return environment


def render_page(template: str, *, folder: Path | None = None, is_fragment: bool = False, **values: object) -> str:
    """Render a template that extends `shell` as one self-contained page.

    Args:
        template: its file name, in `folder` or among the templates of this package.
        folder: as in `page_environment`.
        is_fragment: render a part of another page instead: its styles reach nothing outside it, and it follows a
            notebook's light or dark theme. The template must then set no ids.
        values: what the template shows.
    """
    shell = "fragment.html.j2" if is_fragment else "page.html.j2"
    return page_environment(folder).get_template(template).render(values, shell=shell, is_fragment=is_fragment)


def hardened(value: object, max_chars: int = MAX_CHARS) -> str:
    """Return a value as text that cannot steer a page. Markup stays as it is; None is empty."""
    if isinstance(value, Markup):
        return value
    shown = "" if value is None else visible(str(value), max_chars)
    return shown if shown.isascii() else _thinned(shown)


def isolated(value: str, max_chars: int = MAX_CHARS) -> Markup:
    """Return words of somebody on one line, in a direction of their own."""
    return Markup("<bdi>{}</bdi>").format(hardened(value, max_chars))


def as_written(value: str, max_chars: int = 20_000) -> Markup:
    """Return words of somebody with their line breaks, for an element that keeps white space."""
    lines = [hardened(line, max_chars) for line in value[:max_chars].replace("\r\n", "\n").split("\n")]
    left = len(value) - max_chars
    return Markup("<bdi>{}{}</bdi>").format("\n".join(lines), f"… ({left:,} more characters)" if left > 0 else "")


def token_text(value: str, max_chars: int = 200) -> Markup:
    """Return the text of tokens with line breaks both shown and kept."""
    return escape("↵\n".join(hardened(line, max_chars) for line in value[:max_chars].split("\n")))


def thousands(number: int) -> str:
    """Return a number with its thousands separated."""
    return f"{number:,}"


def as_json(value: object) -> str:
    """Return a value as JSON for people, with line breaks."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


def _thinned(text: str) -> str:
    """Keep `MAX_MARKS` combining marks of each letter; the first of the others becomes "…"."""
    kept, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            kept.append(char)
        elif marks == MAX_MARKS + 1:
            kept.append("…")
    return "".join(kept)
