"""A logged conversation reads as one, in a terminal and as a page, and hostile text is only text."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent.traces import ConversationTrace, ConversationTurn
from deeprec.agent.views import RunView, conversation_html, render_conversation
from tests.inspected_runs import HOSTILE, RUN, STEERING_CHARS, Named, made_run
from tests.terminal import in_terminal


@pytest.fixture
def trace(make: Any) -> ConversationTrace:
    """Two turns and one that was undone; the person then liked what the first one showed, and something else."""
    cheap = {"attribute": "price", "maximum": 50.0, "turn": 2}
    first = make.conversation_turn(
        1, run_id=RUN, state_after={"turn": 1, "required": [{"attribute": "colour", "values": ["red"]}]}
    )
    undone = make.conversation_turn(2, message="not red after all", shown=(), state_after={"turn": 2})
    second = make.conversation_turn(
        2,
        message_id="other",
        message="cheaper\nplease",
        reply="Here:\n1. a",
        shown=("1",),
        question=None,
        state_before=first.state_after,
        state_after={
            "turn": 2,
            "required": [cheap],
            "feedback": [
                {"item_id": "9", "kind": "in_cart", "turn": 2},
                {"item_id": "77", "kind": "disliked", "turn": 2},
            ],
        },
    )
    return ConversationTrace(
        conversation_id=first.conversation_id,
        thread_id=first.thread_id,
        tenant=first.tenant,
        turns=(first, undone, second),
    )


def test_a_conversation_reads_as_one_in_a_terminal(trace: ConversationTrace) -> None:
    text = in_terminal(render_conversation(trace, Named("Tent")), 100)
    expected = [
        "Conversation thread-1",
        "Turn 1, 2026-11-20 09:01:00 UTC",
        "12: a red tent",
        "+ only colour: red",
        "note: No prices are known here.",
        f"searched: run {RUN}",
        "Two red tents.",
        "1. Tent 9 (9), in the cart",
        "2. Tent 1 (1)",
        "asked: Which size? 2 | 4",
        "done: kind: add_to_cart, item_id: 9",
        "Turn 2, 2026-11-20 09:02:00 UTC, undone",
        "not red after all",
        "Turn 2, 2026-11-20 09:02:00 UTC",
        "cheaper please",
        "+ price <= 50",
        "- only colour: red",
        "Here:",
        "1. a",
        "then: disliked Tent 77 (77)",
    ]
    position = 0
    for part in expected:
        assert part in text[position:], part
        position = text.index(part, position)


def test_without_a_catalogue_items_are_called_as_the_replies_called_them(trace: ConversationTrace) -> None:
    first, *others = trace.turns
    listed = replace(first, reply="These fit:\n1. Fir tent (price 20.00)\n2. Oak tent\nAnything else?")
    talk = replace(trace, turns=(listed, *others))
    text = in_terminal(render_conversation(talk), 100)
    assert "1. Fir tent (price 20.00) (9), in the cart" in text
    assert "disliked 77" in text  # no reply names it
    assert conversation_html(talk).count("Fir tent (price 20.00)") == 2  # in the reply, and beside its id


def test_a_page_links_the_searches_to_their_runs(trace: ConversationTrace) -> None:
    page = conversation_html(trace, Named("Tent"), runs=[RunView(trace=made_run())])
    assert f'<a href="#r{RUN.hex}-run">run <code>{str(RUN)[:8]}</code></a>' in page
    assert f'id="r{RUN.hex}-run"' in page
    assert f"run <code>{UUID(int=2)}</code>" in page
    linked = conversation_html(trace, run_link=lambda run_id: f"/runs/{run_id}?a=1&b=2")
    assert f'href="/runs/{RUN}?a=1&amp;b=2"' in linked
    assert '<span class="badge good">in the cart</span>' in page
    assert 'aria-label="Turn 2, undone"' in page
    assert "script" not in page.replace("script-src", "")


def hostile(turn: ConversationTurn) -> ConversationTurn:
    texts = dict.fromkeys(("thread_id", "user_id", "tenant", "message", "kind", "reply"), HOSTILE)
    odd: dict[str, Any] = {
        "problems": (HOSTILE,),
        "shown": (HOSTILE,),
        "question": {"text": HOSTILE, "options": [HOSTILE, 7], "attribute": None},
        "actions": ({HOSTILE: [HOSTILE]},),
        "state_before": {"turn": HOSTILE},
        "state_after": {"feedback": [{"item_id": HOSTILE, "kind": HOSTILE}, 7, {"item_id": "other", "kind": HOSTILE}]},
    }
    return replace(turn, **texts | odd)


def test_hostile_text_is_only_text(trace: ConversationTrace) -> None:
    attack = replace(trace, thread_id=HOSTILE, tenant=HOSTILE, turns=tuple(map(hostile, trace.turns)))
    page = conversation_html(attack, Named(HOSTILE), runs=[RunView(trace=made_run())])
    assert "<script" not in page
    assert "<img" not in page
    assert "id=planted" not in page.replace("&lt;b id=planted&gt;", "")
    text = in_terminal(render_conversation(attack, Named(HOSTILE)), 100)
    for shown in (page, text):
        assert not STEERING_CHARS & set(shown)
    for odd in ({"question": {"options": 7}}, {"state_after": {}}, {"state_after": {"feedback": 7}}):
        assert conversation_html(replace(trace, turns=(replace(trace.turns[0], **odd),)))  # type: ignore[arg-type]
    assert conversation_html(replace(trace, turns=()))
