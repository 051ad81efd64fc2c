"""What nothing in the catalogue has a word for is named before the list, and no heading says that the list fits it."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import build_shopping_agent
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.small_recommender import WordCounts


@pytest.fixture
def talk() -> Talk:
    return Talk(build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver()))


@pytest.mark.parametrize(
    ("said", "first", "heading"),
    [
        ("a submarine", "Nothing in this catalogue has 'submarine'.", "You may like these:"),
        ("a black submarine", "Nothing in this catalogue has 'submarine'.", "Apart from that, these fit best:"),
        ("you idiot", "No wish was understood for certain in 'you idiot'", "You may like these:"),
        ("print('x')", "No wish was understood for certain in \"print('x')\"", "You may like these:"),
        ("submarines", "No wish was understood for certain in 'submarines'", "You may like these:"),
    ],
)
async def test_what_is_unknown_is_said_before_the_list(talk: Talk, said: str, first: str, heading: str) -> None:
    reply = await talk.says(said)
    lines = reply["text"].splitlines()
    assert reply["kind"] == "list"
    assert lines[0].startswith(first)
    assert lines[1] == heading
    assert reply["text"].count(lines[0]) == 1
    assert reply["problems"] == [lines[0]]


async def test_words_that_the_records_have_are_only_near(talk: Talk) -> None:
    reply = await talk.says("packed with plastic")
    assert reply["text"].splitlines()[0] == "The nearest to your words:"
    assert reply["problems"] == []


async def test_a_message_that_is_no_wish_leaves_the_wishes_before_it(talk: Talk) -> None:
    await talk.says("a black rug")
    reply = await talk.says("you idiot")
    assert reply["text"].splitlines()[:2] == [
        "No wish was understood for certain in 'you idiot': nothing in this catalogue has 'idiot'.",
        "These fit best:",
    ]
    assert reply["difference"] == {"added": [], "removed": []}
    assert talk.ids[0] == "e"


async def test_further_items_are_said_to_fit_only_where_something_was_understood(talk: Talk) -> None:
    await talk.says("you idiot")
    shown = (await talk.says("show me more"))["text"]
    assert "that fit:" not in shown


@pytest.mark.parametrize("said", ["thanks", "show me something", "surprise me", "what can I ask for?", "hello there"])
async def test_what_carries_no_wish_is_not_called_misunderstood(talk: Talk, said: str) -> None:
    assert "No wish was understood" not in (await talk.says(said))["text"]


@pytest.mark.parametrize(
    "said",
    [
        "something washable please",
        "washable ideally",
        "I want something in black asap",
        "show me everything",
        "a little cheaper",
        "foldable models",
        "sounds good",
        "is it washable Tom",
    ],
)
async def test_words_that_ask_for_no_thing_are_not_called_unknown(talk: Talk, said: str) -> None:
    await talk.says("a rug under 50")
    reply = await talk.says(said)
    assert "Nothing in this catalogue" not in reply["text"]
    assert "No wish was understood" not in reply["text"]
