"""An item with one of the wishes that "or" joins has what was asked for, in each turn that follows."""

from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import build_shopping_agent
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.small_recommender import WordCounts

PART = "These have only a part of what you asked for:"


async def test_or_holds_in_the_next_turn() -> None:
    talk = Talk(build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver()))
    await talk.says("white or foldable lamps")
    lines = (await talk.says("under 60"))["text"].splitlines()
    before = lines[: lines.index(PART)]
    assert [line.split()[1] for line in before if line[0].isdigit()] == ["Cole", "Dune"]  # Dune is black and foldable
    why = (await talk.says("why the second?"))["text"]
    assert "Dune" in why
    assert "It does not have" not in why
    assert "- maybe colour: white, or features: foldable" in (await talk.says("what did I ask for?"))["text"]
