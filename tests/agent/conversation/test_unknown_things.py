"""What a message asks for and no record has a word for is named, and what only sounds like it is not."""

import pytest

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, delta_of_message
from deeprec.agent.conversation.unknown_things import is_understood
from tests.agent.conversation.small_shop import small_shop

SHOP = small_shop()


@pytest.mark.parametrize(
    ("said", "things"),
    [
        ("a submarine", ["submarine"]),
        ("Hi, I'm looking for submarines please", ["submarines"]),
        ("I'd like to buy a yellow submarine for my son", ["yellow submarine"]),
        ("a black submarine under 60", ["submarine"]),
        ("a rug and a submarine", ["submarine"]),
        ("under 50, show me some submarines", ["submarines"]),
        ("is there a submarine?", ["submarine"]),
        ("a lampp", ["lampp"]),
        ("washable earbuds, under 50", ["earbuds"]),
        ("something black", []),
        ("rug fairytales", []),  # behind a kind it may be anything
        ("I'm interested in washable earbuds", ["earbuds"]),
        ("washable stuff", []),
        ("something washable please", []),
        ("is one washable Tom?", []),  # "one" is what it describes
        ("a rug", []),
        ("a nice rug for a submarine", []),  # a description
        ("I need something for a long flight", []),
        ("any other ideas?", []),
        ("show me another colour", []),
        ("I want a cheap thing", []),
        ("a few more options", []),
        ("you idiot", []),
        ("not a submarine", []),
        ("ich suche ein U-Boot, höchstens 50 Euro", []),
    ],
)
def test_things_that_no_record_names(said: str, things: list[str]) -> None:
    delta = delta_of_message(said, ConversationState(), SHOP)
    assert [each.words for each in delta.missing if each.kind == "asked"] == things


def test_what_is_written_nearly_as_a_value_is_offered_it() -> None:
    [missing] = delta_of_message("I need a ruug", ConversationState(), SHOP).missing
    assert (missing.words, missing.nearest[0], missing.attribute) == ("ruug", "rug", "type")


@pytest.mark.parametrize(("said", "nearest"), [("a mat", ("rug",)), ("do you have mats?", ("rug",)), ("an idiot", ())])
def test_only_what_is_near_by_meaning_is_offered(said: str, nearest: tuple[str, ...]) -> None:
    def near(text: str, min_cosine: float) -> list[str]:
        return ["rug"] if "mat" in text and min_cosine < 0.5 else []

    shop = ConversationCatalogue(SHOP.catalogue, lambda text, n: ["rug", "black", "washable"][:n], near)
    [missing] = delta_of_message(said, ConversationState(), shop).missing
    assert missing.nearest == nearest


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("a rug", True),
        ("something foldable and quiet", True),
        ("another colour", True),
        ("you idiot", False),
        ("print('x')", False),
        ("something nice", False),
        ("", False),
    ],
)
def test_a_text_is_understood_by_the_words_of_the_records(text: str, understood: bool) -> None:
    assert is_understood(text, SHOP) is understood
