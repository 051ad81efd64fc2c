from typing import Any

import pytest
from hypothesis import given, strategies as st

from deeprec.agent.traces import RunTrace, TraceStore
from deeprec.agent.views import render_run, visible
from deeprec.trm_tool import Catalogue, ScoredItem
from tests.inspected_runs import CONSTRAINTS, Named
from tests.terminal import in_terminal

EVIL = "[bold]x[/nope] \x1b[2J\x1b]0;owned\x07 \u202egnp.exe\u202c \x9b31m \u200b\ud800 :smile: [link=http://x]y[/link]"


def shown(trace: RunTrace, titles: Any = None, width: int = 120) -> str:
    return in_terminal(render_run(trace, titles), width)


def test_the_terminal_shows_the_run_in_order(store: TraceStore, make: Any) -> None:
    run_id = make.write(store)
    store.write_rewards(run_id, "list", {"hit": 1.25})
    page = shown(store.run(run_id), Named("Film"))
    expected = [
        f"Run {run_id}  finished",
        "tagged protocol, free, SmolLM2-135M-Instruct + deeprec, version 4; "
        "3 turns, 2 retrievals, 9 tokens written, 900 ms",
        "user 12",
        "message: something lighter",
        "held out: 1  Film 1",
        "History, oldest first",
        "50  Film 50",
        "181 Film 181",
        "Turn 1 of 3: retrieve",
        "5 tokens read, 3 written, 120 ms",
        "They like space.",
        "preference: sci-fi; 1980s",
        "retrieval 1: 3 items, 3 new, 4 ms, the held-out item is among them",
        "not enforceable: colour",
        "Film 9",
        "new ★",
        "Turn 2 of 3: retrieve",
        "seen in turn 1",
        "Turn 3 of 3: recommend",
        "Ranked list, as shown, beside what the model wrote",
        "77 (not retrieved)",
        "name no candidate: 1",
        "list hit: 1.25",
    ]
    position = 0
    for part in expected:
        assert part in page[position:], part
        position = page.index(part, position)


def test_the_terminal_shows_what_became_of_the_constraints_of_a_preference(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    store.record_turn(run.run_id, make.turn(0))
    store.record_retrieval(run.run_id, make.retrieval(0, constraints=CONSTRAINTS))
    page = shown(store.run(run.run_id))
    assert "kept: not horror (no horror)" in page
    assert "only weighed: only 1980s (the person's words do not say so)" in page
    assert "not in this catalogue: not scary" in page


def test_an_item_is_new_once_and_then_seen_before(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run(history=("20",), target_id=None))
    for position in range(2):
        store.record_turn(run.run_id, make.turn(position))
        store.record_retrieval(run.run_id, make.retrieval(position))
    lines = [line.split() for line in shown(store.run(run.run_id)).splitlines()]
    notes = [" ".join(line[3:]) for line in lines if line[:1] in (["1"], ["2"], ["3"]) and len(line) > 3]
    assert notes == ["new", "in the history", "new", "seen in turn 1", "new", "seen in turn 1"]


def test_a_list_says_where_each_item_came_from(store: TraceStore, make: Any) -> None:
    page = shown(store.run(make.write(store)))
    rows = [line.split() for line in page[page.index("Ranked list") :].splitlines()]
    assert ["1", "9", "0.900", "turn", "1", "written", "9"] in rows
    assert ["2", "1", "0.250", "turn", "1", "filled", "★", "9"] in rows
    assert ["3", "77", "(not", "retrieved)"] in rows


def test_trust_is_shown_where_the_agent_set_it(store: TraceStore, make: Any) -> None:
    for config, said in (({}, False), ({"trust": None}, False), ({"trust": 0.15}, True)):
        page = shown(store.run(make.write(store, make.run(config=config))), None)
        assert ("preferences trusted 0.15" in page) is said


def test_a_run_without_any_step_shows(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run(history=(), message=None, target_id=None, user_id=None, adapter=None))
    assert "running" in shown(store.run(run.run_id))


def test_an_incomplete_fallback_says_so(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run())
    store.record_turn(
        run.run_id, make.turn(0, action="unavailable", detail="connection refused", finish_reason="length")
    )
    store.finish_run(run.run_id, make.outcome(status="fallback", detail="the server is down", written=()))
    store.mark_incomplete(run.run_id)
    page = shown(store.run(run.run_id))
    for part in ("fallback (incomplete", "note: the server is down", "note: connection refused", "ended by length"):
        assert part in page


def test_hostile_text_steers_no_terminal(store: TraceStore, make: Any) -> None:
    run = make.run(user_id=EVIL, message=EVIL, history=(EVIL,), policy_model=EVIL, target_id=EVIL)
    store.start_run(run)
    turn = make.turn(0, action="malformed", text=EVIL, thought=EVIL, preference=EVIL, detail=EVIL, finish_reason=EVIL)
    store.record_turn(run.run_id, turn)
    item = ScoredItem(EVIL, 0.5)
    stated = {"hard": [{"text": EVIL, "words": EVIL}], "guessed": EVIL, "unenforceable": [EVIL, 7, {}]}
    found = make.retrieval(0, items=(item,), unenforced=(EVIL,), detail=EVIL, constraints=stated)
    store.record_retrieval(run.run_id, found)
    store.finish_run(run.run_id, make.outcome(detail=EVIL, status=EVIL.replace("\ud800", "")))
    for titles in (None, Named(EVIL)):
        page = shown(store.run(run.run_id), titles, width=1000)
        assert not {char for char in page if ord(char) < 32 and char != "\n"}
        assert not {"\x7f", "\x9b", "\u202e", "\u202c", "\u200b", "\ud800"} & set(page)
        page.encode("utf-8")
        assert "[bold]x[/nope] \\x1b[2J" in page
        assert ":smile: [link=http://x]y[/link]" in page


def test_a_line_break_starts_no_line(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run(message="one\nRun 00000000 finished\r\u2028two"))
    page = shown(store.run(run.run_id))
    assert "message: one Run 00000000 finished \\u2028two" in page


def test_enormous_text_is_cut(store: TraceStore, make: Any) -> None:
    store.start_run(run := make.run(message="m" * 10**6))
    assert len(shown(store.run(run.run_id))) < 10_000


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_any_width_will_do(store: TraceStore, make: Any, width: int) -> None:
    page = shown(store.run(make.write(store)), Named("A rather long title " * 5), width=width)
    assert max(len(line) for line in page.splitlines()) <= width


def test_a_catalogue_gives_the_titles(store: TraceStore, make: Any, catalogue: Catalogue) -> None:
    first = catalogue.ids[0]
    store.start_run(run := make.run(history=(first, "not in the catalogue")))
    page = shown(store.run(run.run_id), catalogue)
    assert catalogue.summary(first) in page
    assert "not in the catalogue" in page


@given(st.text(st.characters(categories=None)))
def test_visible_text_is_printable_and_stays_so(text: str) -> None:
    once = visible(text)
    assert once.isprintable() or any(char.isspace() for char in once)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in once)
    assert visible(once) == once


def test_visible_text_is_cut_at_its_length() -> None:
    assert visible("abcdef", 4) == "abc…"
    assert visible("abcd", 4) == "abcd"
    assert len(visible("\x1b" * 100, 10)) <= 10


def test_a_long_history_is_cut_also_for_a_run_without_a_model(store: TraceStore, make: Any) -> None:
    history = tuple(f"h{number}" for number in range(30))
    pages = []
    for config in ({}, {"max_history": 5}):
        store.start_run(run := make.run(history=history, config=config))
        pages.append(shown(store.run(run.run_id)))
    assert ["h10" in page for page in pages] == [True, False]
    assert ["h9 " in page for page in pages] == [False, False]
    assert ["(10 earlier items left out)" in pages[0], "(25 earlier items left out)" in pages[1]] == [True, True]
