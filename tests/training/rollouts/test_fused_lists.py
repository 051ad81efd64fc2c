"""The head start in ranking: which tokens change, and to what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from deeprec.agent import AgentConfig, AgentInput, CompletionPolicy, SqlRecorder, TraceStore, build_graph, run_many
from deeprec.evals import fused_ranking
from deeprec.training import rollout_from_run
from deeprec.training.rollouts.fused_lists import with_fused_list
from deeprec.trm_tool import Retriever
from tests.tiny_server import decode, encode, serve_tiny

GUIDED = AgentConfig(guided=True, k=3, retrieve_k=4, min_retrievals=2, max_retrievals=2)


def tokenizer(text: str, **_: Any) -> dict[str, list[int]]:
    return {"input_ids": encode(text)}


@pytest.mark.slow
async def test_the_list_becomes_that_of_fusion_and_all_before_it_stays(retriever: Retriever, tmp_path: Path) -> None:
    with serve_tiny() as server, TraceStore(tmp_path / "t.db") as store:
        async with CompletionPolicy(server.base_url) as policy:
            graph = build_graph(policy, retriever, config=GUIDED, recorder=SqlRecorder(store))
            history = list(retriever.catalogue.ids[:3])
            [output] = await run_many(graph, [AgentInput(history=history, lineage={"seed": 1})])
        trace = store.run(UUID(output["run_id"]))
    rollout = rollout_from_run(trace, allow_guided=True)
    made = with_fused_list(rollout, trace, tokenizer)
    assert made is not None
    shown = list(dict.fromkeys(item.id for retrieval in trace.retrievals for item in retrieval.items))
    numbers = [str(shown.index(item) + 1) for item in fused_ranking(trace)[:3]]
    listed = "\n".join([*numbers, "</recommendation_list>"])
    assert decode(made.token_ids.tolist()).endswith(f"<recommendation_list>\n{listed}")
    kept = made.token_ids.size - len(listed)
    np.testing.assert_array_equal(made.token_ids[:kept], rollout.token_ids[:kept])
    np.testing.assert_array_equal(made.env_mask[:kept], rollout.env_mask[:kept])
    assert made.env_mask[kept:].all()
    assert np.isnan(made.logprobs[kept:]).all()
    assert with_fused_list(rollout, replace(trace, turns=trace.turns[:1]), tokenizer) is None
    assert with_fused_list(rollout, replace(trace, retrievals=()), tokenizer) is None
