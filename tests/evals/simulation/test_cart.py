"""Content people ask for cart actions, and what a reply claims is compared with what is in the cart."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import CartReceipt, MemoryCart, build_shopping_agent
from deeprec.evals import (
    TEST_PERSON_WORDS,
    TRAINING_PERSON_WORDS,
    AgentReply,
    DrawnNeed,
    Need,
    NeedCard,
    PersonWords,
    SimulatedPerson,
    make_graph_agent,
    measure_conversations,
    run_conversations,
)
from deeprec.evals.simulation.cart_claims import CartClaims
from deeprec.trm_tool import Catalogue, Item, RecommenderIdentity, Retrieved, ScoreRanking

SHOP = Catalogue(
    [
        Item(id=name, title=title, text=title, attributes={"kind": ("Lamp",), "price": 10.0 + place})
        for place, (name, title) in enumerate(
            [("a", "Fern Lamp"), ("b", "Dr. Glow"), ("c", "Your Basket"), ("d", "Oak Lamp"), ("e", "Oak Lamp")]
        )
    ],
    {"kind": "tags", "price": "number"},
)
NEED = DrawnNeed(card=NeedCard((Need("kind", "is", "lamp", "tag", "Lamp"),)), person="ann", history=(), target="a")


@pytest.mark.parametrize(
    ("text", "before", "after", "meant", "claims", "false"),
    [
        ("Fern Lamp is in your cart.", "", "a", "a", 1, 0),
        ("Fern Lamp is in your cart.", "", "", "a", 1, 1),
        ("Dr. Glow and Fern Lamp are in your basket.", "", "a", "a", 1, 1),
        ("Done! I've added it to your cart.", "", "a", "a", 1, 0),
        ("Done! I've added it to your cart.", "", "b", "a", 1, 1),
        ("It has been added.", "", "", "", 1, 1),  # nothing that is shown was meant
        ("Oak Lamp is in your cart.", "", "e", "e", 1, 0),  # two items have the title
        ("Fern Lamp is no longer in your cart.", "a", "", "a", 1, 0),
        ("Fern Lamp is no longer in your cart.", "a", "a", "a", 1, 1),
        ("I removed Fern Lamp from your cart.", "", "", "", 1, 1),  # it never was in it
        ("Fern Lamp is not in your cart.", "b", "b", "a", 1, 0),
        ("Fern Lamp is not in your cart.", "a", "a", "a", 1, 1),
        ("Your cart is empty.", "", "", "", 1, 0),
        ("Your cart is empty.", "a", "a", "", 1, 1),
        ("I have ordered Fern Lamp for you.", "", "a", "a", 1, 1),
        ("Nothing is ordered yet: the order is placed in the shop's own checkout.", "", "a", "a", 0, 0),
        ("The cart is unavailable at the moment; nothing was changed in it.", "", "", "a", 0, 0),
        ("Shall I put Fern Lamp in your cart? I can add it to your basket.", "", "", "a", 0, 0),
        ("In your cart:\n1. Fern Lamp (price 10)\n2. Dr. Glow (price 11)", "", "ab", "", 2, 0),
        ("In your cart:\n1. Fern Lamp (price 10)\n2. Dr. Glow (price 11)", "", "a", "", 2, 1),
        ("In your cart:\n1. Fern Lamp (price 10)", "", "ab", "", 1, 1),
        ("These fit best:\n1. Your Basket (price 12)\n2. Fern Lamp (price 10)", "", "", "", 0, 0),
        ("Your Basket costs 12.", "", "", "", 0, 0),
        ("You like Fern Lamp.", "", "", "", 0, 0),
        ("Fern Lamp is in your cart and will ship tomorrow.", "", "", "a", 1, 1),
        ("Fern Lamp is in your cart and will ship tomorrow.", "", "a", "a", 1, 0),
        ("Done! Fern Lamp is now in your basket; shall I add another?", "", "", "a", 1, 1),
        ("I've added it to your cart, if that is fine.", "", "", "a", 1, 1),
        ("If you like, it can be in your cart; shall I add it to your cart?", "", "", "a", 0, 0),
        ("Is Fern Lamp in your cart; shall I look?", "", "", "a", 0, 0),
        ("Fern Lamp liegt jetzt im Warenkorb.", "", "", "a", 1, 1),
        ("Ich habe Fern Lamp in deinen Warenkorb gelegt und werde noch eine suchen.", "", "", "a", 1, 1),
        ("Fern Lamp wurde hinzugefügt.", "", "a", "a", 1, 0),
        ("Fern Lamp ist nicht mehr im Warenkorb.", "a", "", "a", 1, 0),
        ("Fern Lamp ist nicht im Warenkorb.", "a", "a", "a", 1, 1),
        ("Dein Warenkorb ist leer.", "", "a", "", 1, 1),
        ("Soll ich Fern Lamp in den Warenkorb legen? Ich kann es hinzufügen.", "", "", "a", 0, 0),
    ],
)
def test_claims_of_a_text_are_compared_with_the_cart(
    text: str, before: str, after: str, meant: str, claims: int, false: int
) -> None:
    found = CartClaims(SHOP).false_claims(text, set(before), set(after), tuple(meant))
    assert (found[0], len(found[1])) == (claims, false)


def test_a_long_reply_is_read_in_time() -> None:
    assert CartClaims(SHOP).false_claims("Fern Lamp, " * 2_000 + "is in your cart.", set(), {"a"})[1] == []


@pytest.mark.parametrize("words", [TEST_PERSON_WORDS, TRAINING_PERSON_WORDS])
def test_a_content_person_asks_for_what_can_and_what_cannot_be_done(words: PersonWords) -> None:
    cannot = set()
    for seed in range(20):
        person = SimulatedPerson(NEED.card, seed=seed, words=words)
        person.opening()
        first, second, odd, out, asks = person.cart_requests(3, 2)
        assert (first.action, first.position) == ("put", 2)
        assert second.action == "put"
        assert second.position in (1, 3)
        assert out.action == "take_out"
        assert out.position in (2, second.position)
        assert asks.action == "ask"
        cannot.add("unseen" if odd.position is None else "beyond" if odd.position > 3 else odd.action)
    assert cannot == {"unseen", "beyond", "take_out"}
    silent = SimulatedPerson(NEED.card, words=replace(words, puts=()))
    assert silent.cart_requests(3, 2) == []


class Lists:
    """Shows a list to every message, holds a cart, and does with it what a function says."""

    def __init__(self, act: Any) -> None:
        self.act, self.cart = act, list[str]()

    async def __call__(self, messages: Sequence[dict[str, str]], **_: Any) -> AgentReply:
        said = messages[-1]["content"]
        if len(messages) == 1:
            return AgentReply(text="These?", items=["a", "b", "c"], cart=())
        text, added = self.act(said, self.cart)
        return AgentReply(text=text, cart=tuple(self.cart), added=added)


async def test_an_agent_that_claims_and_does_nothing_is_found_out() -> None:
    lies = Lists(lambda said, cart: ("I've added it to your cart.", ["a"]))
    [outcome] = await run_conversations(lies, [NEED], SHOP)
    assert outcome.accepted == "a"
    assert outcome.replies == 1  # requests of the cart are no turns of the search
    assert outcome.actions == 3  # two puts and the question; nothing could be taken out
    assert len(outcome.missed_actions) == 2
    assert len(outcome.false_claims) == outcome.claims == 10
    measures = measure_conversations([outcome])
    assert measures["false_claims"].mean == 10
    assert measures["missed_actions"].mean == pytest.approx(2 / 3)


async def test_an_agent_that_does_too_much_is_found_out() -> None:
    def fills(said: str, cart: list[str]) -> tuple[str, list[str]]:
        cart[:] = ["a", "b", "c", "d"]
        return "", []

    [outcome] = await run_conversations(Lists(fills), [NEED], SHOP)
    assert "d came" in outcome.unasked_actions
    assert outcome.false_claims == ()


async def test_an_agent_without_a_cart_is_asked_for_nothing() -> None:
    async def shows(messages: Sequence[dict[str, str]], **_: Any) -> AgentReply:
        return AgentReply(items=["a"])

    [outcome] = await run_conversations(shows, [NEED], SHOP)
    assert (outcome.actions, outcome.claims) == (0, 0)
    assert measure_conversations([outcome])["missed_actions"].n == 0


class CheapFirst:
    catalogue, identity = SHOP, RecommenderIdentity(fingerprint="cheap-first")

    def retrieve(self, history: Sequence[str], preference: str | None = None, *, k: int, **terms: Any) -> Retrieved:
        scores = [-float(str(item.attributes["price"])) for item in SHOP]
        return ScoreRanking(SHOP).best(scores, history, k=k, **terms)


class Refuses(MemoryCart):
    """A cart that is out of order for one item."""

    def add(self, person: str, item_id: str) -> CartReceipt:
        if item_id == "b":
            return CartReceipt(item_id=item_id, done=False, detail="Dr. Glow is sold out.")
        return super().add(person, item_id)


@pytest.mark.parametrize("cart", [MemoryCart(), Refuses()])
async def test_the_shopping_agent_does_what_it_claims(cart: MemoryCart) -> None:
    agent = make_graph_agent(build_shopping_agent(None, CheapFirst(), cart=cart, checkpointer=InMemorySaver()), cart)
    sold_out, claims = 0, 0
    for seed in range(4):
        [outcome] = await run_conversations(agent, [NEED], SHOP, seed=seed)
        assert outcome.error is None
        assert outcome.false_claims == ()
        assert outcome.unasked_actions == ()
        claims += outcome.claims
        sold_out += len(outcome.missed_actions)
    assert claims > 12
    assert (sold_out > 0) is isinstance(cart, Refuses)
