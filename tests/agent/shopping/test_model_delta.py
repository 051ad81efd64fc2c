"""A chat model hears beside the rules: what it proposes is checked, and its failures cost nothing but its help."""

from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent import AgentConfig, make_chat_model
from deeprec.agent.shopping import build_shopping_agent
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.model_scripts import tool_call
from tests.small_recommender import WordCounts
from tests.tiny_server import MODEL, TinyServer

LOOP = [tool_call("retrieve_items", preference="rug"), tool_call("recommend_items", numbers=[1, 2])]


@pytest.fixture
def talk(chat: ChatOpenAI) -> Talk:
    config = AgentConfig(k=3, min_retrievals=0)
    return Talk(build_shopping_agent(chat, WordCounts(catalogue()), config=config, checkpointer=InMemorySaver()))


def proposal(*changes: dict[str, Any]) -> dict[str, Any]:
    return tool_call("change_wishes", changes=list(changes))


async def test_a_proposal_that_the_words_support_holds_and_a_guess_weighs(talk: Talk, server: TinyServer) -> None:
    server.script = [
        proposal(
            {"kind": "set", "attribute": "features", "values": ["washable"]},
            {"kind": "exclude", "attribute": "colour", "values": ["black"], "hard": True},
            {"kind": "set", "attribute": "material", "values": ["wool"]},
        ),
        *LOOP,
    ]
    reply = await talk.says("a rug for a home with small children, nothing black")
    assert "maybe features: washable" in reply["difference"]["added"]
    assert "not colour: black" in reply["difference"]["added"]
    assert reply["problems"] == []  # nobody asked for wool
    assert talk.ids[:2] in (["f", "g"], ["g", "f"])
    assert reply["run_id"]


async def test_a_model_can_neither_refuse_nor_withdraw_what_nobody_said(talk: Talk, server: TinyServer) -> None:
    server.script = [proposal(), *LOOP]
    await talk.says("a rug, at most 70")
    server.script = [
        proposal(
            {"kind": "relax", "attribute": "price"},
            {"kind": "exclude", "attribute": "colour", "values": ["white"], "hard": True},
        ),
        *LOOP,
    ]
    reply = await talk.says("something soft")
    assert reply["difference"] == {"added": ["rather not colour: white"], "removed": []}
    assert {float(card["facts"]["price"]) <= 70 for card in reply["items"]} == {True}


async def test_the_model_reads_the_state_and_not_the_messages_before(talk: Talk, server: TinyServer) -> None:
    for said in ("a rug, at most 70", "only white, whatever it takes"):
        server.script = [proposal(), *LOOP]
        await talk.says(said)
    hearing = [r["messages"] for r in server.requests if "change_wishes" in str(r.get("tools"))]
    assert [[each["role"] for each in asked] for asked in hearing] == [["system", "user"]] * 2
    assert "price at most 70" in hearing[1][0]["content"]
    assert "a rug, at most" not in str(hearing[1])


@pytest.mark.parametrize("answer", [{"content": "I would say washable."}, tool_call("change_wishes", changes="x")])
async def test_an_answer_that_proposes_nothing_changes_nothing(talk: Talk, server: TinyServer, answer: Any) -> None:
    server.script = [answer, *LOOP]
    reply = await talk.says("a rug")
    assert reply["difference"] == {"added": ["maybe type: rug"], "removed": []}


async def test_questions_need_no_model(talk: Talk, server: TinyServer) -> None:
    server.script = [proposal(), *LOOP]
    await talk.says("a rug")
    asked = len(server.requests)
    assert (await talk.says("how much is the first?"))["kind"] == "facts"
    assert len(server.requests) == asked


async def test_without_an_answer_of_the_model_the_rules_hear(server: TinyServer) -> None:
    model = make_chat_model(server.base_url, MODEL, max_retries=0)
    server.close()
    talk = Talk(build_shopping_agent(model, WordCounts(catalogue()), checkpointer=InMemorySaver()))
    reply = await talk.says("only white rugs")
    assert set(talk.ids) == {"f", "h"}
    assert any("model is unavailable" in problem for problem in reply["problems"])
    await model.root_async_client.close()
