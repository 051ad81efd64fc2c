"""One person of the demo in a terminal: what was said, asked for and found, with the held-out item marked."""

from typing import Any

import pytest

from deeprec.evals.cli.side_by_side import AGENT, DEAF, HEARING, Answered, render_answered
from deeprec.trm_tool import Catalogue
from deeprec.trm_tool.data import Request
from tests.made_runs import made_place, made_retrieval, made_run
from tests.terminal import in_terminal


def answered(**changes: object) -> Answered:
    request = Request(
        conversation="c", person="u1", history=("851", "844"), message="funny ones\x1b[2J", targets=("893",), made=True
    )
    trace = made_run(
        ["900"],
        target="893",
        searches=("Comedy", "Comedy", "Drama"),
        recommended=(made_place(1, "900"), made_place(2, "893", 0, "filled")),
    )
    values: dict[str, object] = {
        "request": request,
        "trace": trace,
        "deaf": ("886", "872"),
        "hearing": ("893", "886", "879", "872", "865", "858"),
    }
    return Answered(**values | changes)  # type: ignore[arg-type]


def test_lists_stand_beside_each_other_and_the_held_out_item_is_marked_in_each(catalogue: Catalogue) -> None:
    shown = in_terminal(render_answered(answered(), catalogue))
    lines = shown.splitlines()
    heads = next(line for line in lines if DEAF in line)
    first, second = lines[lines.index(heads) + 1 :][:2]
    assert [heads.index(name) for name in (DEAF, HEARING, AGENT)] == sorted(
        heads.index(name) for name in (DEAF, HEARING, AGENT)
    )
    assert first.index("→ Toy Story 2") == heads.index(HEARING)
    assert second.index("→ Toy Story 2") == heads.index(AGENT)
    assert " ".join(lines[-1].split()) == "not in 2 position 1 position 2"
    assert len(lines) - lines.index(heads) == 7  # of six items five are shown, and the row with the positions


def test_what_was_said_and_asked_for_is_there_and_drives_no_terminal(catalogue: Catalogue) -> None:
    shown = in_terminal(render_answered(answered(), catalogue))
    assert "User u1 (a made sentence): “funny ones" in shown
    assert "\x1b" not in shown
    assert "2 items before" in shown
    assert "held out: Toy Story 2" in shown
    assert "asked for “Comedy”, then for “Drama”." in shown


def test_constraints_show_what_held_what_weighed_and_what_the_catalogue_lacks(catalogue: Catalogue) -> None:
    stated = {
        "hard": [{"text": "price <= 20", "where": {"price": {"max": 20}}, "source": "message"}],
        "guessed": [{"text": "not horror", "where": {}, "why": "the person's words do not say so"}],
        "unenforceable": ["gloomy"],
    }
    first, second = (made_retrieval(at, preference="not horror; price <= 20", constraints=stated) for at in (0, 1))
    trace = made_run(["900"], target="893", retrievals=(first, second))
    shown = " ".join(in_terminal(render_answered(answered(trace=trace), catalogue), 200).split())
    assert (
        "asked for “not horror; price <= 20”; held to price <= 20; a guess that only weighed: not horror; "
        "not in the catalogue: gloomy."
    ) in shown


@pytest.mark.parametrize("stated", [{"hard": 5, "guessed": [7, {"words": "no"}], "unenforceable": {"a": 1}}, [1], 5])
def test_constraints_of_an_odd_imported_run_are_shown_as_far_as_they_can_be(stated: Any, catalogue: Catalogue) -> None:
    trace = made_run(["900"], target="893", retrievals=(made_retrieval(0, preference="drama", constraints=stated),))
    assert "asked for “drama”" in in_terminal(render_answered(answered(trace=trace), catalogue), 200)


def test_an_agent_that_asked_for_nothing_and_found_nothing_is_shown(catalogue: Catalogue) -> None:
    empty = answered(trace=made_run([], target="893", searches=(), recommended=()), deaf=(), hearing=())
    shown = in_terminal(render_answered(empty, catalogue))
    assert "The agent asked for nothing." in shown
    assert shown.splitlines()[-1].split() == ["not", "in", "0"] * 3
