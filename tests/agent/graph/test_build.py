"""Where the graph can be extended: a protocol of one's own, nodes beside its own, LangGraph's compile options."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END
from langgraph.store.memory import InMemoryStore
from langgraph.types import RetryPolicy
from rich.console import Console

from deeprec.agent import (
    AgentConfig,
    AgentProtocol,
    AgentState,
    Allowance,
    Briefing,
    Completion,
    CompletionPolicy,
    Conversation,
    Decision,
    PolicyLineage,
    Prompts,
    SqlRecorder,
    TaggedProtocol,
    TraceStore,
    Turn,
    build_graph,
    build_state_graph,
    fork_run,
    render_run,
    replay_run,
)
from deeprec.agent.traces import TurnRecord
from deeprec.trm_tool import ConfigError, Retrieved, Retriever
from tests.model_scripts import LIST, SEARCH
from tests.tiny_server import TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)


class Rules:
    """A protocol without a model: it searches for two phrases and ranks every second item of what it found."""

    name, version, prompt_version, guided = "rules", "1", "none", False

    def lineage(self) -> PolicyLineage:
        return {"policy_model": "rules"}

    async def open(self, briefing: Briefing) -> Conversation:
        return {"left": ["comedy", "drama"]}

    async def reason(self, conversation: Conversation, allowance: Allowance) -> Turn:
        return self._turn(conversation, conversation["left"][0] if conversation["left"] else None)

    async def observe(self, conversation: Conversation, items: Sequence[tuple[int, str]]) -> Conversation | None:
        return conversation

    async def correct(self, conversation: Conversation, why: str) -> Conversation | None:
        return conversation

    async def rank(self, conversation: Conversation, numbers: Sequence[int], k: int, allowance: Allowance) -> Turn:
        return self._turn(conversation, None)

    def replay(self, conversation: Conversation, record: TurnRecord) -> Turn:
        return self._turn(conversation, record.preference)

    async def edit(self, record: TurnRecord, preference: str) -> TurnRecord:
        return replace(record, preference=preference, text=preference)

    def agrees(self, conversation: Conversation, records: Sequence[TurnRecord]) -> bool:
        return True

    def _turn(self, conversation: Conversation, preference: str | None) -> Turn:
        if preference is None:
            decision = Decision(action="recommend", numbers=(1, 3, 5))
            return Turn(conversation=conversation, decision=decision, completion=Completion(text="1, 3, 5"))
        return Turn(
            conversation={"left": conversation["left"][1:]},
            decision=Decision(action="retrieve", preference=preference),
            completion=Completion(text=preference),
        )


async def test_a_protocol_of_ones_own_runs_is_logged_and_is_run_again(retriever: Retriever, store: TraceStore) -> None:
    protocol: AgentProtocol = Rules()
    graph = build_graph(None, retriever, protocol=protocol, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:4])})
    trace = store.run(UUID(output["run_id"]))
    assert output["status"] == "finished"
    assert (trace.run.protocol, trace.run.policy_model, trace.run.prompt_version) == ("rules", "rules", "none")
    assert [retrieval.preference for retrieval in trace.retrievals] == ["comedy", "drama"]
    assert [listed["source"] for listed in output["recommendations"]] == ["written"] * 3
    console = Console(width=120)
    with console.capture() as shown:
        console.print(render_run(trace, retriever.catalogue))
    assert "comedy" in shown.get()
    again = await replay_run(store, output["run_id"], policy=None, retriever=retriever, protocol=protocol)
    assert again.is_same
    fork: Any = {"turn": 1, "preference": "horror", "policy": None, "retriever": retriever}
    child = await fork_run(store, output["run_id"], protocol=protocol, **fork)
    assert [retrieval.preference for retrieval in child.retrievals] == ["comedy", "horror"]
    with pytest.raises(ConfigError, match="an AgentProtocol of your own"):
        await fork_run(store, output["run_id"], **fork)


def test_a_protocol_that_does_not_fit_is_refused(policy: CompletionPolicy, retriever: Retriever) -> None:
    class Half:
        name = "half"

    half: Any = Half()
    with pytest.raises(ConfigError, match="A Half lacks a member of"):
        build_graph(policy, retriever, protocol=half)
    tagged = TaggedProtocol(policy)
    with pytest.raises(ConfigError, match="`prompts` would not reach it"):
        build_graph(policy, retriever, protocol=tagged, prompts=Prompts())
    with pytest.raises(ConfigError, match=r"AgentConfig\.guided is True, and the TaggedProtocol has guided = False"):
        build_graph(policy, retriever, protocol=tagged, config=AgentConfig(guided=True))


async def test_nodes_of_ones_own_stand_beside_the_agents(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever
) -> None:
    seen: list[list[str]] = []

    def notify(state: AgentState) -> AgentState:
        seen.append([listed["item_id"] for listed in state["recommendations"]])
        return {"detail": "the shop was notified"}

    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    graph = build_state_graph(policy, retriever, config=FREE)
    graph.add_node("notify", notify)
    graph.add_edge("finish", "notify")
    graph.add_edge("notify", END)
    output = await graph.compile().ainvoke({"history": []})
    assert seen == [[listed["item_id"] for listed in output["recommendations"]]]
    assert output["detail"] == "the shop was notified"


async def test_compile_options_are_langgraphs(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever
) -> None:
    store = InMemoryStore()
    graph = build_graph(
        policy,
        retriever,
        config=FREE,
        checkpointer=InMemorySaver(),
        store=store,
        interrupt_before=["retrieve"],
        interrupt_after=["rank"],
        name="shop",
    )
    assert (graph.name, graph.store) == ("shop", store)
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    thread: Any = {"configurable": {"thread_id": "t"}}
    halts = []
    request: Any = {"history": []}
    while request is not None or (await graph.aget_state(thread)).next:
        await graph.ainvoke(request, thread)
        halts.append((await graph.aget_state(thread)).next)
        request = None
    assert halts == [("retrieve",), ("finish",), ()]


async def test_nodes_that_raise_are_retried_by_langgraphs_policy_and_the_trace_has_the_outcome(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore, monkeypatch: Any
) -> None:
    calls: list[Any] = []
    real = retriever.retrieve

    def fails_once(*arguments: Any, **options: Any) -> Retrieved:
        calls.append(arguments)
        if len(calls) == 2:
            raise ZeroDivisionError("a bug")
        return real(*arguments, **options)

    monkeypatch.setattr(retriever, "retrieve", fails_once)
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    retry = RetryPolicy(initial_interval=0.01, jitter=False, retry_on=ZeroDivisionError)
    config = replace(FREE, raise_outages=True)  # else the recommender's error ends the run with a list
    graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store), retry_policy=retry)
    output = await graph.ainvoke({"history": []})
    trace = store.run(UUID(output["run_id"]))
    assert len(calls) == 3
    assert output["status"] == trace.status == "finished"
    assert not trace.incomplete
