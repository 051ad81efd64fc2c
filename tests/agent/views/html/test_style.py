"""The style sheet of all pages: what a document allows, and whether its colours can be read."""

import math
import re

import pytest

from deeprec.agent.views import run_html
from deeprec.agent.views.html.style import DARK, LIGHT, PAGE_STYLE, STYLE, style_source
from tests.inspected_runs import made_run


def test_the_policy_allows_the_style_sheet_and_nothing_else() -> None:
    page = run_html(made_run())
    found = re.search('Content-Security-Policy" content="([^"]*)"', page)
    assert found
    assert f"default-src 'none'; style-src {style_source(PAGE_STYLE)};" in found.group(1)
    assert f"<style>{PAGE_STYLE}</style>" in page
    assert not re.search(r"url\(|@import|<|expression", PAGE_STYLE)
    assert not re.search("<script|style=|https?://|src=", page)
    selectors = re.findall(r"(?:^|[}\n])\s*([^{}@\n]+)\{", STYLE)
    assert all(part.strip().startswith((".deeprec", ":is(")) for part in selectors), selectors


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_told_from_what_they_stand_on(colours: dict[str, str]) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    plain = [(ink, ground) for ink in ("ink", "muted", "accent") for ground in ("bg", "card")]
    soft = [(kind, f"{kind}-soft") for kind in ("accent", "target", "good", "warn", "bad")]
    tokens = [("k-ink", name) for name in ("k1", "k2", "k3", "k4", "u2", "u3", "u4")]
    others = [("ink", "accent-soft"), ("ink", "target-soft"), ("muted", "target-soft")]
    pairs = [*plain, *soft, *tokens, *others]
    faint = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: value for pair, value in faint.items() if value < 4.5} == {}


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("names", [("k1", "k2", "k3", "k4"), ("u2", "u3", "u4")])
def test_token_colours_grow_in_one_direction(colours: dict[str, str], names: tuple[str, ...]) -> None:
    """Whoever does not see hues sees the order: each colour is further from the ground than the one before."""
    steps = [contrast(colours["bg"], colours[name]) for name in ("bg", *names)]
    assert steps == sorted(steps)
    assert not math.isclose(steps[1], steps[-1], rel_tol=0.3)
