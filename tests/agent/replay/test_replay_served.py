"""Replays and forks on a real vLLM server: a seeded run comes out again, and an edit changes only what follows it."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    RunTrace,
    SqlRecorder,
    TraceStore,
    VllmServer,
    build_graph,
    fork_run,
    make_chat_model,
    replay_run,
)
from deeprec.agent.views import compare_runs
from deeprec.trm_tool import Retriever

pytestmark = pytest.mark.vllm

GUIDED = AgentConfig(guided=True, k=3, retrieve_k=4, min_retrievals=2, max_retrievals=3, max_turn_tokens=96)
FREE = AgentConfig(k=3, retrieve_k=4, max_turn_tokens=24, max_malformed=2)


async def logged(policy: Any, retriever: Retriever, store: TraceStore, config: AgentConfig) -> RunTrace:
    graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
    request: Any = {"history": list(retriever.catalogue.ids[:3]), "lineage": {"seed": 7}}
    return store.run(UUID((await graph.ainvoke(request))["run_id"]))


@pytest.mark.parametrize("config", [GUIDED, FREE], ids=["guided", "free"])
async def test_a_seeded_run_comes_out_again_token_by_token(
    vllm_server: VllmServer, retriever: Retriever, tmp_path: Path, config: AgentConfig
) -> None:
    with TraceStore(tmp_path / "t.db") as store:
        async with CompletionPolicy(vllm_server.base_url) as policy:
            original = await logged(policy, retriever, store, config)
            replay = await replay_run(store, original.run.run_id, policy=policy, retriever=retriever)
    assert sum(len(turn.completion_ids) for turn in original.turns) > 24
    assert replay.is_same
    assert replay.comparison.first_token is None
    assert replay.comparison.largest_logprob_difference < 1e-3


async def test_a_fork_differs_after_the_edited_turn_only(
    vllm_server: VllmServer, retriever: Retriever, tmp_path: Path
) -> None:
    with TraceStore(tmp_path / "t.db") as store:
        async with CompletionPolicy(vllm_server.base_url) as policy:
            original = await logged(policy, retriever, store, GUIDED)
            child = await fork_run(
                store, original.run.run_id, turn=1, preference="slow horror", policy=policy, retriever=retriever
            )
            # The edited turn reads as it was written, and what follows was sampled after exactly that.
            assert await policy.detokenize(child.turns[1].completion_ids) == child.turns[1].text
    comparison = compare_runs(original, child)
    assert comparison.first_turn == 1
    assert comparison.first_token is not None
    assert comparison.first_token.turn == 1
    assert child.turns[0] == original.turns[0]
    length = 0
    for turn in child.turns:
        length += len(turn.prompt_ids)
        assert turn.prompt_tokens == length
        length += len(turn.completion_ids)
    assert child.status in ("finished", "budget")


async def test_the_tools_protocol_forks_on_vllm(vllm_server: VllmServer, retriever: Retriever, tmp_path: Path) -> None:
    model = make_chat_model(vllm_server.base_url, vllm_server.model_name)
    with TraceStore(tmp_path / "t.db") as store:
        original = await logged(model, retriever, store, GUIDED)
        child = await fork_run(
            store, original.run.run_id, turn=0, preference="slow horror", policy=model, retriever=retriever
        )
    await model.root_async_client.close()
    assert child.retrievals[0].preference == "slow horror"
    assert child.status in ("finished", "budget")
    assert len({place.item_id for place in child.written}) == 3
