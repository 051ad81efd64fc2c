"""A question how many there are is answered with a number, and asks for nothing."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.conversation import ConversationCatalogue
from deeprec.agent.shopping import build_shopping_agent
from deeprec.agent.shopping.counted_items import counted_subject
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.small_recommender import WordCounts

SHOP = ConversationCatalogue(catalogue())


@pytest.fixture
def talk() -> Talk:
    return Talk(build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver()))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("how many rugs do you have?", "4 items of the catalogue have type rug."),
        ("How many lamps?", "4 items of the catalogue have type desk lamp or floor lamp."),
        ("and how many black rugs are there", "1 item of the catalogue has colour black and type rug."),
        ("how many rugs under 10?", "No item of the catalogue has price at most 9 and type rug."),
        ("how many foldable items do you have", "3 items of the catalogue have features foldable."),
        (
            "how many white or foldable ones are there?",
            "4 items of the catalogue have colour white or features foldable.",
        ),
        ("how many items do you have?", "The catalogue has 8 items."),
        ("how many are there under 30", "2 items of the catalogue have price at most 29."),
        ("how many colours are there?", "colour: 3 different ones."),
        ("how many kinds of lamp do you have?", "type: 2 different ones."),
        ("how many submarines do you have?", "Nothing in this catalogue has 'submarines'."),
        (
            "how many rugs with tassels do you have?",
            "4 items of the catalogue have type rug.\nThe count does not go by 'tassels'.",
        ),
    ],
)
async def test_what_is_counted_is_the_catalogues(talk: Talk, said: str, answer: str) -> None:
    reply = await talk.says(said)
    assert (reply["kind"], reply["items"], reply["difference"]["added"]) == ("facts", [], [])
    assert reply["text"].replace(".00", "").replace("29.95", "29") == answer


async def test_what_was_asked_for_before_is_counted_too_and_stays(talk: Talk) -> None:
    await talk.says("a rug, at most 70")
    reply = await talk.says("how many white ones do you have?")
    first, both = reply["text"].splitlines()
    assert first == "3 items of the catalogue have colour white."
    assert both.startswith("With all that you asked for so far: 2 items of the catalogue have ")
    assert (await talk.says("how many are there?"))["text"].startswith("3 items of the catalogue have price at most 70")
    state = (await talk.agent.aget_state(talk.config)).values["conversation"]
    assert [each["text"] for each in state["said"]] == ["a rug"]
    assert (await talk.says("white please"))["difference"]["added"] == ["maybe colour: white"]


async def test_items_of_the_list_are_counted(talk: Talk) -> None:
    await talk.says("a rug")
    reply = await talk.says("how many of these are washable?")
    assert (reply["kind"], reply["difference"]["added"]) == ("facts", [])
    assert reply["text"] == "3 of the 4 items of the last list have features washable."


@pytest.mark.parametrize(
    "said",
    [
        "how many people fit on a rug?",
        "how many pages does it have?",
        "how many of these have you read?",
        "a rug for how many people?",
        "how many can I take?",
        "how much is a rug?",
        "how many items did I like?",
        "how many rugs do I need?",
        "how many people bought it?",
    ],
)
def test_other_questions_with_how_many_are_no_count(said: str) -> None:
    assert counted_subject(said, SHOP) is None


@pytest.mark.parametrize(
    ("said", "added"),
    [
        ("how many rugs do you have? I need one under 50", ["price <= 49", "maybe type: rug"]),
        ("how many rugs are there, I want a black one", ["maybe type: rug", "maybe colour: black"]),
        ("how many of these are washable? I want a rug", ["maybe features: washable", "maybe type: rug"]),
    ],
)
async def test_what_is_said_beside_the_question_is_no_part_of_a_count_and_stays(
    talk: Talk, said: str, added: list[str]
) -> None:
    await talk.says("show me something")
    reply = await talk.says(said)
    assert (reply["kind"], reply["difference"]["added"]) == ("list", added)


@pytest.mark.parametrize("said", ["how many rugs do you have? Thanks!", "how many rugs? And how many lamps?"])
def test_a_second_question_and_politeness_leave_it_a_count(said: str) -> None:
    assert counted_subject(said, SHOP) == "rugs"


async def test_a_question_about_the_cart_counts_nothing_of_the_catalogue(talk: Talk) -> None:
    await talk.says("a rug")
    assert (await talk.says("how many items are in my cart?"))["kind"] == "cart"


async def test_a_superlative_of_the_list_states_no_condition_to_count_by(talk: Talk) -> None:
    await talk.says("a rug")
    assert "items of the last list have" not in (await talk.says("how many of these are the cheapest?"))["text"]
    assert (await talk.says("how many of these are any colour?"))["text"] == "The last list has 4 items."


async def test_values_of_an_attribute_are_counted_of_what_was_asked_for_too(talk: Talk) -> None:
    await talk.says("a desk lamp")
    assert (await talk.says("how many colours are there?"))["text"].splitlines() == [
        "colour: 3 different ones.",
        "With all that you asked for so far: 2 different ones.",
    ]
