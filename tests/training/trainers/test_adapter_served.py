"""What a real server samples with an adapter has the probabilities that the trainer gives it."""

from pathlib import Path

import numpy as np
import pytest

from deeprec.agent import (
    AgentConfig,
    AgentInput,
    CompletionPolicy,
    ServerProcess,
    SqlRecorder,
    TraceStore,
    build_graph,
    load_adapter,
    run_many,
)
from deeprec.training import importance_ratios, load_current_policy, read_rollouts, save_adapter
from deeprec.trm_tool import Retriever

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
FREE = AgentConfig(k=3, retrieve_k=4, max_turn_tokens=24, max_malformed=1)


def write_random_adapter(base: Path, folder: Path) -> Path:
    """An adapter of all linear layers that changes the model: PEFT starts one without any effect."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    lora = LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    save_adapter(get_peft_model(model, lora), folder)
    return folder


async def test_an_adapter_loaded_into_a_running_server_is_the_trainers_policy(
    model_server: ServerProcess, retriever: Retriever, tmp_path: Path
) -> None:
    base, adapter = Path(model_server.model), write_random_adapter(Path(model_server.model), tmp_path / "rec-v1")
    await load_adapter(model_server.base_url, "rec-v1", adapter)
    with TraceStore(tmp_path / "t.db") as store:
        async with CompletionPolicy(model_server.base_url, adapter="rec-v1") as policy:
            graph = build_graph(policy, retriever, config=FREE, recorder=SqlRecorder(store))
            await run_many(graph, [AgentInput(history=list(retriever.catalogue.ids[:3]), lineage={"seed": 0})])
        [rollout] = read_rollouts(store)
    own = rollout.env_mask == 1
    assert own.sum() > 24  # more than one turn, so that a splice would show
    assert rollout.adapter_version == "rec-v1"
    with_it, without = (
        np.log(importance_ratios(rollout, load_current_policy(base, start))[own]) for start in (adapter, None)
    )
    assert np.abs(with_it).max() < 1e-2
    assert np.abs(without).max() > 0.1
