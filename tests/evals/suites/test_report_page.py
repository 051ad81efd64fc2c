"""The page of a suite's report: what it allows, and how it looks in a real Chromium."""

from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from benchmarks.eval_report import fill
from deeprec.agent import TraceStore
from deeprec.evals import SuiteReport, key_plot, load_results, make_report, render_html
from tests.browser import FAINT, PLANTED, STICKING_OUT, Browser, chromium
from tests.inspected_runs import HOSTILE, STEERING_CHARS


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> SuiteReport:
    """Ten systems over ten users, with every table of the page."""
    path = tmp_path_factory.mktemp("made") / "suite.db"
    fill(path, 100, seed=0)
    with TraceStore(path) as store:
        return make_report(load_results(store, "made"))


@pytest.fixture(scope="module")
def attack(report: SuiteReport) -> SuiteReport:
    """The same with an attack in the suite's name, in a system's and in a warning."""
    systems = [replace(s, name=HOSTILE) if s.name == "tuned" else s for s in report.results.systems]
    results = replace(report.results, label=HOSTILE, systems=tuple(systems))
    return replace(make_report(results), warnings=[HOSTILE])


def test_a_page_holds_every_figure_and_loads_nothing(report: SuiteReport) -> None:
    page = unescape(render_html(report))
    for words in (
        "10 users are too few",
        "Result",
        "Against trm, ndcg@10 filled",
        "What it takes",
        "Reward components",
    ):
        assert words in page
    assert "; img-src data:; base-uri 'none'" in page
    assert "unsafe-inline" not in page
    assert page.count("<img ") == page.count('src="data:image/png;base64,') == page.count("src=") == 1


def test_an_attack_is_only_text(attack: SuiteReport) -> None:
    page = render_html(attack)
    assert not STEERING_CHARS & set(page)
    assert "<script" not in page
    assert 'onerror="' not in page
    assert "\\u202egnp.exe" in page


def test_a_figure_shows_names_that_hold_mathematics_or_letters_that_the_font_lacks(report: SuiteReport) -> None:
    for label in (HOSTILE, r"$\frac{", "映画"):
        assert key_plot(replace(report, results=replace(report.results, label=label))).startswith(b"\x89PNG")


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_can_be_read_in_a_browser(
    browser: Browser, tmp_path: Path, report: SuiteReport, attack: SuiteReport, width: int, dark: bool
) -> None:
    for number, shown in enumerate((report, attack)):
        file = tmp_path / f"report-{number}.html"
        file.write_text(render_html(shown), encoding="utf-8")
        browser.open(file, width=width, dark=dark)
        browser.value("new Promise(done => setTimeout(done, 100))")
        assert browser.value("document.title") != "owned"
        assert browser.value(f"document.querySelectorAll({PLANTED!r}).length") == 0
        assert browser.value("document.querySelector('img').naturalWidth") > 300  # the policy allows the figure
        assert [url for url in browser.requested() if not url.startswith(("file:", "data:"))] == []
        assert browser.complaints() == []
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value(STICKING_OUT) == []
        texts = browser.value(FAINT)
        assert texts["seen"] > 300
        assert texts["found"] == {}
