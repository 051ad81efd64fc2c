"""A model may say a person's sentences in other words, and code keeps it to them."""

from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from deeprec.evals import AgentReply, DrawnNeed, Need, NeedCard, SimulatedPerson, make_model_voice, run_conversations
from deeprec.trm_tool import Catalogue, Item

CATALOGUE = Catalogue(
    [
        Item(id="1", title="Night Train", attributes={"genre": ("Comedy", "War")}),
        Item(id="2", title="Heat", attributes={"genre": ("Horror",)}),
    ],
    {"genre": "tags", "price": "number"},
)
COMEDY = Need("genre", "is", "comedy", "tag", "Comedy")
NO_HORROR = Need("genre", "is_not", "horror", "tag", "Horror")
CHEAP = Need("price", "at_most", 20.0, "price")


class Down(FakeListChatModel):
    """A model whose server is unavailable, or whose caller made a mistake."""

    error: Any = None

    def _call(self, *_: Any, **__: Any) -> str:
        raise self.error


@pytest.mark.parametrize(
    ("sentence", "need", "rewrite"),
    [
        ("Gimme one that's funny", COMEDY, "Could I have something funny tonight?"),
        ("Gimme one that's funny", COMEDY, '"A funny comedy, perhaps"'),
        ("Spare us whatever is scary", NO_HORROR, "No horror and nothing scary for us"),
        ("No dearer than 20", CHEAP, "I would pay 20 at most"),
    ],
)
def test_other_words_for_the_same_are_said(sentence: str, need: Need, rewrite: str) -> None:
    voice = make_model_voice(FakeListChatModel(responses=[rewrite]), CATALOGUE)
    assert voice.say(sentence, [need], {"funny", "scary", "20"}) == rewrite.strip('"')


@pytest.mark.parametrize(
    ("sentence", "need", "rewrite"),
    [
        ("Gimme one that's funny", COMEDY, "Something funny about war"),  # a value that the card does not hold
        ("Gimme one that's funny", COMEDY, "Something funny like Night Train"),
        ("Gimme one that's funny", COMEDY, "Something funny with heat"),
        ("Gimme one that's funny", COMEDY, "Something funny under 10"),
        ("Gimme one that's funny", COMEDY, "What would you recommend?"),  # all content is gone
        ("Spare us whatever is scary", NO_HORROR, "Scary horror would be great"),
        ("Spare us whatever is scary", NO_HORROR, "Scary would be great"),
        ("No dearer than 20", CHEAP, "Not too dear, thank you"),
        ("Gimme one that's funny", COMEDY, ""),
        ("Gimme one that's funny", COMEDY, "funny " * 200),
    ],
)
def test_words_that_add_or_drop_something_are_not_usable(sentence: str, need: Need, rewrite: str) -> None:
    voice = make_model_voice(FakeListChatModel(responses=[rewrite]), CATALOGUE)
    assert voice.say(sentence, [need], {"funny", "scary", "20"}) is None


def test_a_sentence_about_no_need_may_change_all_its_words() -> None:
    voice = make_model_voice(FakeListChatModel(responses=["Up to you"]), CATALOGUE)
    assert voice.say("I don't mind", []) == "Up to you"


async def test_an_unusable_rewrite_falls_back_to_the_sentence_and_is_the_simulators_error() -> None:
    card = NeedCard((COMEDY,))
    drawn = DrawnNeed(card=card, person="u", history=(), target="1")

    async def never_shows(*_: Any, **__: Any) -> AgentReply:
        return AgentReply(text="Hm")

    voice = make_model_voice(FakeListChatModel(responses=["Anything about war"]), CATALOGUE)
    [outcome] = await run_conversations(never_shows, [drawn], CATALOGUE, voice=voice)
    said = [message["content"] for message in outcome.messages if message["role"] == "user"]
    assert said[0] == SimulatedPerson(card).opening()
    assert outcome.voice_errors == 6  # the opening, four answers and the last words
    assert outcome.error is None


def test_an_unavailable_model_leaves_the_sentences_and_a_mistake_is_raised() -> None:
    person = SimulatedPerson(NeedCard((COMEDY,)), make_model_voice(Down(responses=[], error=TimeoutError()), CATALOGUE))
    assert person.opening() == SimulatedPerson(NeedCard((COMEDY,))).opening()
    assert person.voice_errors == 1
    with pytest.raises(KeyError):
        SimulatedPerson(
            NeedCard((COMEDY,)), make_model_voice(Down(responses=[], error=KeyError("x")), CATALOGUE)
        ).opening()
