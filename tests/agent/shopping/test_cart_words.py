"""What people say of the cart and of items: nothing is lost in silence, and what was liked can be taken back."""

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import MemoryCart, build_shopping_agent
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.small_recommender import WordCounts


@pytest.fixture
def cart() -> MemoryCart:
    return MemoryCart()


@pytest.fixture
def talk(cart: MemoryCart) -> Talk:
    return Talk(
        build_shopping_agent(None, WordCounts(catalogue()), cart=cart, checkpointer=InMemorySaver()), person="ann"
    )


async def known(talk: Talk) -> Any:
    return (await talk.agent.aget_state(talk.config)).values["conversation"]


@pytest.mark.parametrize(
    "said",
    ["remove the Fern rug from my cart", "take the black rug out of the basket", "please drop the rug off my cart"],
)
async def test_what_is_in_the_cart_is_named_in_a_new_conversation(talk: Talk, cart: MemoryCart, said: str) -> None:
    cart.add("ann", "e")
    cart.add("ann", "a")
    reply = await talk.says(said)
    assert reply["action"] == {"kind": "remove_from_cart", "item_ids": ["e"], "failed": []}
    assert list(cart.items("ann")) == ["a"]
    assert reply["text"] == "Fern rug is no longer in your cart."


async def test_which_one_in_the_cart_is_asked_and_answered(talk: Talk, cart: MemoryCart) -> None:
    for item_id in ("e", "f"):
        cart.add("ann", item_id)
    reply = await talk.says("remove the rug from my cart")
    assert reply["question"]["options"] == ["Fern rug", "Gale rug"]
    assert list(cart.items("ann")) == ["e", "f"]
    await talk.says("the Gale rug")
    assert list(cart.items("ann")) == ["e"]


async def test_what_is_not_there_is_neither_added_nor_removed_in_silence(talk: Talk, cart: MemoryCart) -> None:
    await talk.says("only white rugs")
    reply = await talk.says("add the black one to my cart")
    assert "No item that was shown is meant by that, so nothing was put into your cart." in reply["text"]
    reply = await talk.says("remove the kettle from my cart")
    assert reply["text"] == "the kettle: Nothing in your cart is meant by that."
    assert cart.items("ann") == ()


async def test_what_was_liked_can_be_taken_back(talk: Talk) -> None:
    await talk.says("a rug")
    second = talk.ids[1]
    await talk.says("I like the second")
    assert [each["kind"] for each in (await known(talk))["feedback"]] == ["liked"]
    title = {item.id: item.title for item in catalogue()}[second]
    reply = await talk.says(f"I don't like the {title} after all")
    assert (await known(talk))["feedback"] == []
    assert f"{title} no longer counts as liked." in reply["text"]
    reply = await talk.says(f"I no longer like the {title}")
    assert reply["text"] == f"no longer like the {title}: Nothing there counts as liked."


async def test_a_click_takes_back_what_a_click_said(talk: Talk) -> None:
    await talk.says("a rug")
    said = {"kind": "liked", "item_ids": [talk.ids[1]]}
    await talk.says(None, edit={"feedback": [said]})
    reply = await talk.says(None, edit={"feedback": [{**said, "taken_back": True}]})
    assert (await known(talk))["feedback"] == []
    assert "no longer counts as liked" in reply["text"]
    again = await talk.says(None, edit={"feedback": [{**said, "taken_back": "yes"}]})
    assert again["problems"] == ["feedback.0.taken_back is 'yes'; give true or false."]


async def test_a_question_of_ones_own_is_no_answer_to_which_one(talk: Talk) -> None:
    await talk.says("a lamp")
    assert (await talk.says("add the black one to my cart"))["question"]
    assert (await talk.says("why the first?"))["kind"] == "explanation"


async def test_a_list_of_one_has_no_first_two(talk: Talk) -> None:
    await talk.says("only washable, only sage green rugs")
    assert talk.ids == ["g"]
    for said in ("compare the first two", "compare both of them", "compare the last three"):
        assert "The last list has 1 item." in (await talk.says(said))["text"]
