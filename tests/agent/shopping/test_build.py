"""The graph of a conversation: threads, checkpointers, the answer as message and stream, and a model's search."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore
from deeprec.agent.shopping import MemoryCart, build_shopping_agent
from deeprec.trm_tool import ConfigError, RecommenderUnavailableError, Retriever
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.model_scripts import LIST, SEARCH
from tests.small_recommender import WordCounts
from tests.tiny_server import TinyServer


@pytest.fixture
def recommender() -> WordCounts:
    return WordCounts(catalogue())


@pytest.fixture
def agent(recommender: WordCounts) -> Any:
    return build_shopping_agent(None, recommender, checkpointer=InMemorySaver())


async def test_a_conversation_keeps_the_first_turn_and_obeys_its_limits(agent: Any) -> None:
    talk = Talk(agent)
    reply = await talk.says("a rug under 70")
    assert reply["kind"] == "list"
    assert set(talk.ids) == {"e", "f", "h"}
    assert {card["facts"]["price"] for card in reply["items"]} == {"20.00", "40.00", "60.00"}
    await talk.says("only white")
    assert set(talk.ids) == {"h", "f"}
    assert all(card["facts"]["colour"] == "white" for card in talk.reply["items"])
    await talk.says("actually not white, black")
    assert talk.ids[0] == "e"


async def test_the_answer_is_a_message_with_the_reply_as_data(agent: Any) -> None:
    output = await agent.ainvoke({"messages": [HumanMessage("a black lamp")]}, {"configurable": {"thread_id": "1"}})
    answer = output["messages"][-1]
    assert isinstance(answer, AIMessage)
    assert answer.additional_kwargs["deeprec"] == output["reply"]
    assert answer.text == output["reply"]["text"]
    for card in output["reply"]["items"]:
        assert f"{card['position']}. {card['title']}" in answer.text


def test_it_is_called_synchronously_too(agent: Any) -> None:
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [("user", "a rug")]}, config)
    reply = agent.invoke({"messages": [("user", "under 30")]}, config)["reply"]
    assert reply["items"][0]["item_id"] == "h"


async def test_threads_do_not_leak_into_one_another(agent: Any) -> None:
    one, two = Talk(agent, "one"), Talk(agent, "two")
    await one.says("only white rugs")
    await two.says("only black lamps")
    await one.says("add the first to my cart")
    assert (await two.says("what's in my cart?"))["items"] == []
    await two.says("under 30")
    assert talk_colours(two) == {"black"}


def talk_colours(talk: Talk) -> set[str]:
    return {card["facts"]["colour"] for card in talk.reply["items"]}


async def test_a_thread_goes_on_in_another_process(recommender: WordCounts, tmp_path: Path) -> None:
    for said, shown in (("only white rugs", {"f", "h"}), ("under 30", {"h"})):
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
            talk = Talk(build_shopping_agent(None, recommender, checkpointer=saver))
            await talk.says(said)
            assert {i for i in talk.ids if i in "efgh"} == shown


async def test_a_client_without_a_state_sends_all_messages(recommender: WordCounts) -> None:
    agent = build_shopping_agent(None, recommender)
    first = await agent.ainvoke({"messages": [HumanMessage("only white rugs")]})
    messages = [*first["messages"], HumanMessage("how much is the first?")]
    reply = (await agent.ainvoke({"messages": messages}))["reply"]
    assert (reply["kind"], reply["items"][0]["item_id"]) == ("facts", first["reply"]["items"][0]["item_id"])


async def test_an_edit_changes_the_state_with_or_without_a_message(agent: Any) -> None:
    talk = Talk(agent)
    await talk.says("only white rugs")
    edit = {"changes": [{"kind": "relax", "attribute": "colour"}, {"kind": "set", "attribute": "price", "maximum": 50}]}
    reply = await talk.says(None, edit=edit)
    assert reply["kind"] == "list"
    assert set(talk.ids[:2]) == {"e", "h"}
    assert reply["difference"] == {"added": ["price <= 50"], "removed": ["only colour: white"]}
    assert (await talk.says("thanks"))["difference"] == {"added": [], "removed": []}
    reply = await talk.says(None, edit={"changes": [{"kind": "set", "attribute": "siz", "values": ["L"]}]})
    assert "no attribute 'siz'" in reply["problems"][0]


async def test_the_stream_has_the_delta_and_the_reply(agent: Any) -> None:
    parts = [
        part
        async for part in agent.astream(
            {"messages": [HumanMessage("a rug under 70")]}, {"configurable": {"thread_id": "1"}}, stream_mode="custom"
        )
    ]
    assert [part["deeprec"] for part in parts] == ["delta", "retrieved", "reply"]
    assert parts[0]["changes"] == ["+ price <= 69", "+ maybe type: rug"]
    shown = [card["item_id"] for card in parts[2]["reply"]["items"]]
    assert [item["item_id"] for item in parts[1]["items"]][: len(shown)] == shown


async def test_the_history_of_the_caller_is_heard_and_unknown_ids_are_skipped(
    agent: Any, recommender: WordCounts
) -> None:
    talk = Talk(agent, history=["a", "gone"])
    await talk.says("something nice")
    assert "a" not in talk.ids
    assert recommender.calls[0][0] == ("a",)
    await talk.says("I like the first")
    assert recommender.calls[-1][0] == ("a", "b")
    with pytest.raises(ConfigError, match="history"):
        await Talk(agent, "other", history="a").says("a rug")


async def test_the_program_around_it_narrows_every_search(agent: Any) -> None:
    own = {"deeprec": {"where": {"price": {"max": 50}}, "exclude": ["a"], "k": 2}}
    config = {"configurable": {"thread_id": "1", **own}}
    for said in ("a lamp", "never mind the price", "the cheapest", "a rug"):
        output = await agent.ainvoke({"messages": [HumanMessage(said)]}, config)
        ids = {card["item_id"] for card in output["reply"]["items"]}
        assert ids
        assert ids <= {"b", "e", "h"}
        assert len(ids) <= 2


async def test_an_unavailable_recommender_is_said_and_nothing_is_lost(
    recommender: WordCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(build_shopping_agent(None, recommender, checkpointer=InMemorySaver()))
    works = recommender.retrieve

    def fails(*_: Any, **__: Any) -> Any:
        raise RecommenderUnavailableError("no connection")

    monkeypatch.setattr(recommender, "retrieve", fails)
    reply = await talk.says("only white rugs")
    assert (reply["kind"], reply["items"]) == ("cannot", [])
    assert "unavailable" in reply["text"]
    monkeypatch.setattr(recommender, "retrieve", works)
    await talk.says("under 30")
    assert talk_colours(talk) == {"white"}


async def test_a_model_searches_and_its_run_is_logged(
    policy: CompletionPolicy, retriever: Retriever, store: TraceStore, server: TinyServer
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")] * 2
    agent = build_shopping_agent(
        policy,
        retriever,
        config=AgentConfig(k=3, retrieve_k=4),
        recorder=SqlRecorder(store),
        checkpointer=InMemorySaver(),
    )
    talk = Talk(agent, person="ann", history=["900"])
    reply = await talk.says("a comedy, not horror")
    trace = store.run(reply["run_id"])
    assert (trace.run.user_id, trace.run.thread_id, trace.status) == ("ann", "t1", "finished")
    assert trace.run.config["where"] == {"class": {"not_in": ["Horror"]}}
    assert len(reply["items"]) == 3
    assert all("Horror" not in card["facts"]["class"] for card in reply["items"])
    await talk.says("forget the comedy")
    [second] = [run for run in store.runs() if str(run.run_id) != reply["run_id"]]
    assert "comedy" not in (second.message or "").lower()


async def test_an_unavailable_model_is_said_and_the_recommender_answers(
    policy: CompletionPolicy, retriever: Retriever, server: TinyServer
) -> None:
    server.close()
    agent = build_shopping_agent(
        policy, retriever, config=AgentConfig(k=3, max_seconds=5), checkpointer=InMemorySaver()
    )
    reply = await Talk(agent).says("a comedy")
    assert (reply["kind"], len(reply["items"])) == ("list", 3)
    assert any("model is unavailable" in problem for problem in reply["problems"])


async def test_a_click_on_a_card_is_noted_and_a_click_for_the_cart_uses_it(agent: Any) -> None:
    talk = Talk(agent)
    await talk.says("a rug, not over 50")
    shown, titles = talk.ids, [card["title"] for card in talk.reply["items"]]
    reply = await talk.says(None, edit={"feedback": [{"kind": "liked", "item_ids": [shown[0]]}]})
    assert (reply["kind"], reply["text"]) == ("state", f"Noted: you like {titles[0]}.")
    reply = await talk.says(None, edit={"actions": [{"kind": "add_to_cart", "item_ids": [shown[1]]}]})
    assert (reply["kind"], reply["action"]["item_ids"]) == ("cart", [shown[1]])
    assert reply["text"] == f"{titles[1]} is in your cart."
    await talk.says("show me more")
    assert shown[1] not in talk.ids


async def test_what_was_not_shown_yet_comes_first_among_equals(recommender: WordCounts) -> None:
    agent = build_shopping_agent(None, recommender, config=AgentConfig(k=2), checkpointer=InMemorySaver())
    talk = Talk(agent)
    await talk.says("a rug")
    first = list(talk.ids)
    await talk.says("something friendlier")
    assert set(talk.ids) == {"e", "f", "g", "h"} - set(first)


async def test_the_closest_phrases_of_what_was_said_are_retrieved_for() -> None:
    class Closest(WordCounts):
        def closest_phrases(self, text: str, n: int, *, min_cosine: float = -1.0) -> list[str]:
            return ["washable", "white"][:n] if "kids spill" in text else []

    recommender = Closest(catalogue())
    talk = Talk(build_shopping_agent(None, recommender, checkpointer=InMemorySaver()))
    await talk.says("a rug, the kids spill things")
    assert all((preference or "").endswith("rug; washable; white") for _, preference, _ in recommender.calls)


async def test_a_message_of_repeated_words_ends(agent: Any) -> None:
    talk = Talk(agent)
    for text in ("thank you " * 400 + "x", "any " * 4_000, "hi" * 2_000, "i don't mind and " * 500 + "x"):
        assert (await talk.says(text))["text"]


async def test_a_superlative_keeps_the_kind_that_was_asked_for() -> None:
    rows = [("k1", "White kettle", "kettle", "white", (), 90.0), ("k2", "Plain kettle", "kettle", "white", (), 70.0)]
    rows.append(("l", "Black lamp", "lamp", "black", (), 20.0))
    talk = Talk(build_shopping_agent(None, WordCounts(catalogue(rows)), checkpointer=InMemorySaver()))
    await talk.says("the cheapest black kettle")
    assert talk.ids == ["k2", "k1"]


async def test_a_message_whose_answer_was_stopped_is_passed_over_by_an_edit(agent: Any) -> None:
    talk = Talk(agent)
    await talk.says("a rug")
    stopped = HumanMessage("put the second in my cart", id="stopped")
    await agent.aupdate_state(talk.config, {"messages": [stopped]}, as_node="answer")
    liked = {"feedback": [{"kind": "liked", "item_ids": [talk.ids[0]]}]}
    reply = await talk.says(None, edit=liked, heard="stopped")
    assert reply["action"] is None


async def test_an_item_of_the_cart_can_be_removed_in_a_new_conversation() -> None:
    cart = MemoryCart()
    agent = build_shopping_agent(None, WordCounts(catalogue()), cart=cart, checkpointer=InMemorySaver())
    one, two = Talk(agent, "one", person="ada"), Talk(agent, "two", person="ada")
    await one.says("a rug")
    await one.says("put the first one into my cart")
    [item_id] = cart.items("ada")
    await two.says("hello")
    reply = await two.says(None, edit={"actions": [{"kind": "remove_from_cart", "item_ids": [item_id]}]})
    assert (reply["kind"], list(cart.items("ada"))) == ("cart", [])
