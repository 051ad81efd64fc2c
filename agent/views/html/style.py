"""The style sheet of all pages: two colour schemes, and the rules of `templates/style.css`.

No rule reaches outside the class `deeprec`, nothing is fetched, and widths follow the container, so that the same sheet
serves a page of its own and the output of a notebook's cell.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

_COLOURS = {
    "bg": ("#f4f6f8", "#0f1318"),
    "card": ("#ffffff", "#181e26"),
    "ink": ("#18212b", "#e4e9ef"),
    "muted": ("#4d5866", "#a5b0bd"),
    "line": ("#d5dbe2", "#2f3945"),
    "accent": ("#0a615d", "#63d1c6"),
    "accent-soft": ("#e3f1ef", "#12312f"),
    "target": ("#83156f", "#f2a0e6"),
    "target-soft": ("#f9e8f5", "#3a1b36"),
    "good": ("#14602f", "#7fd99a"),
    "good-soft": ("#e2f3e7", "#14301d"),
    "warn": ("#7a4300", "#f0c36d"),
    "warn-soft": ("#fdf0d8", "#35280f"),
    "bad": ("#98201a", "#ffa198"),
    "bad-soft": ("#fbe6e4", "#3d1b19"),
    "k1": ("#fdecd2", "#3a2c17"),
    "k2": ("#f8cd92", "#593f16"),
    "k3": ("#f0a457", "#7a5416"),
    "k4": ("#e0782c", "#9c4f10"),
    "u2": ("#c3e0f8", "#143451"),
    "u3": ("#84bdee", "#174c7c"),
    "u4": ("#4795da", "#1a65ab"),
    "k-ink": ("#18120a", "#fff4e4"),
}
"""Name -> the colour on a light and on a dark page. `k1` to `k4` and `u2` to `u4` are the levels of tokens."""
LIGHT = {name: light for name, (light, _) in _COLOURS.items()}
DARK = {name: dark for name, (_, dark) in _COLOURS.items()}


def _scheme(name: str, colours: dict[str, str]) -> str:
    return f"color-scheme:{name};" + "".join(f"--{key}:{value};" for key, value in colours.items())


# A notebook says by itself whether it is light or dark; a page follows the system.
_SCHEMES = f"""
.deeprec{{{_scheme("light", LIGHT)}}}
@media (prefers-color-scheme:dark){{.deeprec{{{_scheme("dark", DARK)}}}}}
:is([data-jp-theme-light="true"],.vscode-light) .deeprec{{{_scheme("light", LIGHT)}}}
:is([data-jp-theme-light="false"],.vscode-dark,html[theme="dark"]) .deeprec{{{_scheme("dark", DARK)}}}
@media print{{.deeprec.deeprec{{{_scheme("light", LIGHT | {"bg": "#ffffff"})}}}}}
"""

_RULES = (Path(__file__).parents[1] / "templates" / "style.css").read_text("utf-8")

STYLE = _SCHEMES + _RULES
"""The style sheet. It holds no `<`, so that nothing in it ends the element that holds it."""

PAGE_STYLE = "html,body{margin:0;padding:0}body.deeprec{min-height:100vh}" + STYLE
"""The style sheet of a page of its own."""


def style_source(style: str) -> str:
    """Return the source by which a Content-Security-Policy allows one inline style sheet, and no other."""
    digest = hashlib.sha256(style.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
