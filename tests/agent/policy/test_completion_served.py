"""What the agent and its training rely on in a server, asked of real ones with the embedded model."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from deeprec.agent import CompletionPolicy, PolicyRejectedError, SamplingConfig, ServerProcess
from deeprec.trm_tool import ConfigError

GREEDY = SamplingConfig(temperature=0, max_tokens=30)
END_OF_TURN = 2
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."


@pytest.fixture
async def real(model_server: ServerProcess) -> AsyncIterator[CompletionPolicy]:
    async with CompletionPolicy(model_server.base_url) as policy:
        yield policy


async def test_the_embedded_model_came_out_of_its_wheel_whole(real: CompletionPolicy) -> None:
    prompt = await real.tokenize_chat(QUESTION)
    done = await real.complete(prompt, sampling=GREEDY)
    assert done.text == ANSWER
    assert done.finish_reason == "stop"
    # The end of the turn is a token with a log-probability of its own, and no text.
    assert done.token_ids[-1] == END_OF_TURN
    assert await real.detokenize(done.token_ids) == ANSWER + "<|im_end|>"
    assert await real.detokenize(prompt) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_tokens_are_those_of_the_models_own_tokenizer(
    real: CompletionPolicy, model_server: ServerProcess
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_server.model)
    for text in ("\n<|end_of_item_list|>\n", "a  1990 é 🎬\t", "[12] Amélie (2001)"):
        ids = await real.tokenize(text)
        assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert await real.detokenize(ids) == text
    assert await real.tokenize("") == []


async def test_a_stop_inside_a_token_cuts_the_text_and_keeps_the_token(real: CompletionPolicy) -> None:
    done = await real.complete(await real.tokenize_chat(QUESTION), sampling=GREEDY, stop=["Pari"])
    assert done.text == "The capital of France is Pari"
    assert await real.detokenize(done.token_ids) == "The capital of France is Paris"
    assert done.finish_reason == "stop"


async def test_a_grammar_that_ends_adds_the_end_of_turn_and_a_stop_does_not(real: CompletionPolicy) -> None:
    prompt = await real.tokenize_chat(QUESTION)
    ended = await real.complete(prompt, sampling=GREEDY, regex="<a>[a-z ]{3,8}</a>")
    stopped = await real.complete(prompt, sampling=GREEDY, regex="<a>[a-z ]{3,8}</a>", stop=["</a>"])
    assert ended.text == stopped.text
    assert ended.token_ids == (*stopped.token_ids, END_OF_TURN)
    assert ended.logprobs[-1] == 0.0  # the only token that the grammar left
    cut = await real.complete(prompt, sampling=SamplingConfig(max_tokens=3), regex="<a>[a-z ]{3,8}</a>")
    assert (cut.finish_reason, len(cut.token_ids)) == ("length", 3)


async def test_choices_hold_the_model_to_them(real: CompletionPolicy) -> None:
    prompt = await real.tokenize_chat(QUESTION)
    done = await asyncio.gather(
        *(
            real.complete(prompt, sampling=SamplingConfig(max_tokens=9, seed=s), choices=["1980s", "film noir"])
            for s in range(4)
        )
    )
    assert {one.text for one in done} <= {"1980s", "film noir"}


async def test_many_long_seeded_requests_at_once_leave_the_server_alive(real: CompletionPolicy) -> None:
    """vLLM 0.32 on a CPU dies of a seeded request whose prompt is taken in parts; the flags keep prompts whole."""
    sampling = [SamplingConfig(max_tokens=2, seed=seed) for seed in range(8)]
    done = await asyncio.gather(
        *(real.complete([99, *range(1000, 1700), one.seed or 0], sampling=one) for one in sampling)
    )
    assert len(done) == 8
    assert (await real.connect(refresh=True)).max_model_len == 4096


async def test_a_prompt_beyond_the_context_is_refused_with_the_servers_words(real: CompletionPolicy) -> None:
    with pytest.raises(PolicyRejectedError, match="4096"):
        await real.complete([100] * 4200, sampling=SamplingConfig(max_tokens=1))
    with pytest.raises(PolicyRejectedError, match="regex"):
        await real.complete([100], sampling=GREEDY, regex="([")


async def test_an_adapter_is_loaded_while_the_server_runs(model_server: ServerProcess, tmp_path: Path) -> None:
    write_adapter(tmp_path / "policy-v1")
    async with CompletionPolicy(model_server.base_url, model_server.model_name) as policy:
        before = (await policy.connect()).adapters  # the server is shared
    body = json.dumps({"lora_name": "policy-v1", "lora_path": str(tmp_path / "policy-v1")}).encode()
    request = urllib.request.Request(
        f"{model_server.base_url}/load_lora_adapter", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    async with CompletionPolicy(model_server.base_url, model_server.model_name, adapter="policy-v1") as adapted:
        served = await adapted.connect()
        assert served.name == "policy-v1"
        assert sorted(set(served.adapters) - set(before)) == ["policy-v1"]
        assert served.max_model_len == 4096
        done = await adapted.complete(await adapted.tokenize_chat(QUESTION), sampling=GREEDY)
        assert done.text != ANSWER  # it is the adapter that answered
    async with CompletionPolicy(model_server.base_url, adapter="policy-v2") as missing:
        with pytest.raises(ConfigError, match="policy-v2"):
            await missing.connect()


def write_adapter(folder: Path) -> None:
    """A LoRA adapter of rank 2 on the first query projection, big enough to change what is said."""
    folder.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 2,
        "lora_alpha": 32,
        "target_modules": ["q_proj", "o_proj"],
        "bias": "none",
        "base_model_name_or_path": "",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    rng = np.random.default_rng(0)
    name = "base_model.model.model.layers.0.self_attn.{}.lora_{}.weight"
    save_file(
        {
            name.format(module, side): rng.normal(size=shape).astype(np.float32)
            for module in ("q_proj", "o_proj")
            for side, shape in (("A", (2, 576)), ("B", (576, 2)))
        },
        folder / "adapter_model.safetensors",
    )
