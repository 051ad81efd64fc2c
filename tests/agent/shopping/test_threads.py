"""Many conversations, long ones, killed ones, and conversations inside of other graphs."""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from deeprec.agent.conversation import ConversationCatalogue
from deeprec.agent.shopping import MemoryCart, ShoppingConfig, build_shopping_agent, make_shopping_tool
from deeprec.trm_tool import Catalogue, ConfigError, Item
from tests.agent.shopping.lamp_shop import ROWS, Talk, catalogue
from tests.small_recommender import WordCounts

COLOURS = ("black", "white", "sage green")


@pytest.mark.slow
async def test_32_conversations_at_once_are_not_mixed_up() -> None:
    agent = build_shopping_agent(None, WordCounts(catalogue()), checkpointer=InMemorySaver())

    async def converse(number: int) -> None:
        colour = COLOURS[number % 3]
        talk = Talk(agent, f"thread-{number}")
        await talk.says(f"only {colour}")
        first = talk.ids[0]
        await talk.says("add the first to my cart")
        for said in ("at least 1", "something nice"):
            await talk.says(said)
            assert {card["facts"]["colour"] for card in talk.reply["items"]} <= {colour}
            assert first not in talk.ids
        assert [card["item_id"] for card in (await talk.says("what's in my cart?"))["items"]] == [first]

    await asyncio.gather(*map(converse, range(32)))


@pytest.mark.slow
async def test_a_thread_of_200_turns_stays_bounded() -> None:
    saver = InMemorySaver()
    agent = build_shopping_agent(
        None, WordCounts(catalogue()), shopping=ShoppingConfig(max_messages=20), checkpointer=saver
    )
    talk = Talk(agent)
    said = ("a rug", "only white", "under {}", "I like the first", "any colour", "not black", "something else entirely")
    sizes = []
    for turn in range(200):
        await talk.says(said[turn % len(said)].format(turn + 20))
        values = (await agent.aget_state(talk.config)).values
        assert len(values["messages"]) <= 20
        sizes.append(len(json.dumps({name: part for name, part in values.items() if name != "messages"})))
    assert len(saver.storage["t1"][""]) < 100
    assert len(saver.blobs) < 400
    assert values["conversation"]["turn"] == 200
    assert max(sizes[100:]) < 2 * max(sizes[60:100])
    assert values["messages"][-1].additional_kwargs["deeprec"] == values["reply"]


UNUSED_BLOBS = """SELECT count(*) FROM checkpoint_blobs b WHERE NOT EXISTS (
  SELECT 1 FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
  AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version)"""
POSTGRES = [pytest.param(kind, marks=pytest.mark.postgres) for kind in ("postgres", "synchronous postgres")]


@pytest.mark.parametrize("kind", ["memory", "sqlite", "synchronous sqlite", *POSTGRES])
async def test_old_checkpoints_leave_a_thread_which_goes_on_and_back(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    path = str(tmp_path / "threads.db")
    is_synchronous = kind.startswith("synchronous")
    async with AsyncExitStack() as stack:
        saver: Any = InMemorySaver()
        if kind == "sqlite":
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
        elif "postgres" in kind:
            server = request.getfixturevalue("postgres")
            path = server.database()
            if is_synchronous:
                saver = stack.enter_context(PostgresSaver.from_conn_string(path))
                saver.setup()
            else:
                saver = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(path))
                await saver.setup()
        elif kind != "memory":
            saver = stack.enter_context(SqliteSaver.from_conn_string(path))
        shopping = ShoppingConfig(kept_turns=2)
        agent = build_shopping_agent(None, WordCounts(catalogue()), shopping=shopping, checkpointer=saver)
        said = ("only white", *(f"under {price}" for price in range(70, 20, -10)))
        for thread in ("other", "t1"):
            for text in said[: 2 if thread == "other" else None]:
                asked: Any = {"messages": [HumanMessage(text)]}
                config: Any = {"configurable": {"thread_id": thread}}
                if is_synchronous:
                    await asyncio.to_thread(agent.invoke, asked, config)
                else:
                    await agent.ainvoke(asked, config)
        if is_synchronous:
            found = list(agent.get_state_history(config))
        else:
            found = [each async for each in agent.aget_state_history(config)]
        turns = [(each.values.get("conversation") or {"turn": 0})["turn"] for each in found]
        assert min(turns) == len(said) - 3  # where the last two turns before this one go back to
        assert turns[0] == len(said)
        assert {each["attribute"] for each in found[0].values["conversation"]["required"]} == {"colour", "price"}
        if kind == "memory":
            assert len(saver.storage["other"][""]) == 10  # nothing leaves a thread that is short
        if kind == "postgres":
            unused = await (await saver.conn.execute(UNUSED_BLOBS)).fetchone()
            assert list(unused.values()) == [0]


async def test_all_checkpoints_stay_where_that_is_asked_for() -> None:
    saver = InMemorySaver()
    shopping = ShoppingConfig(kept_turns=None)
    talk = Talk(build_shopping_agent(None, WordCounts(catalogue()), shopping=shopping, checkpointer=saver))
    for price in range(90, 20, -5):
        await talk.says(f"under {price}")
    first = [each async for each in talk.agent.aget_state_history(talk.config)][-1]
    assert first.metadata["step"] == -1


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", ["retrieve", "add"])
async def test_a_killed_process_goes_on_in_the_same_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    recommender, cart = WordCounts(catalogue()), MemoryCart()
    path = str(tmp_path / "threads.db")

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        talk = Talk(build_shopping_agent(None, recommender, cart=cart, checkpointer=saver), person="ann")
        await talk.says("only white rugs")
        with monkeypatch.context() as patch:
            patch.setattr(recommender if at == "retrieve" else cart, at, killed)
            asked = {"messages": [HumanMessage("under 30" if at == "retrieve" else "add the second to my cart")]}
            with pytest.raises(Killed):
                await talk.agent.ainvoke(asked, talk.config, durability="sync")
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        agent = build_shopping_agent(None, recommender, cart=cart, checkpointer=saver)
        output = await agent.ainvoke(None, talk.config)
        assert output["conversation"]["turn"] == 2
        assert [message.type for message in output["messages"]] == ["human", "ai", "human", "ai"]
        if at == "retrieve":
            assert [card["item_id"] for card in output["reply"]["items"]] == ["h"]
        else:
            assert output["reply"]["action"]["item_ids"] == list(cart.items("ann")) == ["h"]


def outer(agent: Any) -> Any:
    """A graph that hands its messages to the agent, and one that calls it as a tool."""
    graph = StateGraph(MessagesState)
    graph.add_node("shop", agent)
    graph.add_edge(START, "shop")
    return graph.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("own", [None, True], ids=["messages", "state"])
async def test_as_part_of_another_graph_it_goes_on_with_its_threads(own: Any) -> None:
    graph = outer(build_shopping_agent(None, WordCounts(catalogue()), checkpointer=own))
    for thread, colour in (("1", "white"), ("2", "black")):
        config: Any = {"configurable": {"thread_id": thread}}
        await graph.ainvoke({"messages": [HumanMessage(f"only {colour}")]}, config)
        output = await graph.ainvoke({"messages": [HumanMessage("under 35")]}, config)
        cards = output["messages"][-1].additional_kwargs["deeprec"]["items"]
        assert cards
        assert {card["facts"]["colour"] for card in cards} == {colour}
        assert len(output["messages"]) == 4


async def test_as_a_tool_it_goes_on_with_the_thread_and_has_what_the_program_gives() -> None:
    class ShopState(MessagesState):
        purchases: list[str]

    recommender = WordCounts(catalogue())
    tool = make_shopping_tool(
        build_shopping_agent(None, recommender, checkpointer=True),
        history=lambda runtime: runtime.state["purchases"],
        person="ann",
    )
    assert set(tool.args) == {"message"}
    graph = StateGraph(ShopState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    for number, said in enumerate(("only white rugs", "how much is the first?")):
        call = {"name": "ask_shop", "args": {"message": said}, "id": str(number)}
        asked: Any = {"messages": [AIMessage("", tool_calls=[call])], "purchases": ["h"]}
        answer = (await compiled.ainvoke(asked, {"configurable": {"thread_id": "1"}}))["messages"][-1]
    assert recommender.calls[0][0] == ("h",)
    assert (answer.artifact["kind"], answer.content) == ("facts", "1. Gale rug\n   price: 60.00")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"message": "a rug"}, "A turn has no 'message'. Did you mean 'messages'?"),
        ({"messages": 5}, "`messages` cannot be read"),
        ({"messages": [("user", "a rug")], "person": 7}, "`person` is the int '7'"),
        (
            {"messages": [("user", "a rug")], "conversation": {"turn": "x"}},
            "The state of a conversation has 'x' at turn",
        ),
        ({"messages": [("user", "a rug")], "history": [1.5]}, r"history\[0\] is the float"),
    ],
)
async def test_an_input_that_cannot_be_read_is_refused(asked: Any, why: str) -> None:
    agent = build_shopping_agent(None, WordCounts(catalogue()))
    with pytest.raises(ConfigError, match=why):
        await agent.ainvoke(asked)


async def test_a_message_without_text_and_a_long_one_are_answered() -> None:
    agent = build_shopping_agent(None, WordCounts(catalogue()))
    picture = HumanMessage([{"type": "image", "url": "https://example.org/a.png"}])
    assert "Only text can be read" in (await agent.ainvoke({"messages": [picture]}))["reply"]["text"]
    reply = (await agent.ainvoke({"messages": [HumanMessage("a white rug " + "so nice " * 12_000)]}))["reply"]
    assert reply["items"][0]["item_id"] in "fh"
    assert "Only the first 2,000 characters" in reply["text"]


async def test_conversations_wait_for_no_other_ones_work_which_is_done_once_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, str, bool]] = []
    in_loop = threading.get_ident()

    def watched(name: str) -> Callable[..., Any]:
        method = getattr(ConversationCatalogue, name)

        def called(self: ConversationCatalogue, *given: Any) -> Any:
            calls.append((name, str(given), threading.get_ident() == in_loop))
            return method(self, *given)

        return called

    for name in ("passing", "values_in", "attributes_in", "item_values", "nearest"):
        monkeypatch.setattr(ConversationCatalogue, name, watched(name))
    agent = build_shopping_agent(None, WordCounts(catalogue()), shopping=ShoppingConfig(candidates=10))
    messages: list[Any] = []
    for said in (
        "a lamp, maybe black",
        "only under 60",
        "washable",
        "the cheapest",
        "only red",
        "compare the first two",
    ):
        calls.clear()
        messages.append(HumanMessage(said))
        messages = (await agent.ainvoke({"messages": messages}))["messages"]  # a client without state
        assert calls
        assert [name for name, _, is_in_loop in calls if is_in_loop] == []
        if said == "a lamp, maybe black":
            passes = [given for name, given, _ in calls if name == "passing"]
            assert len(passes) == len(set(passes))


async def test_items_that_are_added_are_known_in_the_next_turn() -> None:
    recommender = WordCounts(catalogue())
    talk = Talk(build_shopping_agent(None, recommender, checkpointer=InMemorySaver()))
    await talk.says("a rug")
    larger = WordCounts(catalogue([*ROWS, ("n", "New rug", "rug", "teal", (), 30.0)]))
    recommender.__dict__.update(larger.__dict__)
    await talk.says("only teal")
    assert talk.ids == ["n"]
    recommender.__dict__.update(WordCounts(catalogue()).__dict__)  # the item is gone again
    assert (await talk.says("how much is it?"))["kind"] != "facts"


async def test_a_recommender_that_cannot_say_what_is_near_ends_no_conversation() -> None:
    class Broken(WordCounts):
        def closest_phrases(self, text: str, n: int) -> list[str]:
            raise ConnectionError("no answer")

    talk = Talk(build_shopping_agent(None, Broken(catalogue()), checkpointer=InMemorySaver()))
    assert (await talk.says("a rug for the kids, only teal"))["kind"] == "cannot"
    assert (await talk.says("a white rug then"))["kind"] == "list"


async def test_items_without_attributes_are_recommended_by_words() -> None:
    items = Catalogue([Item(id=str(n), title=f"Song {n}", text=f"Song {n} of rain") for n in range(4)], {})
    talk = Talk(build_shopping_agent(None, WordCounts(items), checkpointer=InMemorySaver()))
    assert (await talk.says("song 2 please"))["kind"] == "list"
    assert talk.ids[0] == "2"
    assert (await talk.says("tell me about the first"))["text"].startswith("1. Song 2")
    assert (await talk.says("hello"))["question"]["text"].endswith("your own words.")
