"""The page of conversations in a real Chromium: people talk with the agent, by mouse, by keyboard, on a phone."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore
from deeprec.agent.shopping import build_shopping_agent
from tests.agent.shopping.lamp_shop import ROWS, catalogue
from tests.agent.ui.pages import page_of, served
from tests.browser import STICKING_OUT, Browser, chromium
from tests.inspected_runs import HOSTILE
from tests.model_scripts import LIST, SEARCH
from tests.small_recommender import HeldUp, WordCounts
from tests.tiny_server import MODEL, TinyServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]
READY = "document.getElementById('status').textContent === 'The answer is ready.'"
FOCUSED = "document.activeElement === document.body ? '' : document.activeElement.textContent.trim()"
RUN_AXE = """
axe.run().then(({violations, passes}) => ({
  passes: passes.length, violations: violations.map(each => [each.id, ...each.nodes.map(node => node.html)]),
}))
"""
TURNS = "document.querySelectorAll('article.turn').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def recommender() -> HeldUp:
    return HeldUp(catalogue())


@pytest.fixture(scope="module")
def address(recommender: HeldUp) -> Iterator[str]:
    with served(page_of(recommender, about="Eight lamps and rugs.")) as started:
        yield started


@pytest.fixture
def person(browser: Browser, address: str) -> Browser:
    """A person who has opened the page for the first time."""
    page = browser.another()
    page.open(address)
    return page


def write(person: Browser, message: str) -> None:
    """Write a message and send it with the Enter key."""
    person.value("document.getElementById('message').focus()")
    person.write(message)
    person.press("Enter", 13, "\r")


def say(person: Browser, message: str) -> None:
    """Write a message and wait for the answer."""
    before = person.value(TURNS)
    write(person, message)
    person.wait_until(f"{TURNS} >= {before + 2} && {READY}")


def click(person: Browser, selector: str) -> None:
    """Click on an element where it stands on the screen."""
    person.value(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
    x, y = person.value(f"{box} return [b.x + b.width / 2, b.y + b.height / 2] }})()")
    for kind in ("mousePressed", "mouseReleased"):
        person.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def tab_to(person: Browser, text: str) -> None:
    """Strike Tab until an element has the focus whose text begins so."""
    for _ in range(60):
        person.press("Tab", 9)
        if person.value(FOCUSED).startswith(text):
            assert person.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"Tab does not reach {text!r}")


def chips(person: Browser) -> list[str]:
    shown: list[str] = person.value("[...document.querySelectorAll('.chip')].map(chip => chip.innerText)")
    return [chip.replace("Remove", "").replace("×", "").strip() for chip in shown]


def test_a_whole_conversation_that_goes_on_after_a_reload(person: Browser) -> None:
    assert person.value("document.getElementById('welcome') !== null")
    say(person, "a rug, not over 60")
    cards = person.value("[...document.querySelectorAll('.item h4')].map(title => title.innerText)")
    assert "Fern rug" in " ".join(cards)
    assert "Holt rug" not in " ".join(cards)
    assert "price ≤ 60" in chips(person)
    assert "Understood" in person.value("document.getElementById('steps').innerText")
    click(person, "button[data-kind=liked]")
    person.wait_until("document.querySelector('button[data-kind=liked]').ariaPressed === 'true'")
    click(person, "button[data-kind=in_cart]")
    person.wait_until(f"document.querySelector('.cart li') !== null && {READY}")  # a turn that goes on takes no click
    before = person.value("document.getElementById('log').innerText")
    known = person.value("document.getElementById('known').innerText")
    person.open(person.value("location.href"))
    assert person.value("document.getElementById('log').innerText") == before
    assert person.value("document.getElementById('known').innerText") == known
    assert person.value("document.querySelector('button[data-kind=liked]').ariaPressed") == "true"
    click(person, "button[data-kind=liked]")  # a second click takes the like back
    person.wait_until("document.querySelector('button[data-kind=liked]').ariaPressed === 'false'")
    say(person, "only white")
    assert {"price ≤ 60", "only colour: white"} <= set(chips(person))
    say(person, "why the first?")
    assert "60" in person.value("[...document.querySelectorAll('.agent')].at(-1).querySelector('.words').innerText")
    click(person, "#known .chip")
    person.wait_until(f"document.querySelectorAll('.chip').length === {len(chips(person)) - 1} && {READY}")
    assert "price ≤ 60" not in chips(person)
    assert person.complaints() == []


def test_two_people_at_once_share_nothing(person: Browser, browser: Browser, recommender: HeldUp) -> None:
    other = browser.another()
    other.open(person.value("location.href"))
    recommender.waits.set()
    write(person, "a rug, not over 60")
    write(other, "a black lamp, at least 30")
    for each in (person, other):
        each.wait_until("document.getElementById('status').textContent.startsWith('The agent is')")
    recommender.waits.clear()
    for each, own, others in ((person, "over 60", "least 30"), (other, "least 30", "over 60")):
        each.wait_until(READY)
        text = each.value("document.body.innerText")
        assert own in text
        assert others not in text
        assert each.value(TURNS) == 2
    assert "price ≤ 60" in chips(person)
    assert "price ≥ 30" in chips(other)


def test_a_stop_in_mid_answer_and_a_reload_in_mid_answer(person: Browser, recommender: HeldUp) -> None:
    recommender.waits.set()
    write(person, "a rug, not over 60")
    person.wait_until("document.getElementById('steps').innerText.includes('Understood')")
    click(person, "#stop")
    person.wait_until("document.getElementById('status').textContent.startsWith('Stopped.')")
    assert person.value("document.activeElement.id") == "message"
    assert person.value("document.getElementById('stop').hidden")
    assert chips(person)[0] == "price ≤ 60"
    write(person, "only white")
    person.wait_until("document.getElementById('steps').innerText.includes('white')")
    person.open(person.value("location.href"))
    person.wait_until("document.getElementById('steps').innerText.includes('white')")
    recommender.waits.clear()
    person.wait_until(READY)
    assert person.value("[...document.querySelectorAll('.you')].map(part => part.innerText.trim().slice(-10))") == [
        "ot over 60",
        "only white",
    ]
    assert person.value("document.querySelectorAll('.agent').length") == 1
    assert {"price ≤ 60", "only colour: white"} <= set(chips(person))


def test_the_keyboard_alone_is_enough(person: Browser) -> None:
    person.press("Tab", 9)
    assert "Skip to the message" in person.value("document.activeElement.outerHTML")
    person.press("Enter", 13, "\r")
    assert person.value("document.activeElement.id") == "message"
    person.write("a rug")
    person.press("Enter", 13, "\r")
    person.wait_until(READY)
    assert person.value("document.activeElement.id") == "message"
    person.value("document.activeElement.blur()")
    tab_to(person, "Like")
    person.press(" ", 32, " ")
    person.wait_until("document.activeElement.ariaPressed === 'true'")
    tab_to(person, "Remove")
    left = len(chips(person))
    person.press("Enter", 13, "\r")
    person.wait_until(f"document.querySelectorAll('.chip').length < {left}")
    assert person.value("document.activeElement.id") == "message"


def test_hostile_text_is_only_text(browser: Browser) -> None:
    rows = [(item_id, HOSTILE, kind, colour, tags, price) for item_id, _, kind, colour, tags, price in ROWS]
    with served(page_of(WordCounts(catalogue(rows)))) as address:
        person = browser.another()
        person.open(address, width=390)
        say(person, "a rug " + HOSTILE[:1500].replace("\ud800", ""))
        person.open(person.value("location.href"), width=390)
        assert person.value("document.title") == "DeepRec"
        assert person.value("document.querySelectorAll('.cards .item').length") > 0
        planted = "script, img, svg, iframe, style, [onerror], [onload], [onfocus], [onmouseover], #planted"
        assert person.value(f"document.body.querySelectorAll({planted!r}).length") == 0
        assert person.value("document.body.innerText").count("<script>document.title='owned'") > 2
        assert {url.removeprefix(address).split("/")[1] for url in person.requested()} <= {"c", "static"}
        assert person.complaints() == []
        assert person.value("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_no_violation(person: Browser, width: int, dark: bool) -> None:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-core: pip install --no-deps axe-playwright-python")
    axe = Path(found.origin).with_name("axe.min.js").read_text("utf-8")
    start = person.value("location.href")
    for state in ("empty", "talking"):
        person.open(start, width=width, dark=dark, still=True)
        if state == "talking":
            say(person, "a black lamp or a purple one, not over 90")
            click(person, "button[data-kind=in_cart]")
            person.wait_until("document.querySelector('.cart li') !== null")
        person.value(f"{axe}; true")
        run = (
            "axe.run({resultTypes: ['violations']}).then(({violations, passes}) => ({passes: passes.length, violations:"
        )
        result = person.value(f"{run} violations.map(each => [each.id, ...each.nodes.map(node => node.html)])}}))")
        assert result["violations"] == []
        assert result["passes"] > 20


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_scrolls_sideways(person: Browser, width: int) -> None:
    say(person, "a black lamp, not over 90, and an uncommonly-long-word-that-somebody-has-written-without-any-space")
    person.open(person.value("location.href"), width=width)
    assert person.value("document.documentElement.scrollWidth") <= width
    assert person.value(STICKING_OUT) == []


def test_nothing_moves_for_people_who_want_that(person: Browser) -> None:
    say(person, "a rug")
    moving = "[...document.querySelectorAll('*')].some(part => getComputedStyle(part).animationName !== 'none')"
    assert person.value(moving)
    person.open(person.value("location.href"), still=True)
    assert not person.value(moving)


def test_the_reasoning_appears_as_it_happens_and_leads_to_the_full_trace(
    browser: Browser, server: TinyServer, tmp_path: Path
) -> None:
    server.script = [SEARCH.format("black lamp"), LIST.format("1\n2\n3")]
    recommender = WordCounts(catalogue())
    policy = CompletionPolicy(server.base_url, MODEL)  # its connections belong to the page's event loop
    with TraceStore(f"sqlite:///{tmp_path / 'traces.db'}") as store, SqlRecorder(store) as recorder:
        agent = build_shopping_agent(
            policy, recommender, config=AgentConfig(k=3), recorder=recorder, checkpointer=InMemorySaver()
        )
        with served(page_of(recommender, agent, store=store), policy.aclose) as address:
            person = browser.another()
            person.open(address)
            say(person, "a black lamp")
            steps = person.value("document.getElementById('steps').innerText")
            for part in ("Thought", "Hm.", "Asked for", "black lamp", "Came back", "desk lamp"):
                assert part in steps
            click(person, "a[href*='/runs/']")
            person.wait_until("document.querySelector('.run') !== null")
            assert "black lamp" in person.value("document.body.innerText")
            assert person.complaints() == []
            run = person.value("location.href")
            other = browser.another()
            other.open(run)
            assert other.value("document.body.innerText") == "This conversation has no such run."
