import math
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent.views import (
    RunView,
    compare_fragment,
    compare_html,
    render_run,
    run_fragment,
    run_html,
    runs_html,
)
from deeprec.trm_tool import Catalogue, ConfigError, ScoredItem
from tests.growth import MOST, times_as_long
from tests.inspected_runs import HISTORY, HOSTILE, RUN, STEERING_CHARS, Named, hostile_run, made_run, made_turn
from tests.terminal import in_terminal

TAG = re.compile(
    "html|head|meta|title|style|body|a|main|article|nav|section|h[1-6]|p|span|bdi|code|strong|small|dl|dt|dd|div|ul|ol"
    "|li|table|caption|thead|tbody|tr|th|td|details|summary|pre"
)
ATTRIBUTE = re.compile(
    "charset|http-equiv|content|name|lang|class|id|href|tabindex|aria-label|aria-hidden|scope|start|title"
)


class Read(HTMLParser):
    """What a page holds: its tags, attributes, text, and each element's attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())

    def all(self, attribute: str) -> list[str | None]:
        return [found[attribute] for _, found in self.elements if attribute in found]


def test_a_page_shows_the_run_in_order(catalogue: Catalogue) -> None:
    page = Read(run_html(made_run(), catalogue)).text
    expected = [
        "Run 7c1e93aa ✓ finished",
        "★ Held out: found in turn 2, at position 2; position 3 of the list.",
        "SmolLM2 + deeprec, version 4",
        "tagged , free",
        "seed 7",
        "21 Nov 2026, 09:14:03 UTC",
        "7.42 s",
        "tokens written 9",
        "user u3",
        "message something lighter",
        catalogue.summary("851"),
        "History: 3 items, oldest first",
        catalogue.summary(HISTORY[0]),
        "Turn 1 retrieved 4 tokens read, 3 written, 1.83 s",
        "thought Thought 1.",
        "preference sci-fi; 1980s",
        "Retrieval 1: 3 items, 2 new, 31 ms, the held-out item is not among them",
        "872 0.900 new",
        "900 0.700 in the history",
        "Tokens: 4 put before the model, 3 written; mean logprob -1.57",
        "Turn 2 retrieved",
        "the held-out item is among them",
        "872 0.900 seen in turn 1",
        "851 0.800 new ★ held out",
        "kept: not horror (no horror)",
        "only weighed: only 1980s (the person's words do not say so)",
        "not in this catalogue: not scary",
        "Not enforceable: runtime",
        "Turn 3 ranked",
        "Ranked list The list as shown to the person",
        "872 written turn 1",
        "851 filled in turn 2 ★ held out",
        "What the model wrote",
        "872 repeats position 1",
        "777 ungrounded: not retrieved",
        "Ungrounded: 1 entry of the model's list names no candidate.",
        "Rewards",
        "paper format 1",
        "paper judge not computable",
        "Lineage: versions, fingerprints",
        "recommender abababababababab",
        "software deeprec-agent 0.1.0",
    ]
    position = 0
    for part in expected:
        assert part in page[position:], part
        position = page.index(part, position)


def test_what_is_unusual_is_shown() -> None:
    malformed = made_turn(
        0, action="malformed", text="Sure!\n - Heat\n\n<|end", detail="no list", finish_reason="length"
    )
    trace = made_run(
        {"parent_id": UUID(int=5), "fork": {"turn": 1, "preference": "westerns"}},
        status="fallback",
        incomplete=True,
        pinned=True,
        detail="the server is unavailable",
        turns=(malformed,),
        retrievals=(),
        written=(),
    )
    page = run_html(trace)
    assert "Sure!\n - Heat\n\n&lt;|end" in page  # as it was, line breaks too
    for part in (
        "↩ fallback incomplete pinned",
        "the server is unavailable",
        "steps may be missing",
        "A fork of run 00000000-0000-0000-0000-000000000005: the preference of turn 2 was set to “westerns”.",
        "ended by length",
        "The model wrote no list.",
    ):
        assert part in Read(page).text
    assert "A replay of run" in run_html(made_run({"parent_id": UUID(int=5), "fork": {"turn": None}}))


def test_a_score_that_is_missing_is_no_number() -> None:
    run = made_run()
    trace = replace(run, retrievals=(replace(run.retrievals[0], items=(ScoredItem("9", math.nan),)),), recommended=())
    assert "nan" not in Read(run_html(trace)).text
    assert "–" in Read(run_html(trace)).text
    assert "nan" not in in_terminal(render_run(trace))


def test_trust_is_shown_where_the_agent_set_it() -> None:
    assert "trust in preferences 0.15" in Read(run_html(made_run({"config": {"trust": 0.15}}))).text
    assert "trust in preferences" not in Read(run_html(made_run({"config": {"trust": None}}))).text


def test_a_run_without_a_step_shows() -> None:
    trace = made_run(
        {"history": (), "user_id": None, "message": None, "target_id": None, "seed": None},
        status="running",
        turns=(),
        retrievals=(),
        written=(),
        recommended=(),
        rewards=(),
        latency_ms=None,
        ungrounded=0,
    )
    page = Read(run_html(trace)).text
    assert "… running" in page
    assert "Nothing is known of what the person chose before." in page


PAGES: dict[str, Any] = {
    "run": lambda trace, titles: run_html(trace, titles, lambda ids: [HOSTILE for _ in ids]),
    "ids": lambda trace, titles: run_html(trace),
    "fragment": lambda trace, titles: run_fragment(trace, titles, lambda ids: [HOSTILE for _ in ids]),
    "compare": lambda trace, titles: compare_html(made_run(), trace, titles),
    "compared": lambda trace, titles: compare_fragment(trace, made_run({"run_id": UUID(int=9)}), titles),
}


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_of_an_attack_becomes_markup(kind: str) -> None:
    page = PAGES[kind](hostile_run(), Named(HOSTILE))
    read = Read(page)  # it also fails where an element is not closed, or closed by another
    assert [tag for tag, _ in read.elements if not TAG.fullmatch(tag)] == []
    assert [name for _, found in read.elements for name in found if not ATTRIBUTE.fullmatch(name)] == []
    assert not STEERING_CHARS & set(page)
    assert all(str(href).startswith("#") for href in read.all("href"))
    assert page.count("</style>") == 1
    assert "\\u202egnp.exe" in read.text  # shown, not hidden
    page.encode("utf-8")


def test_marks_do_not_pile_up_and_long_text_is_cut() -> None:
    page = run_html(hostile_run(), Named(HOSTILE))
    assert not re.search("[\u0335\u0300]{5}", page)
    assert re.search("Z[\u0335\u0300]{4}…", page)
    assert len(page) < 1_500_000


@pytest.mark.parametrize("page", [run_html(made_run()), compare_html(made_run(), made_run({"run_id": UUID(int=9)}))])
def test_a_page_can_be_found_through_by_ear_and_keyboard(page: str) -> None:
    read = Read(page)
    assert read.elements[0] == ("html", {"lang": "en"})
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [found for tag, found in read.elements if tag == "th" and "scope" not in found] == []
    assert ("a", {"class": "skip", "href": "#main"}) in read.elements
    assert [found for tag, found in read.elements if tag in ("section", "nav") and not found.get("aria-label")] == []


def test_several_runs_have_a_table_of_contents_that_leads_to_each() -> None:
    views = [RunView(trace=made_run({"run_id": UUID(int=number)})) for number in (1, 2**100)]
    read = Read(runs_html(views))
    regions = [found["aria-label"] for tag, found in read.elements if tag in ("section", "nav", "article")]
    assert max(Counter(regions).values()) == 1  # a screen reader finds no two regions of one name
    ids = [str(found) for found in read.all("id")]
    assert max(Counter(ids).values()) == 1
    links = [str(href)[1:] for href in read.all("href")]
    assert set(links) <= set(ids)
    assert {f"r{view.trace.run.run_id.hex}-run" for view in views} <= set(links)
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels.count(2) == 2


def test_a_page_of_no_run_or_of_one_twice_is_refused() -> None:
    view = RunView(trace=made_run())
    for views in ([], [view, view]):
        with pytest.raises(ConfigError, match="one run at least"):
            runs_html(views)


def test_a_fragment_may_stand_twice_in_a_notebook() -> None:
    shown = run_fragment(made_run(), None)
    read = Read(shown + shown)
    assert read.all("id") == []
    assert read.all("href") == []
    assert read.elements[0][0] == "div"
    assert not {"html", "head", "body", "script", "h1"} & {tag for tag, _ in read.elements}


def test_thousands_of_tokens_stay_quick_and_small() -> None:
    def page_of(count: int) -> str:
        turn = made_turn(0, completion_ids=tuple(range(count)), logprobs=(-0.7,) * count)
        return run_html(made_run(turns=(turn,)), None, lambda ids: [" the"] * len(ids))

    count = 20_000
    page = page_of(count)
    assert times_as_long(lambda: page_of(count), lambda: page_of(count // 4), most=MOST) <= MOST
    assert page.count('<span class="t k2" title') == count
    assert len(page) < 60 * count


def test_a_long_history_shows_what_the_model_was_shown() -> None:
    trace = made_run({"history": tuple(f"i{n}" for n in range(30)), "config": {"max_history": 5}})
    page = Read(run_html(trace)).text
    assert "The 25 oldest, which the model was not shown" in page
    assert page.index("i24") < page.index("i25") < page.index("i29")


def test_ids_of_runs_are_those_of_the_store() -> None:
    assert f'id="r{RUN.hex}-turn-1"' in run_html(made_run())
