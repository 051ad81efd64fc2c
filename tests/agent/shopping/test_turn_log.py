"""Every turn of the shopping agent is in the trace store, once, and a store that fails ends no conversation."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, fork_run
from deeprec.agent.shopping import build_shopping_agent
from deeprec.agent.traces import Reaction
from deeprec.trm_tool import Retriever
from tests.agent.shopping.lamp_shop import Talk, catalogue
from tests.model_scripts import LIST, SEARCH
from tests.small_recommender import WordCounts
from tests.tiny_server import TinyServer


def agent_on(store: TraceStore) -> Any:
    recorder = SqlRecorder(store)
    return build_shopping_agent(None, WordCounts(catalogue()), recorder=recorder, checkpointer=InMemorySaver())


async def test_each_turn_is_logged_with_what_was_understood_shown_and_done(store: TraceStore) -> None:
    talk = Talk(agent_on(store), history=["a"], person="ann")
    talk.config["configurable"]["lineage"] = {"tenant": "lamps"}
    await talk.says("a rug under 70")
    shown = list(talk.ids)
    await talk.says("add the second to my cart")
    await talk.says(None, edit={"changes": [{"kind": "relax", "attribute": "price"}]})
    trace = store.conversation("t1", tenant="lamps", user_id="ann")
    first, second, third = trace.turns
    assert [turn.turn for turn in trace.current] == [1, 2, 3]
    assert (first.message, first.kind, first.history, first.run_id) == ("a rug under 70", "list", ("a",), None)
    assert first.delta == {"added": ["price <= 69", "maybe type: rug"], "removed": []}
    assert (list(first.shown), second.shown, second.kind) == (shown, (), "cart")
    assert second.actions == ({"kind": "add_to_cart", "item_ids": [shown[1]], "failed": []},)
    assert trace.reactions == {0: (Reaction(shown[1], "in_cart"),)}
    assert (third.is_edit, third.delta["removed"]) == (True, ["price <= 69"])
    assert third.state_before == second.state_after
    assert first.message_id != second.message_id


async def test_the_words_are_logged_as_they_were_written(store: TraceStore) -> None:
    talk = Talk(agent_on(store))
    said = ["only white rugs", "add it to my cart", "the first", "x" * 9_000]
    for words in said:
        await talk.says(words)
    assert [turn.message for turn in store.conversation("t1").turns] == [*said[:3], "x" * 8_000]
    assert store.conversation("t1").turns[2].kind == "cart"


async def test_an_undone_turn_and_a_repeated_one_are_told_apart(store: TraceStore) -> None:
    agent = agent_on(store)
    talk = Talk(agent)
    await talk.says("a rug")
    await talk.says("only white")
    states = [each async for each in agent.aget_state_history(talk.config)]
    before_log = next(each for each in states if each.next == ("log",))
    await agent.ainvoke(None, before_log.config)  # killed before it was logged, it goes on from there
    assert len(store.conversation("t1").turns) == 2
    after_first = next(each for each in states if not each.next and len(each.values["messages"]) == 2)
    await agent.ainvoke({"messages": [HumanMessage("only black")]}, after_first.config)
    trace = store.conversation("t1")
    assert [turn.message for turn in trace.turns] == ["a rug", "only white", "only black"]
    assert [turn.message for turn in trace.current] == ["a rug", "only black"]


async def test_a_store_that_is_gone_ends_no_conversation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with TraceStore(tmp_path / "there" / "traces.db") as store:
        talk = Talk(agent_on(store))
        (tmp_path / "there").rename(tmp_path / "away")
        assert (await talk.says("a rug"))["kind"] == "list"
        (tmp_path / "away").rename(tmp_path / "there")
    assert "Turn 1 of a conversation is not stored yet" in caplog.text


async def test_what_if_goes_on_from_the_search_of_any_turn(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1\n3"), SEARCH.format("drama"), LIST.format("1\n2\n3")]
    config = AgentConfig(k=3, retrieve_k=4)
    agent = build_shopping_agent(policy, retriever, config=config, recorder=SqlRecorder(store))
    await agent.ainvoke({"messages": [HumanMessage("something light")]}, {"configurable": {"thread_id": "t1"}})
    [turn] = store.conversation("t1").turns
    assert turn.run_id is not None
    assert store.run(turn.run_id).run.thread_id == "t1"
    assert store.run(turn.run_id).run.config["enforces_words"] is False  # the state holds what the words enforce
    server.script = [LIST.format("3\n1\n2")]
    child = await fork_run(store, turn.run_id, turn=0, preference="thriller", policy=policy, retriever=retriever)
    assert (child.run.parent_id, child.run.fork) == (turn.run_id, {"turn": 0, "preference": "thriller"})
    assert store.conversation("t1").turns == (turn,)
