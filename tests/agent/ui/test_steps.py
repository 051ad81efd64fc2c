"""Steps of a turn: what a person's edit may hold."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.conversation import read_delta
from deeprec.agent.shopping import build_shopping_agent
from deeprec.agent.ui.steps import turn_steps
from tests.agent.shopping.lamp_shop import catalogue
from tests.small_recommender import WordCounts


@pytest.mark.parametrize("digits", [30, 5_000])
async def test_a_number_of_many_digits_ends_no_turn(digits: int) -> None:
    agent = build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver())
    number = 10**digits
    edit = {"changes": [{"kind": "set", "attribute": "colour", "values": [number, "black"], "minimum": -number}]}
    labels = [step.label async for step in turn_steps(agent, {"edit": edit}, "t1")]
    values = (await agent.aget_state({"configurable": {"thread_id": "t1"}})).values
    assert labels == ["Understood", "Came back"]
    assert values["reply"]["difference"]["added"] == ["only colour: black"]
    assert "a number of too many digits" in " ".join(values["reply"]["problems"])
    delta, _ = read_delta(edit, turn=1, source="person")  # also where no checkpointer has to keep it
    assert delta.changes[0].values == ("black",)
