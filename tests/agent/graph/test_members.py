"""The agent as a member of somebody else's team: LangGraph's supervisor and swarm."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

from deeprec.agent import AgentConfig, CompletionPolicy, RunFilter, SqlRecorder, TraceStore, build_graph
from deeprec.trm_tool import Retriever
from tests.model_scripts import LIST, SEARCH, tool_call
from tests.tiny_server import TinyServer

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
RUN = [SEARCH.format("comedy"), LIST.format("2\n1")]
THREAD: Any = {"configurable": {"thread_id": "t-1"}}


@pytest.fixture
def member(policy: CompletionPolicy, retriever: Retriever, store: TraceStore) -> Any:
    config = AgentConfig(k=3, retrieve_k=4)
    return build_graph(policy, retriever, config=config, recorder=SqlRecorder(store), name="recommender")


async def test_a_supervisor_hands_over_and_gets_the_list(
    server: TinyServer, chat: ChatOpenAI, member: Any, store: TraceStore, retriever: Retriever
) -> None:
    server.script = [tool_call("transfer_to_recommender"), *RUN, {"content": "Here is your list."}]
    history = list(retriever.catalogue.ids[:4])
    team = create_supervisor([member], model=chat).compile(checkpointer=InMemorySaver())
    context: Any = {"deeprec": {"history": history, "lineage": {"user_id": "ann"}}}
    output = await team.ainvoke({"messages": [HumanMessage("something lighter")]}, THREAD, context=context)
    assert output["messages"][-1].text == "Here is your list."
    [answer] = [message for message in output["messages"] if "deeprec" in message.additional_kwargs]
    result = answer.additional_kwargs["deeprec"]
    assert (result["status"], len(result["recommendations"])) == ("finished", 3)
    [listed] = store.runs(where=RunFilter(user_id="ann", thread_id="t-1"))
    run = store.run(listed.run_id).run
    assert (run.message, list(run.history)) == ("something lighter", history)
    seen = next(request for request in reversed(server.requests) if request["path"] == "/v1/chat/completions")
    assert retriever.catalogue.item(result["recommendations"][0]["item_id"]).title in str(seen["messages"])


async def test_a_swarm_hands_over_and_the_recommender_stays_in_charge(
    server: TinyServer, chat: ChatOpenAI, member: Any, store: TraceStore
) -> None:
    host = create_agent(chat, [create_handoff_tool(agent_name="recommender")], name="host")
    team = create_swarm([host, member], default_active_agent="host").compile(checkpointer=InMemorySaver())
    server.script = [tool_call("transfer_to_recommender"), *RUN]
    output = await team.ainvoke({"messages": [HumanMessage("a comedy")]}, THREAD)
    assert output["active_agent"] == "recommender"
    assert output["messages"][-1].additional_kwargs["deeprec"]["status"] == "finished"
    server.script = list(RUN)
    output = await team.ainvoke({"messages": [HumanMessage("an older one")]}, THREAD)
    assert server.script == []
    messages = [store.run(run.run_id).run.message for run in store.runs(where=RunFilter(thread_id="t-1"))]
    assert messages == ["an older one", "a comedy"]
    assert len([message for message in output["messages"] if "deeprec" in message.additional_kwargs]) == 2


async def test_a_chat_page_is_spared_the_models_turns(server: TinyServer, member: Any) -> None:
    server.script = list(RUN)
    page = member.with_config(tags=["nostream"])
    parts = [part async for part, _ in page.astream({"messages": "a comedy"}, stream_mode="messages")]
    assert [part.type for part in parts] == ["ai"]
    assert parts[0].additional_kwargs["deeprec"]["status"] == "finished"
