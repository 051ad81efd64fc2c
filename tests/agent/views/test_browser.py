"""The pages in a real Chromium: nothing runs, nothing is fetched, nothing sticks out, everything can be read."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from deeprec.agent.traces import ConversationTrace, RunTrace
from deeprec.agent.views import (
    RunView,
    TokenTexts,
    compare_html,
    conversation_html,
    run_fragment,
    run_html,
    runs_html,
)
from deeprec.training import Rollout, rollout_fragment
from tests.browser import FAINT, OPEN_ALL, PLANTED, STICKING_OUT, Browser, chromium
from tests.inspected_runs import HOSTILE, MARKUP, Named, hostile_run, made_run
from tests.made_runs import made_conversation_turn

pytestmark = pytest.mark.browser


def rollouts(tokens: TokenTexts) -> str:
    """A rollout in each of its colours."""
    ratios = np.array([math.nan, math.nan, 3, 1.5, 1.1, 1, 0.9, 0.6, 0.1, 0])
    rollout = Rollout(
        token_ids=np.arange(ratios.size),
        env_mask=np.isfinite(ratios).astype(np.int8),
        logprobs=np.where(np.isfinite(ratios), -0.5, math.nan).astype(np.float32),
        run_id=UUID(int=5),
        group_id="g",
        policy_model="tiny",
        adapter=None,
        adapter_version=None,
        guided=True,
    )
    parts = [rollout_fragment(rollout, tokens), rollout_fragment(rollout, tokens, ratios=ratios)]
    return "".join([*parts, *(rollout_fragment(rollout, tokens, advantage=each, max_given=1) for each in (-1, 0, 1))])


def made_conversation(trace: RunTrace) -> ConversationTrace:
    """A conversation that says what the message of a run says, with one turn undone."""
    words = trace.run.message or ""
    turns = [
        made_conversation_turn(
            number,
            message_id=str(at),
            run_id=trace.run.run_id,
            message=words,
            reply=f"{words}\n{words}",
            problems=(words,),
            thread_id=words,
            question={"text": words, "options": [words, words]},
            actions=({"item_ids": [words]},),
            shown=("9", "1", words),
        )
        for at, number in enumerate((1, 2, 2))
    ]
    first = turns[0]
    return ConversationTrace(conversation_id=first.conversation_id, thread_id=words, tenant=words, turns=tuple(turns))


PAGES: dict[str, Any] = {
    "run": lambda trace, titles: run_html(trace, titles, lambda ids: ["a token <b> \n"] * len(ids)),
    "runs": lambda trace, titles: runs_html(
        [RunView(trace=trace, titles=titles), RunView(trace=made_run({"run_id": UUID(int=9)}))]
    ),
    "conversation": lambda trace, titles: conversation_html(
        made_conversation(trace), titles, runs=[RunView(trace=trace, titles=titles)]
    ),
    "compare": lambda trace, titles: compare_html(made_run({"run_id": UUID(int=9)}), trace, titles),
    # A notebook: no policy of the page's own stands between the text and the browser.
    "notebook": lambda trace, titles: (
        "<!DOCTYPE html><html lang=en><meta name=viewport content=width=device-width><title>Notebook</title>"
        "<body data-jp-theme-light=THEME style='margin:0'>"
        + run_fragment(trace, titles, lambda ids: [HOSTILE] * len(ids)) * 2
        + rollouts(lambda ids: [HOSTILE] * len(ids))
    ),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def written(tmp_path: Path, kind: str, trace: Any, titles: Any = None, *, dark: bool = False) -> Path:
    page = PAGES[kind](trace, titles).replace("THEME", '"false"' if dark else '"true"')
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    return tmp_path / "page.html"


def test_the_browser_would_notice_an_attack(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bare.html").write_text(f"<!DOCTYPE html><body><main>{MARKUP}<p style='width:9999px'>x</p></main>")
    browser.open(tmp_path / "bare.html")
    browser.value("new Promise(done => setTimeout(done, 200))")
    assert browser.value("document.title") == "owned"
    assert browser.value("document.getElementById('planted') !== null")
    assert len(browser.requested()) > 1  # the image


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("kind", PAGES)
def test_an_attack_is_only_text(browser: Browser, tmp_path: Path, kind: str, width: int) -> None:
    file = written(tmp_path, kind, hostile_run(), Named(HOSTILE))
    browser.open(file, width=width)
    browser.value(OPEN_ALL)
    browser.value("new Promise(done => setTimeout(done, 200))")
    assert browser.value("document.title") != "owned"
    assert browser.value(f"document.querySelectorAll({PLANTED!r}).length") == 0
    assert browser.value("document.querySelectorAll('a:not([href^=\"#\"])').length") == 0
    assert browser.value("document.body.innerText").count("onmouseover=document.title='owned'") > 5
    assert [url for url in browser.requested() if url != file.as_uri()] == []
    assert browser.complaints() == []
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(STICKING_OUT) == []


@pytest.mark.parametrize("kind", ["run", "compare"])
def test_an_attack_steers_no_direction(browser: Browser, tmp_path: Path, kind: str) -> None:
    """Text that runs from right to left stays in its own element: what comes after it is where it was."""
    places = []
    for title in ("Heat", "\u05d0\u05d1 \u202e\u2067 \u0645\u0631"):
        browser.open(written(tmp_path, kind, made_run(), Named(title)))
        rows = "[...document.querySelectorAll('td.n')].map(cell => cell.getBoundingClientRect().right).slice(0, 6)"
        places.append(browser.value(rows))
        assert browser.value("getComputedStyle(document.querySelector('bdi')).unicodeBidi") == "isolate"
    assert len(places[0]) == 6
    assert places[0] == pytest.approx(places[1], abs=1)


@pytest.mark.parametrize("width", [320, 360, 768, 1280, 2000])
@pytest.mark.parametrize("kind", PAGES)
def test_no_page_scrolls_sideways(browser: Browser, tmp_path: Path, kind: str, width: int) -> None:
    browser.open(written(tmp_path, kind, made_run(), Named("A rather long title of an ordinary film")), width=width)
    browser.value(OPEN_ALL)
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(STICKING_OUT) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", PAGES)
def test_every_text_can_be_read(browser: Browser, tmp_path: Path, kind: str, dark: bool) -> None:
    trace = made_run(status="malformed", incomplete=True, pinned=True, detail="no list")
    # A notebook's own theme wins over that of the system.
    browser.open(written(tmp_path, kind, trace, Named("Heat"), dark=dark), dark=dark != (kind == "notebook"))
    browser.value(OPEN_ALL)
    ground = browser.value("getComputedStyle(document.querySelector('.deeprec')).backgroundColor")
    assert ground == ("rgb(15, 19, 24)" if dark else "rgb(244, 246, 248)")
    texts = browser.value(FAINT)
    assert texts["seen"] > 100
    assert texts["found"] == {}


def test_paper_is_white_and_has_the_lineage(browser: Browser, tmp_path: Path) -> None:
    file = written(tmp_path, "run", made_run())
    lineage = "document.querySelector('details.lineage dl').checkVisibility()"
    browser.open(file, dark=True)
    assert not browser.value(lineage)
    browser.open(file, dark=True, media="print")
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value(lineage)


def test_the_keyboard_reaches_and_opens_everything(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "run", made_run()))
    browser.press("Tab", 9)
    assert browser.value("document.activeElement.textContent") == "Skip to the content"
    assert browser.value("document.activeElement.getBoundingClientRect().top") >= 0
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter", 13, "\r")
    assert browser.value("document.activeElement.id") == "main"
    while browser.value("document.activeElement.tagName") != "SUMMARY":
        browser.press("Tab", 9)
    assert "Tokens" in browser.value("document.activeElement.textContent")
    browser.press("Enter", 13, "\r")
    assert browser.value("document.activeElement.parentElement.open")
    assert browser.value("document.querySelector('.chain').getBoundingClientRect().height") > 0


def test_a_screen_reader_hears_regions_headings_and_tables(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "run", made_run(), Named("Heat")))
    browser.call("Accessibility.enable")
    nodes = [node for node in browser.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    told = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes]
    for expected in (
        ("main", ""),
        ("article", "Run 7c1e93aa"),
        ("navigation", "Parts of run 7c1e93aa"),
        ("region", "Turn 1: retrieved"),
        ("region", "Ranked list"),
        ("heading", "Run 7c1e93aa finished"),
        ("table", "Retrieval 1: 3 items, 2 new, 31 ms, the held-out item is not among them"),
        ("columnheader", "new or seen before"),
        ("rowheader", "Heat 872 872"),
    ):
        assert expected in told, (expected, [entry for entry in told if entry[0] == expected[0]])


def test_a_link_jumps_to_its_run_without_a_script(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "runs", made_run()))
    assert browser.value("scrollY") == 0
    browser.value("document.querySelector('nav a[href$=\"09-run\"]').click()")
    assert browser.value("scrollY") > 500
    assert browser.complaints() == []


def test_a_fragment_leaves_the_notebook_as_it_is(browser: Browser, tmp_path: Path) -> None:
    around = "<h1>Mine</h1><table class=mine><tr><td>1</td></tr></table><p>words</p>"
    others = "[...document.querySelectorAll('body > *:not(.deeprec)')]"
    looks = f"{others}.map(p => JSON.stringify([...getComputedStyle(p)].map(n => getComputedStyle(p)[n])))"
    seen = []
    for inside in ("", run_fragment(made_run())):
        (tmp_path / "notebook.html").write_text(f"<!DOCTYPE html><body>{around}{inside}", encoding="utf-8")
        browser.open(tmp_path / "notebook.html")
        seen.append(browser.value(looks))
    assert len(seen[0]) == 3
    assert seen[0] == seen[1]
