"""The loop over a real HTTP server that loads real adapters; only what the tiny model says is scripted."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from deeprec.agent import TraceStore
from deeprec.agent.traces import RunFilter
from deeprec.training.adapter_lineage import read_lineage
from deeprec.training.loop import LoopResult, run_loop
from deeprec.training.loop_config import LoopConfig, load_loop_config, packaged_loops
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder, load_artifact
from tests.tiny_server import TinyServer, serve_tiny
from tests.training.tiny_policy import write_tiny_base

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]


def speak(prompt: str, rng: random.Random) -> str:
    """Sometimes the format, sometimes not, so that groups have something to differ in."""
    if rng.random() < 0.2:
        return "nothing that can be read"
    if "<|end_of_item_list|>" in prompt and rng.random() < 0.7:
        numbers = rng.sample(range(1, 5), 3)
        return (
            "<think>enough</think>\n<recommendation_list>\n" + "\n".join(map(str, numbers)) + "\n</recommendation_list>"
        )
    wish = rng.choice(["drama", "comedy", "1990s"])
    return f"<think>maybe</think>\n<|begin_of_preference|>{wish}<|end_of_preference|>"


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serve_tiny() as running:
        running.writer = speak
        yield running


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def artifact(artifact_folder: Path) -> Artifact:
    """As if trained with `--holdout 3`."""
    loaded = load_artifact(artifact_folder)
    return dataclasses.replace(loaded, config=loaded.config | {"holdout": 3})


def make_config(**changed: object) -> LoopConfig:
    told = {
        "name": "tiny",
        "data": "tiny",
        "artifact": "tiny",
        "agent": {"k": 3, "retrieve_k": 4, "max_history": 3, "max_retrievals": 2, "max_turn_tokens": 200},
        "warm_start": {"users": 2, "group_size": 2, "best": 3, "epochs": 1},
        "stages": [
            {"stage": "interaction", "steps": 2, "users": 2, "group_size": 3},
            {"stage": "recommendation", "steps": 1, "users": 2, "group_size": 3},
        ],
        "validation": {"users": 3, "every": 2},
        "max_rank": 50,
        "interaction_share": 0.4,
        "concurrency": 4,
        "device": "cpu",
    }
    return LoopConfig.model_validate(told | changed)


def run(
    out: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact, **settings: object
) -> LoopResult:
    with TraceStore(out.with_suffix(".db")) as store:
        return run_loop(
            settings.pop("config", make_config()),  # type: ignore[arg-type]
            out,
            store=store,
            dataset=dataset,
            artifact=artifact,
            encoder=HashingEncoder(),
            base=base,
            base_url=server.base_url,
            **settings,  # type: ignore[arg-type]
        )


def test_every_step_learns_from_runs_of_the_version_before_it_on_a_server_that_is_never_restarted(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    out = tmp_path / "loop"
    result = run(out, server, base, dataset, artifact)
    assert list(server.adapters) == ["rec-v1", "rec-v2", "rec-v3", "rec-v4"]
    with TraceStore(out.with_suffix(".db")) as store:
        wrote = {
            label: {trace.run.adapter_version for trace in store.traces(RunFilter(suite=label))}
            for label in (
                "tiny/warm-start",
                "tiny/interaction/0000",
                "tiny/interaction/0001",
                "tiny/recommendation/0000",
            )
        }
        people = {
            stage: {trace.run.user_id for trace in store.traces() if f"/{stage}/" in str(trace.run.suite)}
            for stage in ("interaction", "recommendation")
        }
        scored = [
            {each.scheme for each in t.rewards} for t in store.traces(RunFilter(suite="tiny/recommendation/0000"))
        ]
    assert wrote == {
        "tiny/warm-start": {None},
        "tiny/interaction/0000": {"rec-v1"},
        "tiny/interaction/0001": {"rec-v2"},
        "tiny/recommendation/0000": {"rec-v3"},
    }
    assert not people["interaction"] & people["recommendation"]
    assert all({"deeprec", "stage-recommendation"} <= schemes for schemes in scored)
    assert set(result.validation) == {"untrained", "trm", "rec-v1", "rec-v3", "rec-v4"}
    lineage = read_lineage(out / "adapters" / "rec-v4")
    assert (lineage.parent, lineage.method, lineage.stage) == ("rec-v3", "grpo", "recommendation")
    assert lineage.trm_fingerprint == artifact.fingerprint
    weights = [load_file(out / "adapters" / f"rec-v{n}" / "adapter_model.safetensors") for n in (1, 4)]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", ["rec-v1 on", "rec-v2:", "rec-v3 on", "rec-v4:"])
def test_a_loop_that_is_killed_goes_on_to_the_same_end(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact, at: str
) -> None:
    def stop(line: str) -> None:
        if line.startswith(at):
            raise KilledError

    whole = run(tmp_path / "whole", server, base, dataset, artifact)
    with serve_tiny() as another:
        another.writer = speak
        with pytest.raises(KilledError):
            run(tmp_path / "killed", another, base, dataset, artifact, say=stop)
    with serve_tiny() as third:  # the machine was started anew: nothing is loaded
        third.writer = speak
        resumed = run(tmp_path / "killed", third, base, dataset, artifact)
    assert resumed.validation == whole.validation
    for name in ("rec-v2", "rec-v3", "rec-v4"):
        one, other = (
            load_file(tmp_path / which / "adapters" / name / "adapter_model.safetensors")
            for which in ("whole", "killed")
        )
        assert all((one[key] == other[key]).all() for key in one)


def test_a_folder_of_another_loop_is_refused_by_the_setting_that_changed(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    out = tmp_path / "loop"
    out.mkdir()
    (out / "config.json").write_text(json.dumps(make_config().model_dump(mode="json")))
    with pytest.raises(ConfigError, match=r"other settings \(seed changed\)"):
        run(out, server, base, dataset, artifact, config=make_config(seed=1))


@pytest.mark.parametrize("name", packaged_loops())
def test_the_loops_that_come_along_can_be_read(name: str) -> None:
    assert load_loop_config(name).name == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a", "artifact: Field required"),
        ("- a", "holds list"),
        ("name: [", "is no YAML"),
        ("name: a\nartifact: b\nagent: {}\nstages: []\nvalidation: {users: 1, every: 1}", "nothing to train"),
        (
            "name: a\nartifact: b\nagent: {}\nstages: [{stage: play, steps: 1, users: 1, group_size: 2}]",
            "stages.0.stage",
        ),
        (
            "name: a\nartifact: b\nagent: {}\nstages: [{stage: interaction, steps: 1, users: 1, group_size: 1}]",
            "group_size",
        ),
    ],
)
def test_settings_that_cannot_work_name_the_field(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "loop.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_loop_config(file)


def test_settings_that_are_not_there_name_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no loop 'nowhere'.*smollm2-ml-100k"):
        load_loop_config("nowhere")
