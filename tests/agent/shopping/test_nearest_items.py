"""What is offered where no item passes everything: items of the kind that was asked for last."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import build_shopping_agent
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.small_recommender import WordCounts


@pytest.fixture
def talk() -> Talk:
    return Talk(build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver()))


@pytest.mark.parametrize("messages", [("only rugs, at least 85", "a desk lamp"), ("only desk lamps, at least 85",)])
async def test_the_kind_stays_and_another_limit_is_left_out(talk: Talk, messages: tuple[str, ...]) -> None:
    for said in messages:
        reply = await talk.says(said)
    assert reply["kind"] == "cannot"
    assert "type desk lamp" in reply["problems"][0]
    assert reply["problems"][0].endswith("Without price at least 85.00 there are 2.")
    assert [card["item_id"] for card in reply["nearest"]] == ["b", "a"]


async def test_a_kind_that_is_left_of_nothing_is_left_out(talk: Talk) -> None:
    await talk.says("only desk lamps")
    await talk.says("add the first to my cart")
    await talk.says("I have the second already")
    reply = await talk.says("at least 20")
    assert reply["kind"] == "cannot"
    assert "Without type desk lamp" in reply["problems"][0]
