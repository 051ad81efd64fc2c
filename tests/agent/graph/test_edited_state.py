"""Time travel: a step is reused where its inputs are equal; an edited run goes on as a fork, and its parent stays."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    RunTrace,
    SqlRecorder,
    TraceStore,
    TraceStoreError,
    build_graph,
    replay_run,
)
from deeprec.training import RolloutError, rollout_from_run
from deeprec.trm_tool import ConfigError, Retriever
from tests.model_scripts import LIST, SEARCH
from tests.tiny_server import TinyServer

FREE = AgentConfig(k=3, retrieve_k=4)
THREAD: Any = {"configurable": {"thread_id": "t"}}
WHERE = {"studio": {"in": ["Fox", "A24"]}}
SCRIPT = [SEARCH.format("comedy"), SEARCH.format("horror"), LIST.format("2\n1")]


class Agent:
    """A run that has ended, and the graph whose checkpoints it left."""

    def __init__(self, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore) -> None:
        self.server, self.store, self.retriever = server, store, retriever
        self.graph = build_graph(
            policy, retriever, config=FREE, recorder=SqlRecorder(store), checkpointer=InMemorySaver()
        )
        self.policy = policy
        self.history = list(retriever.catalogue.ids[:3])

    async def run(self, **request: Any) -> RunTrace:
        self.server.script = list(SCRIPT)
        request = {"history": self.history, "lineage": {"user_id": "ann", "split": "test"}, **request}
        output = await self.graph.ainvoke(request, THREAD, durability="sync")
        assert output["status"] == "finished"
        self.server.requests.clear()
        return self.store.run(output["run_id"])

    async def before(self, node: str, number: int = 0) -> Any:
        """The checkpoint before a node ran for the `number`th time."""
        states = [state async for state in self.graph.aget_state_history(THREAD) if state.next == (node,)]
        return states[::-1][number].config

    async def edited(self, config: Any, values: dict[str, Any], script: list[str]) -> tuple[Any, RunTrace]:
        forked = await self.graph.aupdate_state(config, values)
        self.server.script = list(script)
        output = await self.graph.ainvoke(None, forked, durability="sync")
        return output, self.store.run(output["run_id"])

    @property
    def calls(self) -> int:
        return len([sent for sent in self.server.requests if sent["path"] == "/v1/completions"])


@pytest.fixture
def agent(server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore) -> Agent:
    return Agent(server, policy, retriever, store)


def ids(retrieved: Any) -> list[str]:
    return [item.id for item in retrieved]


@pytest.mark.parametrize("node", ["reason", "retrieve", "rank", "finish"])
async def test_time_travel_without_edits_reuses_every_step(agent: Agent, node: str) -> None:
    run = await agent.run()
    output = await agent.graph.ainvoke(None, await agent.before(node), durability="sync")
    assert (output["run_id"], agent.calls) == (str(run.run.run_id), 0)
    assert agent.store.run(run.run.run_id) == run
    assert len(agent.store.runs()) == 1


async def test_a_run_that_has_ended_stays_so_where_its_repetition_is_aborted(agent: Agent) -> None:
    run = await agent.run()
    at = await agent.before("retrieve")
    with pytest.raises(GraphRecursionError):
        await agent.graph.ainvoke(None, {**at, "recursion_limit": 1}, durability="sync")
    assert agent.store.run(run.run.run_id) == run


async def test_an_edited_preference_is_what_is_retrieved_with(agent: Agent) -> None:
    run = await agent.run()
    at = await agent.before("retrieve", 1)
    decision = (await agent.graph.aget_state(at)).values["decision"]
    output, fork = await agent.edited(at, {"decision": {**decision, "preference": "drama"}}, SCRIPT[2:])
    assert agent.calls == 1  # the turn that follows
    assert [retrieval.preference for retrieval in fork.retrievals] == ["comedy", "drama"]
    assert ids(fork.retrievals[1].items) == ids(agent.retriever.retrieve(agent.history, "drama", k=4))
    assert (fork.turns[:2], fork.retrievals[0]) == (run.turns[:2], run.retrievals[0])
    assert (fork.status, fork.incomplete, len(fork.turns)) == ("finished", False, 3)
    assert fork.run.fork == {"turn": 1, "edited": ["preference"], "preference": "drama"}
    assert (fork.run.parent_id, fork.run.user_id, fork.run.split) == (run.run.run_id, "ann", "test")
    assert agent.store.run(run.run.run_id) == run
    assert output["run_id"] != str(run.run.run_id)


@pytest.mark.parametrize("node", ["reason", "retrieve", "rank", "finish"])
@pytest.mark.parametrize("way", ["key", "request"])
async def test_edited_constraints_hold_from_there_on(agent: Agent, node: str, way: str) -> None:
    run = await agent.run()
    at = await agent.before(node, 1 if node in ("reason", "retrieve") else 0)
    request = (await agent.graph.aget_state(at)).values["request"]
    edit = {"where": WHERE} if way == "key" else {"request": {**request, "where": WHERE}}
    output, fork = await agent.edited(at, edit, SCRIPT[1:] if node == "reason" else SCRIPT[2:])
    listed = [position["item_id"] for position in output["recommendations"]]
    assert listed
    assert {agent.retriever.catalogue.item(item_id).attributes["studio"] for item_id in listed} <= {"Fox", "A24"}
    if node in ("reason", "retrieve"):
        found = agent.retriever.retrieve(agent.history, "horror", k=4, where=WHERE)
        assert ids(fork.retrievals[1].items) == ids(found)
    assert [each["where"] for each in output["constraints"]["hard"]] == [WHERE]
    assert (fork.run.config["where"], fork.run.fork) == (WHERE, {"turn": fork.run.fork["turn"], "edited": ["where"]})  # type: ignore[index]
    assert agent.store.run(run.run.run_id) == run


async def test_an_edit_before_the_first_turn_is_what_the_model_reads(agent: Agent) -> None:
    run = await agent.run()
    script = [SEARCH.format("drama"), LIST.format("1")]
    output, fork = await agent.edited(
        await agent.before("reason"), {"message": "a drama", "history": agent.history[:1]}, script
    )
    [opening] = [sent for sent in agent.server.requests if "messages" in sent]
    assert "a drama" in opening["messages"][1]["content"]
    assert (fork.run.message, fork.run.history, output["status"]) == ("a drama", tuple(agent.history[:1]), "finished")
    assert ids(fork.retrievals[0].items) == ids(
        agent.retriever.retrieve(agent.history[:1], "drama", words="a drama", k=4)
    )
    assert fork.run.fork == {"turn": 0, "edited": ["history", "message"]}
    assert agent.store.run(run.run.run_id) == run


async def test_a_fork_keeps_the_conversation_before_the_message(agent: Agent) -> None:
    run = await agent.run(message="a comedy", earlier=["Person: nothing sad"])
    _, fork = await agent.edited(await agent.before("reason"), {"where": WHERE}, SCRIPT)
    [opening] = [sent for sent in agent.server.requests if "messages" in sent]
    assert "nothing sad" in opening["messages"][1]["content"]
    assert fork.run.config["earlier"] == run.run.config["earlier"] == ["Person: nothing sad"]
    assert fork.run.fork == {"turn": 0, "edited": ["where"]}


async def test_a_fork_leaves_the_group_that_a_context_names(agent: Agent) -> None:
    agent.server.script = list(SCRIPT)
    context: Any = {"lineage": {"group_id": "g", "tenant": "x"}}
    request: Any = {"history": agent.history}
    await agent.graph.ainvoke(request, THREAD, interrupt_before=["retrieve"], durability="sync", context=context)
    await agent.graph.aupdate_state(THREAD, {"where": WHERE})
    output = await agent.graph.ainvoke(None, THREAD, durability="sync", context=context)
    fork = agent.store.run(output["run_id"]).run
    assert (fork.group_id, fork.tenant, fork.config["where"]) == (None, "x", WHERE)


async def test_items_of_an_edited_history_leave_the_list(agent: Agent) -> None:
    run = await agent.run()
    shown = run.recommended[0].item_id
    output, fork = await agent.edited(await agent.before("rank"), {"history": [*agent.history, shown]}, [])
    assert shown not in [position["item_id"] for position in output["recommendations"]]
    assert len(output["recommendations"]) == 3
    assert fork.run.history == (*agent.history, shown)


async def test_edited_constraints_that_nothing_passes_end_the_run(agent: Agent) -> None:
    await agent.run()
    output, fork = await agent.edited(await agent.before("retrieve", 1), {"where": {"studio": {"in": ["Foxx"]}}}, [])
    assert (output["status"], output["recommendations"], agent.calls) == ("empty", [], 0)
    assert "did you mean 'Fox'" in output["detail"]
    assert fork.status == "empty"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"message": "a drama"}, "The message in this checkpoint was edited after the model had read the old one"),
        ({"where": {"studio": 3}}, "studio"),
        ({"history": "50"}, "`history` must be a list"),
        ({"decision": {"action": "retrieve", "preference": 5}}, "it is not a text"),
    ],
)
async def test_an_edit_that_cannot_be_taken_is_refused_and_the_run_stays(
    agent: Agent, values: dict[str, Any], why: str
) -> None:
    run = await agent.run()
    with pytest.raises(ConfigError, match=why):
        await agent.edited(await agent.before("retrieve"), values, [])
    assert agent.store.run(run.run.run_id) == run
    assert len(agent.store.runs()) == 1


async def test_a_persons_edit_at_an_interrupt_is_marked_and_never_trained_on(agent: Agent) -> None:
    agent.server.script = list(SCRIPT)
    halted = await agent.graph.ainvoke(
        {"history": agent.history}, THREAD, interrupt_before=["retrieve"], durability="sync"
    )
    decision = (await agent.graph.aget_state(THREAD)).values["decision"]
    await agent.graph.aupdate_state(THREAD, {"decision": {**decision, "preference": "drama"}})
    output = await agent.graph.ainvoke(None, THREAD, durability="sync")
    fork = agent.store.run(output["run_id"])
    assert (str(fork.run.parent_id), fork.run.fork) == (
        halted["run_id"],
        {"turn": 0, "edited": ["preference"], "preference": "drama"},
    )
    with pytest.raises(RolloutError, match="written by a person, not by the policy: preference"):
        rollout_from_run(fork)
    parent = agent.store.run(halted["run_id"])
    assert (parent.status, parent.incomplete) == ("aborted", False)  # nobody waits for it, no redaction either
    assert parent.detail == f"It was edited (preference) and goes on as run {fork.run.run_id}."
    with pytest.raises(TraceStoreError, match=r"edited at a checkpoint \(preference\).*Choose its parent"):
        await replay_run(agent.store, fork.run.run_id, policy=agent.policy, retriever=agent.retriever)


async def test_forks_of_one_checkpoint_at_once_keep_apart(agent: Agent) -> None:
    run = await agent.run()
    at = await agent.before("retrieve", 1)
    configs = [await agent.graph.aupdate_state(at, {"where": WHERE}) for _ in range(3)]
    agent.server.script = [SCRIPT[2]] * 3
    outputs = await asyncio.gather(*(agent.graph.ainvoke(None, config, durability="sync") for config in configs))
    forks = [agent.store.run(output["run_id"]) for output in outputs]
    assert len({fork.run.run_id for fork in forks}) == 3
    assert {(fork.status, fork.incomplete, fork.run.parent_id) for fork in forks} == {
        ("finished", False, run.run.run_id)
    }


async def test_a_run_id_with_another_request_is_a_fork_and_with_the_same_one_resumes(agent: Agent) -> None:
    lineage = {"run_id": str(uuid4()), "user_id": "ann"}
    run = await agent.run(lineage=lineage)
    agent.server.script = list(SCRIPT)
    request = {"history": agent.history, "lineage": lineage, "where": WHERE}
    first, again = [await agent.graph.ainvoke(request, {"configurable": {"thread_id": name}}) for name in "ab"]
    assert agent.calls == len(SCRIPT)  # the second one resumed the first
    assert again["recommendations"] == first["recommendations"]
    fork = agent.store.run(UUID(first["run_id"]))
    assert ids(fork.retrievals[0].items) == ids(agent.retriever.retrieve(agent.history, "comedy", k=4, where=WHERE))
    assert (fork.run.parent_id, fork.run.fork) == (run.run.run_id, {"turn": 0, "edited": ["where"]})
    assert first["run_id"] == again["run_id"] != lineage["run_id"]
    assert agent.store.run(run.run.run_id) == run
    assert len(agent.store.runs()) == 2


async def test_a_step_of_other_settings_is_not_reused(
    agent: Agent, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    lineage = {"run_id": str(uuid4())}
    run = await agent.run(lineage=lineage)
    wider = build_graph(policy, retriever, config=AgentConfig(k=3, retrieve_k=6), recorder=SqlRecorder(store))
    agent.server.script = SCRIPT[1:]
    output = await wider.ainvoke({"history": agent.history, "lineage": lineage})
    fork = store.run(output["run_id"])
    assert (agent.calls, [len(retrieval.items) for retrieval in fork.retrievals]) == (2, [6, 6])
    assert (fork.turns[0], fork.run.parent_id) == (run.turns[0], run.run.run_id)
    assert fork.run.fork == {"turn": 0, "edited": ["settings"]}
    assert (fork.status, fork.incomplete, store.run(run.run.run_id)) == ("finished", False, run)
