"""The benchmark of a turn's waiting time compares what it says."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from benchmarks.shopping_turns import KINDS, converse, ratios
from deeprec.agent.shopping import build_shopping_agent
from tests.agent.shopping.lamp_shop import catalogue
from tests.small_recommender import WordCounts


async def test_a_conversation_is_timed_turn_by_turn() -> None:
    agent = build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver())
    waited = await converse(agent, "alone", 0)
    assert len(waited) == len(KINDS)
    for turn in waited:
        assert set(turn) == {"first part", "answer"}  # without a model
        assert 0 < turn["first part"] <= turn["answer"]


def test_ratios_are_of_the_same_round_and_the_same_number_at_once() -> None:
    rows: list[dict[str, Any]] = [
        {"round": number, "side": side, "at once": at_once, "turns": {"search": {"answer": seconds * (number + 1)}}}
        for number in range(2)
        for side, at_once, seconds in (("rules", 1, 1.0), ("rules", 32, 4.0), ("model", 1, 10.0), ("model", 32, 80.0))
    ]
    assert ratios(rows) == {
        "rules, 32 at once / alone": [pytest.approx(4.0)] * 2,
        "model / rules, 1 at once": [pytest.approx(10.0)] * 2,
        "model, 32 at once / alone": [pytest.approx(8.0)] * 2,
        "model / rules, 32 at once": [pytest.approx(20.0)] * 2,
    }
