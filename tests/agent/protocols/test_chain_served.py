"""The promise that training rests on, against real servers: a logged run is one exact token chain."""

from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import torch

from deeprec.agent import (
    AgentConfig,
    AgentInput,
    CompletionPolicy,
    ServerProcess,
    SqlRecorder,
    TraceStore,
    VllmServer,
    build_graph,
    make_chat_model,
    run_many,
)
from deeprec.training import Rollout, rollout_from_run
from deeprec.trm_tool import Retriever

GUIDED = AgentConfig(guided=True, k=3, retrieve_k=4, min_retrievals=2, max_retrievals=2, max_turn_tokens=96)
FREE = AgentConfig(k=3, retrieve_k=4, max_turn_tokens=24, max_malformed=2)


async def run(policy: Any, retriever: Retriever, store: TraceStore, config: AgentConfig, n: int = 1) -> list[UUID]:
    graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
    history = list(retriever.catalogue.ids[:3])
    outputs = await run_many(graph, [AgentInput(history=history, lineage={"seed": seed}) for seed in range(n)])
    return [UUID(output["run_id"]) for output in outputs]


async def test_a_guided_run_is_one_exact_chain(
    model_server: ServerProcess, retriever: Retriever, tmp_path: Path
) -> None:
    with TraceStore(tmp_path / "t.db") as store:
        async with CompletionPolicy(model_server.base_url) as policy:
            for run_id in await run(policy, retriever, store, GUIDED, n=2):
                trace = store.run(run_id)
                rollout = rollout_from_run(trace, allow_guided=True)
                assert trace.status in ("finished", "budget")
                assert len(trace.retrievals) == 2
                assert len({place.item_id for place in trace.written}) == len(trace.written) == 3
                for turn in trace.turns:  # ids are the truth, and the text is theirs
                    assert await policy.detokenize(turn.completion_ids) == turn.text
                assert rollout.env_mask.sum() == sum(len(turn.completion_ids) for turn in trace.turns)


async def test_a_trainer_sees_the_logprobs_that_the_policy_had(
    model_server: ServerProcess, retriever: Retriever, tmp_path: Path
) -> None:
    with TraceStore(tmp_path / "t.db") as store:
        async with CompletionPolicy(model_server.base_url) as policy:
            [run_id] = await run(policy, retriever, store, FREE)
        rollout = rollout_from_run(store.run(run_id))
    policy_tokens = rollout.env_mask == 1
    gap = np.abs(trainer_logprobs(Path(model_server.model), rollout)[policy_tokens] - rollout.logprobs[policy_tokens])
    assert policy_tokens.sum() > 24  # more than one turn, so that a splice would show
    assert gap.max() < 1e-2


@pytest.mark.vllm
async def test_the_tools_protocol_runs_on_vllm(vllm_server: VllmServer, retriever: Retriever, tmp_path: Path) -> None:
    model = make_chat_model(vllm_server.base_url, vllm_server.model_name)
    with TraceStore(tmp_path / "t.db") as store:
        [run_id] = await run(model, retriever, store, GUIDED)
        await model.root_async_client.close()
        trace = store.run(run_id)
    assert trace.status in ("finished", "budget")
    assert len({place.item_id for place in trace.written}) == 3


@torch.no_grad()
def trainer_logprobs(model: Path, rollout: Rollout) -> np.ndarray[Any, np.dtype[np.float32]]:
    from transformers import AutoModelForCausalLM

    ids = torch.from_numpy(rollout.token_ids)[None]
    logits = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(ids).logits[0, :-1].log_softmax(-1)
    chosen = logits.gather(1, ids[0, 1:, None])[:, 0]
    return torch.cat([torch.zeros(1), chosen]).numpy()
