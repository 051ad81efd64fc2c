"""Runs with the thought before each preference that their texts have not, or without the one that they have."""

from typing import Any
from uuid import UUID

import pytest

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    Prompts,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
    replay_run,
)
from deeprec.agent.protocols.thoughts import with_thoughts
from deeprec.trm_tool import Retriever
from tests.tiny_server import TinyServer

SHORT: dict[str, Any] = {"k": 3, "retrieve_k": 4, "max_retrievals": 1, "min_retrievals": 1}
LIST = "2\n1\n3\n</recommendation_list>"


async def run(policy: CompletionPolicy, retriever: Retriever, store: TraceStore, **settings: Any) -> RunTrace:
    graph = build_graph(policy, retriever, config=AgentConfig(**SHORT | settings), recorder=SqlRecorder(store))
    history = list(retriever.catalogue.ids[:4])
    output = await graph.ainvoke({"history": history, "message": "a comedy", "lineage": {"seed": 3}})
    return store.run(UUID(output["run_id"]))


def opened(server: TinyServer) -> str:
    asked = [request for request in server.requests if request["path"] == "/v1/completions"]
    return bytes(token for token in asked[0]["prompt"] if token < 256).decode()


@pytest.mark.parametrize("guided", [False, True])
async def test_without_a_thought_the_preference_is_opened_free_and_guided(
    guided: bool, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [] if guided else ["comedy<|end_of_preference|>", LIST]
    trace = await run(policy, retriever, store, thinks=False, guided=guided)
    assert trace.status == "finished"
    assert [turn.action for turn in trace.turns] == ["retrieve", "recommend"]
    assert all(turn.thought is None for turn in trace.turns)
    assert opened(server).endswith("<|begin_of_preference|>")
    assert "<think>" not in opened(server)
    assert "write what to look for:" in opened(server)
    if guided:
        assert (await replay_run(store, trace.run.run_id, policy=policy, retriever=retriever)).is_same


async def test_with_a_thought_the_texts_of_words_ask_for_one(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = ["something gay</think>\n<|begin_of_preference|>comedy<|end_of_preference|>", LIST]
    trace = await run(policy, retriever, store, prompts="words", thinks=True)
    assert [(turn.thought, turn.preference) for turn in trace.turns][:1] == [("something gay", "comedy")]
    assert opened(server).endswith("<think>")
    assert "<think>...</think>\n<|begin_of_preference|>PHRASE" in opened(server)


def test_texts_with_or_without_thoughts_have_versions_of_their_own_and_others_stay() -> None:
    made = (Prompts(), Prompts.instruct(), Prompts.words())
    versions = {with_thoughts(prompts, thinks).version for prompts in made for thinks in (False, True)}
    assert len(versions) == 6
    assert {prompts.version for prompts in made} <= versions
    for prompts in made:
        assert with_thoughts(prompts, prompts.thinks) is prompts
        assert "<think>" not in with_thoughts(prompts, False).tagged_instructions
