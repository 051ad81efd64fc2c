"""An item with one of the wishes that "or" joins has what was asked for, in each turn that follows."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import build_shopping_agent
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.small_recommender import WordCounts

PART = "These have only a part of what you asked for:"


@pytest.fixture
def talk() -> Talk:
    return Talk(build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver()))


async def test_or_holds_in_the_next_turn(talk: Talk) -> None:
    await talk.says("white or foldable lamps")
    lines = (await talk.says("under 60"))["text"].splitlines()
    before = lines[: lines.index(PART)]
    assert [line.split()[1] for line in before if line[0].isdigit()] == ["Cole", "Dune"]  # Dune is black and foldable
    why = (await talk.says("why the second?"))["text"]
    assert "Dune" in why
    assert "It does not have" not in why
    assert "- maybe colour: white, or features: foldable" in (await talk.says("what did I ask for?"))["text"]


async def test_a_later_or_joins_the_alternatives_of_other_attributes_too(talk: Talk) -> None:
    await talk.says("black or foldable")
    await talk.says("or white")
    reply = await talk.says("or washable")
    assert reply["difference"]["added"] == ["maybe colour: black or white, or features: foldable or washable"]
    assert PART not in reply["text"]


@pytest.mark.parametrize("said", ["black lamps or white rugs", "a black lamp or white rug"])
async def test_things_that_values_describe_are_no_alternatives_to_those_values(talk: Talk, said: str) -> None:
    reply = await talk.says(said)
    assert reply["difference"]["added"] == [
        "maybe colour: black or white",
        "maybe type: desk lamp or floor lamp or rug",
    ]


async def test_a_kind_with_an_alternative_keeps_no_other_kind_out(talk: Talk) -> None:
    reply = await talk.says("a desk lamp or washable")
    assert talk.ids == ["a", "b", "e", "f", "g"]
    assert reply["problems"] == []
