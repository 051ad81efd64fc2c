"""What a turn decides among, over a shop of lamps and rugs, without a model."""

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import CartReceipt, MemoryCart, ShoppingConfig, build_shopping_agent
from tests.agent.shopping.lamp_shop import ROWS, Talk, catalogue
from tests.small_recommender import WordCounts


@pytest.fixture
def talk() -> Talk:
    return Talk(build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver()))


@pytest.fixture
def large() -> Talk:
    """A shop with forty items, in which questions are worth asking."""
    rows = [(f"{row[0]}{n}", f"{row[1]} {n}", *row[2:5], row[5] + n) for n in range(5) for row in ROWS]
    return Talk(build_shopping_agent(None, WordCounts(catalogue(rows)), checkpointer=InMemorySaver()))


async def test_what_keeps_all_items_out_is_named_and_the_nearest_is_offered_as_such(talk: Talk) -> None:
    reply = await talk.says("a rug under 15")
    assert (reply["kind"], reply["items"]) == ("cannot", [])
    assert reply["problems"][0].startswith("Nothing has all of this: type rug and price at most 14")
    assert reply["problems"][0].endswith("there are 4.")
    assert [card["item_id"] for card in reply["nearest"]] == ["h", "e", "f", "g"]
    assert (await talk.says("add the second to my cart"))["action"]["item_ids"] == ["e"]


async def test_of_several_limits_the_one_without_which_most_pass_is_left_out(talk: Talk) -> None:
    reply = await talk.says("only black, only washable, at least 80")
    assert reply["kind"] == "cannot"
    assert "Without price at least 80.00 there is 1." in reply["problems"][0]
    assert [card["item_id"] for card in reply["nearest"]] == ["e"]


async def test_two_required_tags_both_hold(talk: Talk) -> None:
    await talk.says("it must be washable")
    await talk.says("it must be foldable too")
    assert talk.ids == ["f"]


async def test_near_values_are_not_shown_for_one_that_is_demanded(talk: Talk) -> None:
    reply = await talk.says("I want only teal rugs")
    assert (reply["kind"], reply["items"]) == ("cannot", [])
    assert "'teal'" in reply["text"]
    reply = await talk.says("do you have any turquoise ones?")
    assert (reply["kind"], len(reply["items"])) == ("list", 4)
    named = ["Nothing in this catalogue has 'teal'.", "Nothing in this catalogue has 'turquoise'."]
    assert reply["problems"] == named  # what was demanded stays named until something takes its place
    assert (await talk.says("only black then"))["problems"] == []
    assert (await talk.says("white rugs then"))["kind"] == "list"
    assert talk.ids[0] in "fh"


async def test_what_no_item_of_a_list_has_is_named(talk: Talk) -> None:
    reply = await talk.says("a white floor lamp")
    assert talk.ids == ["c", "d"] or talk.ids == ["d", "c"]
    assert reply["problems"] == ["None of these has colour white."]


async def test_a_question_comes_with_the_list_and_never_twice_about_the_same(large: Talk) -> None:
    asked = []
    for said in ("a rug", "no preference", "under 1000", "something nice", "at least 1"):
        reply = await large.says(said)
        assert reply["kind"] == "list"
        if reply["question"]:
            assert reply["question"]["text"] in reply["text"]
            assert reply["question"]["options"]
            asked.append(reply["question"]["attribute"])
    assert asked
    assert len(asked) == len(set(asked)) <= 3
    assert "type" not in asked


async def test_the_answer_to_a_question_holds(large: Talk) -> None:
    question = (await large.says("a rug"))["question"]
    assert question["attribute"] == "price"
    low = question["options"][0]
    reply = await large.says(low)
    assert reply["difference"]["added"] == ["price >= 20", "price <= 24"]  # both ends of the range that was offered
    assert {card["facts"]["price"] for card in reply["items"]} <= {f"{20 + n}.00" for n in range(5)}


async def test_no_question_is_asked_where_none_is_wanted() -> None:
    rows = [(f"{row[0]}{n}", f"{row[1]} {n}", *row[2:]) for n in range(5) for row in ROWS]
    agent = build_shopping_agent(
        None, WordCounts(catalogue(rows)), shopping=ShoppingConfig(max_questions=0), checkpointer=InMemorySaver()
    )
    assert (await Talk(agent).says("a rug"))["question"] is None


@pytest.mark.parametrize(
    ("said", "kind", "has", "lacks"),
    [
        ("how much is the second?", "facts", "price: 60.00", "washable"),
        ("is the first washable?", "facts", "Yes, features: washable", "price"),
        ("does the third come in black?", "facts", "No, not black; colour: white", "price"),
        ("does the first come with plastic?", "facts", "Its record says: It is packed without plastic.", "price"),
        ("does the first have pockets?", "facts", "Its record does not say so.", "Yes"),
        ("how old is the first?", "facts", "There is no year in this catalogue.", "Yes"),
        ("tell me more about the second", "facts", "colour: white", "Fern"),
        ("the third", "facts", "price: 20.00", "Fern"),
        ("compare the first and the second", "comparison", "colour: 1: black; 2: white", "Iris"),
        ("which is cheaper, the first or the third?", "comparison", "least: 3; most: 1", "Gale"),
        ("why the first?", "explanation", "price 40.00, at most 70.00 and type rug.", "Gale"),
        ("why these?", "explanation", "3. Iris rug", "recommender"),
        ("what have I asked for so far?", "state", "- maybe type: rug", "Fern"),
        ("what colours do you have?", "facts", "colour: black, white, sage green", "price"),
        ("what can I ask for?", "facts", "price: 20.00 to 90.00", "Fern"),
        ("thanks", "question", "What are you looking for?", "Fern"),
        ("😀", "question", "What are you looking for?", "Fern"),
        ("add the ninth to my cart", "cannot", "The last list has 3 items.", "in your cart"),
    ],
)
async def test_questions_are_answered_from_the_records(talk: Talk, said: str, kind: str, has: str, lacks: str) -> None:
    await talk.says("a rug, at most 70")
    assert sorted(talk.ids) == ["e", "f", "h"]
    await talk.says(None, edit={"changes": [{"kind": "relax", "attribute": "features"}]})
    talk.reply = {}
    before = (await talk.agent.aget_state(talk.config)).values["conversation"]
    assert [each["item_id"] for each in before["shown"][-3:]] == ["e", "f", "h"]
    reply = await talk.says(said)
    assert reply["kind"] == kind
    assert has in reply["text"]
    assert lacks not in reply["text"]
    assert reply["difference"] == {"added": [], "removed": []}
    after = (await talk.agent.aget_state(talk.config)).values["conversation"]
    assert after["said"] == before["said"]


async def test_a_superlative_is_answered_over_the_whole_catalogue_with_all_that_tie(talk: Talk) -> None:
    await talk.says("a rug")
    reply = await talk.says("the cheapest thing you have")
    assert {card["item_id"] for card in reply["items"][:2]} == {"a", "h"}
    assert "By price, the lowest first:" in reply["text"]


async def test_which_of_the_shown_is_the_cheapest_changes_no_list(talk: Talk) -> None:
    await talk.says("a rug, at least 50")
    shown = talk.ids
    reply = await talk.says("which of these is the cheapest?")
    assert (reply["kind"], talk.ids, reply["difference"]["added"]) == ("comparison", shown, [])
    assert "least: 1; most: 2" in reply["text"]


async def test_a_wish_in_other_words_ends_a_superlative_and_a_value_does_not(talk: Talk) -> None:
    await talk.says("the cheapest rug")
    reply = await talk.says("in white please")
    assert (talk.ids[0], reply["difference"]["removed"]) == ("h", [])
    reply = await talk.says("something for a damp cellar")
    assert reply["difference"]["removed"] == ["price: the lowest first"]


async def test_other_words_do_not_bring_the_same_list_a_third_time(talk: Talk) -> None:
    lists = []
    for said in ("the cheapest rug", "the cheapest rug, something cosy", "the cheapest rug, something quiet"):
        await talk.says(said)
        lists.append(talk.ids)
    assert lists == [["h", "e", "f", "g"], ["h", "e", "f", "g"], []]
    assert "all the items that fit" in talk.reply["text"]


async def test_more_like_one_of_the_list_but_cheaper(talk: Talk) -> None:
    await talk.says("at least 50")
    position = talk.ids.index("c") + 1
    await talk.says(f"more like number {position}, but cheaper")
    assert talk.ids[0] in "ab"  # a is black too, b can be folded too
    assert "c" not in talk.ids


async def test_something_else_entirely_sets_the_list_aside(talk: Talk) -> None:
    await talk.says("a rug")
    before = set(talk.ids)
    await talk.says("something else entirely")
    assert talk.ids
    assert not before & set(talk.ids)


async def test_what_the_person_thinks_of_items_reaches_the_history_at_once(talk: Talk) -> None:
    reply = await talk.says("a rug")
    first, second = talk.ids[:2]
    reply = await talk.says("I like the first, not the second")
    titles = {row[0]: row[1] for row in ROWS}
    assert f"You like {titles[first]}." in reply["text"]
    assert {first, second}.isdisjoint(talk.ids)
    assert (await talk.says("why the first?"))["text"].count(titles[first]) == 1


async def test_the_same_request_is_never_answered_with_the_same_list_a_third_time(talk: Talk) -> None:
    lists = []
    for _ in range(4):
        await talk.says("a rug")
        lists.append(tuple(talk.ids))
    assert lists[0] == lists[1]  # there are four rugs in all
    assert lists[2] == lists[3] == ()
    assert "all the items that fit" in talk.reply["text"]


async def test_more_are_other_items(large: Talk) -> None:
    await large.says("a rug")
    shown = list(large.ids)
    for said in ("show me more", "what else?", "more please"):
        reply = await large.says(said)
        assert reply["kind"] == "list"
        assert "Others that fit:" in reply["text"]
        shown += large.ids
    assert len(shown) == len(set(shown)) == 20
    assert (await large.says("more"))["kind"] == "cannot"


async def test_a_reference_that_several_fit_is_asked_back_and_the_request_goes_on(talk: Talk) -> None:
    await talk.says("a rug, at most 70")
    reply = await talk.says("add the white one to my cart")
    assert (reply["kind"], reply["action"]) == ("question", None)
    assert reply["question"]["options"] == ["Gale rug", "Iris rug"]
    reply = await talk.says("the second")
    assert (reply["kind"], reply["action"]["item_ids"]) == ("cart", ["f"])
    reply = await talk.says("is it dimmable?")
    assert reply["kind"] == "facts" or (await talk.says("the first"))["kind"] == "facts"


async def test_what_is_in_the_cart_is_no_news_and_can_be_taken_out(talk: Talk) -> None:
    await talk.says("a rug")
    first = talk.ids[0]
    reply = await talk.says("I'll take the first")
    assert reply["action"] == {"kind": "add_to_cart", "item_ids": [first], "failed": []}
    assert "Nothing is ordered yet" in reply["text"]
    await talk.says("a rug at least 1")
    assert first not in talk.ids
    await talk.says("what's in my cart?")
    assert talk.ids == [first]
    reply = await talk.says("remove the first from my cart")
    assert reply["action"]["kind"] == "remove_from_cart"
    reply = await talk.says("remove the first from my cart")
    assert (reply["action"]["item_ids"], reply["action"]["failed"]) == ([], [first])
    assert "is not in your cart" in reply["text"]
    assert (await talk.says("what's in my cart?"))["text"] == "Your cart is empty."


async def test_requests_of_simulated_people_that_were_missed_are_read(talk: Talk) -> None:
    await talk.says("a rug, at most 50")
    second = talk.ids[1]
    reply = await talk.says("Stick the second one in the trolley")
    assert reply["action"]["item_ids"] == [second]
    for said in ("What have I got in my basket?", "Which ones are in my basket now?"):
        assert (await talk.says(said))["kind"] == "cart"
        assert talk.ids == [second]


class RefusingCart(MemoryCart):
    def add(self, person: str, item_id: str) -> CartReceipt:
        if item_id == "e":
            return CartReceipt(item_id=item_id, done=False, detail="It is sold out.")
        raise ConnectionError("no answer")


async def test_nothing_is_claimed_that_the_cart_does_not_confirm() -> None:
    agent = build_shopping_agent(None, WordCounts(catalogue()), cart=RefusingCart(), checkpointer=InMemorySaver())
    talk = Talk(agent)
    await talk.says("a rug, at most 50")
    for position, why in ((talk.ids.index("e"), "sold out"), (talk.ids.index("h"), "unavailable")):
        reply = await talk.says(f"add number {position + 1} to my cart")
        assert reply["action"]["item_ids"] == []
        assert why in reply["text"]
        assert "in your cart." not in reply["text"]
    conversation = (await agent.aget_state(talk.config)).values["conversation"]
    assert conversation["feedback"] == []


async def test_a_cart_that_is_used_elsewhere_is_heard_of() -> None:
    cart: Any = MemoryCart()
    agent = build_shopping_agent(None, WordCounts(catalogue()), cart=cart, checkpointer=InMemorySaver())
    cart.add("ann", "e")
    talk = Talk(agent, person="ann")
    await talk.says("a black rug")
    assert "e" not in talk.ids
    cart.remove("ann", "e")
    await talk.says("a black rug please")
    assert talk.ids[0] == "e"


async def test_titles_and_words_from_outside_stay_text(talk: Talk) -> None:
    rows = [("x", "<b>Free</b>\nrug\u202e {0} %s", "rug", "red", (), 5.0), *ROWS]
    talk = Talk(build_shopping_agent(None, WordCounts(catalogue(rows)), checkpointer=InMemorySaver()))
    reply = await talk.says("a red rug")
    assert reply["items"][0]["title"] == "<b>Free</b> rug {0} %s"
    reply = await talk.says("I like the first")
    assert "You like <b>Free</b> rug {0} %s." in reply["text"]


async def test_a_person_who_writes_german_is_read_and_reads_once_that_the_answers_are_english(talk: Talk) -> None:
    reply = await talk.says("Ich suche eine Lampe, aber nicht über 50 Euro")
    assert reply["problems"] == ["Ich lese Deutsch und antworte auf Englisch."]
    assert reply["difference"]["added"] == ["price <= 50"]
    assert talk.ids
    reply = await talk.says("Bitte höchstens 40 Euro")
    assert reply["problems"] == []
    assert reply["difference"]["added"] == ["price <= 40"]
    state = await talk.says("what did I ask for?")
    assert "price <= 40" in state["text"]


async def test_a_german_conversation_reaches_the_cart(talk: Talk) -> None:
    await talk.says("Ich suche was für die Wohnung, höchstens 50 Euro")
    first, second, *_ = talk.ids
    reply = await talk.says("Was kostet der zweite?")
    assert (reply["kind"], reply["items"][0]["item_id"]) == ("facts", second)
    reply = await talk.says("Der erste gefällt mir nicht")
    assert first not in talk.ids
    shown = talk.ids[1]
    reply = await talk.says("Leg den zweiten in den Warenkorb")
    assert reply["action"]["item_ids"] == [shown]
    reply = await talk.says("Was ist in meinem Warenkorb?")
    assert (reply["kind"], talk.ids) == ("cart", [shown])
    reply = await talk.says("Nimm den ersten aus dem Warenkorb")
    assert reply["action"] == {"kind": "remove_from_cart", "item_ids": [shown], "failed": []}
    assert (await talk.says("Ich nehme den ersten"))["action"]["kind"] == "add_to_cart"
    assert (await talk.says("Danke!"))["kind"] == "question"


@pytest.mark.parametrize("farewell", ["thanks, that is all", "That's it, bye!", "that's all for today, thank you"])
async def test_a_farewell_asks_which_item_is_meant_by_nothing(talk: Talk, farewell: str) -> None:
    await talk.says("a black lamp")
    reply = await talk.says(farewell)
    assert (reply["kind"], reply["text"]) == ("state", "You are welcome. This conversation can go on at any time.")


async def test_a_question_as_the_first_message_steers_nothing(talk: Talk) -> None:
    reply = await talk.says("how long is the first?")
    assert (reply["kind"], reply["items"]) == ("cannot", [])
    assert "No list was shown yet." in reply["text"]
    asked = (await talk.agent.aget_state(talk.config)).values["conversation"]
    assert (asked["said"], asked["shown"]) == ([], [])


async def test_the_example_that_is_named_does_not_come_back(talk: Talk) -> None:
    await talk.says("something like Cole desk lamp")
    assert talk.ids[0] == "a"  # a desk lamp, and dimmable
    assert "b" not in talk.ids


async def test_a_refusal_stands_once_above_a_list_and_a_part_of_the_wishes_under_its_own_heading(talk: Talk) -> None:
    reply = await talk.says("a black one under 60, nothing white")
    lines = reply["text"].splitlines()
    assert lines[:2] == ["These fit best:", "All of these: colour not white."]
    assert lines[2].startswith("1. Bram desk lamp (price 20.00; colour: black")
    assert all("not white" not in line for line in lines[2:])
    assert "colour not white" in reply["items"][0]["reasons"]
    await talk.says("forget all that")
    lines = (await talk.says("a black desk lamp under 60"))["text"].splitlines()
    at = lines.index("These have only a part of what you asked for:")
    assert lines[at - 1].startswith("1. Bram desk lamp")
    assert lines[at + 1].startswith("2. Cole desk lamp")  # it is white


@pytest.mark.parametrize(
    ("said", "in_part"),
    [("something black and foldable, not a rug", "Bram Cole"), ("white or foldable lamps", "Bram Elm")],
)
async def test_the_heading_of_a_part_is_true_of_each_line(talk: Talk, said: str, in_part: str) -> None:
    lines = (await talk.says(said))["text"].splitlines()
    part = "These have only a part of what you asked for:"
    behind = lines[lines.index(part) + 1 :]
    end = next((at for at, line in enumerate(behind) if line.startswith("These have nothing")), len(behind))
    assert " ".join(line.split()[1] for line in behind[:end]) == in_part


async def test_what_the_catalogue_does_not_say_is_not_answered_by_other_facts(talk: Talk) -> None:
    await talk.says("a black lamp, but no rugs")
    text = (await talk.says("how tall is the first?"))["text"]
    assert "The catalogue does not say that. It says:" in text
    assert "does not say" not in (await talk.says("how much is the first?"))["text"]
    assert "does not say" not in (await talk.says("tell me more about the first"))["text"]
    text = (await talk.says("why the first?"))["text"]
    assert "It has nothing of what you refused: type rug." in text
    assert "not rug" not in text


async def test_a_reference_on_which_nothing_was_done_is_named(talk: Talk) -> None:
    await talk.says("a lamp")
    named = "Nothing was done with 'the second'. Say what you think of it, or ask about it."
    assert (await talk.says("the second, and only black"))["problems"] == [named]
    for used in ("I like the second, and only black", "like the first, only black", "cheaper than the first"):
        assert not any("Nothing was done" in each for each in (await talk.says(used))["problems"])


async def test_a_german_bound_that_is_not_certain_is_named(talk: Talk) -> None:
    reply = await talk.says("eine Lampe, über 50 Euro eher nicht")
    assert any("'über 50 Euro'" in each or "über 50 Euro:" in each for each in reply["problems"])
    assert not any("50 Euro" in each for each in (await talk.says("50 Euro muss nicht sein"))["problems"])
