"""Every value of a page is hardened and escaped, whatever a template does with it."""

import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError, nodes

from deeprec.agent.views import page_environment, render_page
from tests.inspected_runs import HOSTILE, STEERING_CHARS

ROOT = Path(__file__).parents[4]
ROOMS = [None, *(ROOT / room for room in ("evals/suites", "training/rollouts", "agent/ui/templates"))]
# Filters that return no markup, or markup whose values they harden themselves.
FILTERS = {
    *("isolated", "as_written", "token_text", "as_json", "constraint_lines", "length", "string", "sum", "thousands"),
    *("difference_text", "duration", "fork_line", "held_out_line", "model_name", "reward_text", "score_text"),
    *("setting_text", "turn_cost"),
}


def show(tmp_path: Path, template: str, **values: object) -> str:
    (tmp_path / "own.html.j2").write_text("{% extends shell %}{% block content %}" + template + "{% endblock %}")
    return render_page("own.html.j2", folder=tmp_path, is_fragment=True, **values).split("</style>", 1)[1]


@pytest.mark.parametrize(
    "template",
    [
        "{{ text }}",
        '<p title="{{ text }}">x</p>',
        "{{ text|isolated }}",
        "{{ text|as_written }}",
        "{{ text|token_text(2000) }}",
        "{% macro part(words) %}<b>{{ words }}</b>{% endmacro %}{{ part(text) }}",
        "{% set kept %}<b>{{ text }}</b>{% endset %}{{ kept }}",
        "{% from 'parts.html.j2' import badge %}{{ badge(text) }}",
        "{{ [text] }}",
    ],
)
def test_a_value_is_hardened_and_escaped_wherever_it_stands(tmp_path: Path, template: str) -> None:
    page = show(tmp_path, template, text=HOSTILE)
    assert "<script" not in page
    assert 'onerror="' not in page
    assert not STEERING_CHARS & set(page)
    assert "\\u202egnp.exe" in page.replace("\\\\", "\\")
    assert len(page) < 40_000


def test_markup_stays_and_a_missing_value_is_empty(tmp_path: Path) -> None:
    assert "<p><bdi>a</bdi>||3</p>" in show(tmp_path, "<p>{{ a|isolated }}|{{ b }}|{{ c }}</p>", a="a", b=None, c=3)
    with pytest.raises(UndefinedError, match="typo"):
        show(tmp_path, "{{ typo }}")


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_no_template_has_a_way_around_the_hardening(room: Path | None) -> None:
    """`safe` skips it, and so do joins, formats and `~`, which escape but do not harden what they add to markup."""
    environment = page_environment(room)
    names = environment.list_templates(extensions=["j2"])
    assert names
    for name in names:
        assert environment.loader
        tree = environment.parse(environment.loader.get_source(environment, name)[0])
        used = {found.name for found in tree.find_all(nodes.Filter)}
        assert used <= FILTERS, (name, used - FILTERS)
        assert not list(tree.find_all((nodes.Concat, nodes.Mod, nodes.MarkSafe, nodes.ScopedEvalContextModifier))), name
        added = [found for found in tree.find_all(nodes.Add) if not isinstance(found.right, nodes.Const)]
        assert added == [], name


def test_the_templates_of_other_packages_are_found_beside_those_of_the_agent() -> None:
    names = ("report.html.j2", "rollout.html.j2", "conversation.html.j2")
    for room, name in zip(ROOMS[1:], names, strict=True):
        assert {name, "page.html.j2", "parts.html.j2"} <= set(page_environment(room).list_templates())


def test_every_template_and_style_sheet_is_in_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    data = settings["package-data"]
    packed = {
        file
        for package in settings["packages"]
        for pattern in [*data["*"], *data.get(package, [])]
        for file in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    needed = {
        file
        for room in ("agent", "evals", "training")
        for end in ("j2", "css")
        for file in ROOT.glob(f"{room}/**/*.{end}")
    }
    assert len(needed) >= 10
    assert needed <= packed
