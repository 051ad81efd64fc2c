from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from deeprec.agent import (
    CompletionPolicy,
    PolicyRejectedError,
    PolicyUnavailableError,
    SamplingConfig,
    fingerprint_adapter,
    load_adapter,
)
from deeprec.agent.cli.main import main
from deeprec.trm_tool import ConfigError
from tests.tiny_server import TinyServer, serve_tiny, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
FIXED = SamplingConfig(temperature=1.0, max_tokens=8, seed=3)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    model = get_peft_model(
        tiny_llama(),
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    model.save_pretrained(tmp_path / "rec-v1")
    return tmp_path / "rec-v1"


async def test_a_loaded_adapter_is_another_policy_on_the_same_server(server: TinyServer, adapter: Path) -> None:
    await load_adapter(server.base_url, "rec-v1", adapter)
    async with (
        CompletionPolicy(server.base_url) as base,
        CompletionPolicy(server.base_url, adapter="rec-v1") as tuned,
    ):
        assert (await tuned.connect()).adapters == ("rec-v1",)
        of_base = await base.complete([1, 2, 3], sampling=FIXED)
        of_tuned = await tuned.complete([1, 2, 3], sampling=FIXED)
    assert of_base.logprobs != of_tuned.logprobs
    assert server.requests[-1]["model"] == "rec-v1"


async def test_a_name_is_loaded_once(server: TinyServer, adapter: Path) -> None:
    assert await load_adapter(server.base_url, "rec-v1", adapter)
    assert not await load_adapter(server.base_url, "rec-v1", adapter)
    assert [request["path"] for request in server.requests].count("/v1/load_lora_adapter") == 1


async def test_a_name_that_stands_for_other_weights_is_refused(
    server: TinyServer, adapter: Path, tmp_path: Path
) -> None:
    await load_adapter(server.base_url, "rec-v1", adapter)
    moved = tmp_path / "moved"
    shutil.copytree(adapter, moved)
    assert not await load_adapter(server.base_url, "rec-v1", moved)  # the same weights
    (moved / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"has another adapter under the name rec-v1 .* is from {adapter}"):
        await load_adapter(server.base_url, "rec-v1", moved)
    server.roots["rec-v1"] = "/nowhere"  # of another machine
    with pytest.raises(ConfigError, match=r"does not show whether it is that of .* is from /nowhere"):
        await load_adapter(server.base_url, "rec-v1", adapter)


async def test_the_weights_that_answer_are_known_by_their_fingerprints(server: TinyServer, adapter: Path) -> None:
    await load_adapter(server.base_url, "rec-v1", adapter)
    async with CompletionPolicy(server.base_url, adapter="rec-v1") as policy:
        served = await policy.connect()
    assert served.adapter_fingerprint == fingerprint_adapter(adapter)
    assert served.base_fingerprint is None  # the server names no folder


@pytest.mark.parametrize("root", ["/" + "a" * 5_000, "/x\0y"])
async def test_a_name_that_can_be_no_folder_shows_no_weights(server: TinyServer, adapter: Path, root: str) -> None:
    await load_adapter(server.base_url, "rec-v1", adapter)
    server.roots["rec-v1"] = root
    async with CompletionPolicy(server.base_url, adapter="rec-v1") as policy:
        assert (await policy.connect()).adapter_fingerprint is None


async def test_the_kind_of_log_probabilities_is_found_by_one_token(server: TinyServer) -> None:
    for mode in ("processed", "raw"):
        server.logprobs_mode = mode
        async with CompletionPolicy(server.base_url) as policy:
            assert policy.logprobs_mode is None
            assert await policy.find_logprobs_mode() == mode
            assert policy.logprobs_mode == mode


async def test_a_folder_without_an_adapter_is_refused_before_anything_is_sent(
    server: TinyServer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="not a LoRA adapter: it has no adapter_config"):
        await load_adapter(server.base_url, "rec-v1", tmp_path)
    assert not server.requests


async def test_a_refusal_says_what_the_server_needs(server: TinyServer, adapter: Path) -> None:
    def refuse(handler: object) -> None:
        handler.answer(404, {"message": "Not Found"})  # type: ignore[attr-defined]

    server.script = [refuse]
    with pytest.raises(PolicyRejectedError, match=r"rec-v1 could not be loaded.*VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        await load_adapter(server.base_url, "rec-v1", adapter)


@pytest.mark.slow
async def test_a_server_that_is_away_is_named(adapter: Path) -> None:
    with serve_tiny() as running:
        url = running.base_url
    with pytest.raises(PolicyUnavailableError, match="cannot be reached"):
        await load_adapter(url, "rec-v1", adapter)


def test_an_adapter_is_loaded_from_the_command_line(
    server: TinyServer, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["llm", "load", str(adapter), "--base-url", server.base_url])
    assert ended.value.code == 0
    assert list(server.adapters) == ["rec-v1"]
    assert "--free --model rec-v1" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["llm", "load", str(tmp_path), "--base-url", server.base_url])
    assert ended.value.code == 2
    assert "is not a LoRA adapter" in capsys.readouterr().err


async def test_an_adapter_is_loaded_into_each_server_of_a_list_and_asked_there(
    server: TinyServer, adapter: Path
) -> None:
    with serve_tiny() as second:
        both = f"{server.base_url}, {second.base_url}"
        assert await load_adapter(server.base_url, "rec-v1", adapter)
        async with CompletionPolicy(both, adapter="rec-v1") as policy:
            with pytest.raises(ConfigError, match="has no adapter 'rec-v1'"):
                await policy.connect()
        assert await load_adapter(both, "rec-v1", adapter)  # into the second alone
        assert not await load_adapter(both, "rec-v1", adapter)
        for each in (server, second):
            assert [request["path"] for request in each.requests].count("/v1/load_lora_adapter") == 1
        async with CompletionPolicy(both, adapter="rec-v1") as policy:
            served = await policy.connect()
            answers = await asyncio.gather(*(policy.complete([1, 2, n], sampling=FIXED) for n in range(8)))
            assert await policy.find_logprobs_mode() == "processed"
        async with CompletionPolicy(server.base_url, adapter="rec-v1") as alone:
            expected = [await alone.complete([1, 2, n], sampling=FIXED) for n in range(8)]
        assert served.adapters == ("rec-v1",)
        assert [each.token_ids for each in answers] == [each.token_ids for each in expected]
        asked = [[request["path"] for request in each.requests].count("/v1/completions") for each in (server, second)]
        assert min(asked[0] - len(expected), asked[1]) > 2  # a share of the eight, and one to find the mode
        second.logprobs_mode = "raw"
        async with CompletionPolicy(both) as policy:
            assert await policy.find_logprobs_mode() == "raw"


async def test_a_list_is_as_good_as_its_servers(server: TinyServer) -> None:
    with serve_tiny() as second:
        both = f"{server.base_url},{second.base_url}"
        second.max_model_len = 100
        async with CompletionPolicy(both) as policy:
            assert (await policy.connect()).max_model_len == 100
        with pytest.raises(ConfigError, match="Name each once"):
            CompletionPolicy(f"{both},{server.base_url}/")
    async with CompletionPolicy(both, timeout_s=1, max_retries=0) as policy:
        with pytest.raises(PolicyUnavailableError):
            await policy.connect()
