"""The loop over a real HTTP server that loads real adapters; only what the tiny model says is scripted."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from deeprec.agent import TraceStore, fingerprint_adapter, load_adapter
from deeprec.evals import REWARD_SCHEME
from deeprec.training import (
    AdapterConfig,
    AdapterLineage,
    LoopConfig,
    LoopResult,
    TrainingError,
    load_policy,
    read_lineage,
    run_loop,
    save_adapter,
    write_lineage,
)
from deeprec.training.loop.course import locked
from deeprec.training.loop.curves import plot_loop
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder, RecommenderIdentity
from tests.small_recommender import CoOccurrence
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
    preference = rng.choice(["drama", "comedy", "1990s"])
    return f"<think>maybe</think>\n<|begin_of_preference|>{preference}<|end_of_preference|>"


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serve_tiny() as running:
        running.writer = speak
        yield running


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


def make_config(**changed: object) -> LoopConfig:
    settings = {
        "name": "tiny",
        "data": "tiny",
        "artifact": "tiny",
        "agent": {"k": 3, "retrieve_k": 4, "max_history": 3, "max_retrievals": 2, "max_turn_tokens": 200},
        "warm_start": {"users": 2, "group_size": 2, "best": 3, "epochs": 1, "lists": "fused"},
        "stages": [
            {"stage": "interaction", "steps": 2, "users": 2, "group_size": 3},
            {"stage": "recommendation", "steps": 1, "users": 2, "group_size": 3},
        ],
        "validation": {"users": 3, "every": 2, "temperature": 0},
        "max_rank": 50,
        "interaction_share": 0.4,
        "concurrency": 4,
        "device": "cpu",
    }
    return LoopConfig.model_validate(settings | changed)


def labels(store: TraceStore) -> set[str]:
    """The suites of all runs, without the fingerprint of the settings."""
    return {str(trace.run.suite) for trace in store.traces()}


def versions(server: TinyServer) -> list[str]:
    """The versions that a server has, without the identity of the loop."""
    return [name.rsplit("-", 1)[0] for name in server.adapters]


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
    out, said = tmp_path / "loop", list[str]()
    result = run(out, server, base, dataset, artifact, say=said.append)
    assert versions(server) == ["rec-v1", "rec-v2", "rec-v3", "rec-v4"]
    with TraceStore(out.with_suffix(".db")) as store:
        wrote: dict[str, set[str | None]] = {}
        sampled_at: dict[str, set[object]] = {}
        for trace in store.traces():
            label = re.fullmatch(r"tiny-[0-9a-f]{8}(?:/|-valid@\w+$)(.*)", str(trace.run.suite))
            assert label is not None, trace.run.suite
            version = trace.run.adapter_version
            wrote.setdefault(label[1], set()).add(version and version[:6])
            if version is not None:
                folder = out / "adapters" / version[:6]
                assert trace.run.adapter_fingerprint == fingerprint_adapter(folder)
            assert trace.run.logprobs_mode == (None if label[1] == "" else "processed")
            if trace.turns:
                sampled_at.setdefault(label[1], set()).add(trace.run.config["temperature"])
        people = {
            stage: {trace.run.user_id for trace in store.traces() if f"/{stage}/" in str(trace.run.suite)}
            for stage in ("interaction", "recommendation")
        }
        scored = [
            {each.scheme for each in trace.rewards}
            for trace in store.traces()
            if str(trace.run.suite).endswith("/recommendation/0000")
        ]
    assert wrote == {
        "": {None, "rec-v1", "rec-v3", "rec-v4"},  # validation
        "warm-start": {None},
        "interaction/0000": {"rec-v1"},
        "interaction/0001": {"rec-v2"},
        "recommendation/0000": {"rec-v3"},
    }
    assert sampled_at == {label: {0 if label == "" else 1} for label in wrote}
    assert not people["interaction"] & people["recommendation"]
    assert all({"deeprec", "stage-recommendation"} <= schemes for schemes in scored)
    assert set(result.validation) == {"untrained", "trm", "rec-v1", "rec-v3", "rec-v4"}
    ndcg = {name: measures["ndcg@3 written"] for name, measures in result.validation.items() if name != "trm"}
    assert None not in ndcg.values()
    verdicts = [
        match
        for line in said
        if (match := re.fullmatch(r"(rec-v\d) (?:is|and) .* (is kept|is the best now)\b.*", line))
    ]
    assert [match[1] for match in verdicts] == ["rec-v1", "rec-v3", "rec-v4"]
    assert result.best == next((match[1] for match in reversed(verdicts) if match[2] == "is the best now"), "untrained")
    assert any(re.match(r"rec-v4 (is|and) .* in ndcg@3 written.*: .* is (kept|the best now)", line) for line in said)
    lineage = read_lineage(out / "adapters" / "rec-v4")
    assert (lineage.name, lineage.method, lineage.stage) == (list(server.adapters)[-1], "grpo", "recommendation")
    assert lineage.parent == list(server.adapters)[-2]
    assert lineage.trm_fingerprint == artifact.fingerprint
    weights = [load_file(out / "adapters" / f"rec-v{n}" / "adapter_model.safetensors") for n in (1, 4)]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


def test_the_curves_of_a_loop_are_drawn_from_its_folder(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    run(tmp_path / "loop", server, base, dataset, artifact)
    warm, steps, validation = plot_loop(tmp_path / "loop").axes
    assert len(warm.lines[0].get_xdata()) == 1
    assert [list(line.get_xdata()) for line in steps.lines[:1]] == [[1, 2]]
    assert [text.get_text() for text in steps.texts] == ["interaction", "recommendation"]
    assert list(validation.lines[0].get_xdata()) == ["untrained", "rec-v1", "rec-v3", "rec-v4"]
    with pytest.raises(ConfigError, match="is not the folder of a loop"):
        plot_loop(tmp_path)


def test_a_loop_on_requests_learns_from_groups_of_one_request_and_is_validated_on_others(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    stage = {"stage": "recommendation", "steps": 1, "users": 2, "group_size": 3, "weights": {"supported": 0.5}}
    changes = {"requests": "made", "warm_start": None, "stages": [stage], "interaction_share": 0.0}
    # The texts of version 1 know no card; those of words are in the next test.
    result = run(tmp_path / "loop", server, base, dataset, artifact, config=make_config(**changes))
    with TraceStore(tmp_path / "loop.db") as store:
        trained = [trace for trace in store.traces() if str(trace.run.suite).endswith("/recommendation/0000")]
        validated = [trace for trace in store.traces() if "-valid@" in str(trace.run.suite)]
    groups: dict[str | None, set[str | None]] = {}
    for trace in trained:
        groups.setdefault(trace.run.group_id, set()).add(trace.run.message)
    assert [len(messages) for messages in groups.values()] == [1, 1]
    messages = {message for of_group in groups.values() for message in of_group}
    assert None not in messages
    assert messages.isdisjoint({trace.run.message for trace in validated})
    assert {trace.case.conversation is None for trace in validated if trace.case} == {False}
    assert {reward.component for trace in trained for reward in trace.rewards} >= {"supported", "reward"}
    assert set(result.validation) == {"untrained", "trm", "rec-v1"}
    before = load_file(tmp_path / "loop" / "adapters" / "rec-v1" / "adapter_model.safetensors")
    assert any(weights.any() for name, weights in before.items() if "lora_B" in name)  # untrained, they are all zero


def hear(prompt: str, rng: random.Random) -> str:
    """What a policy with the prompts `words` writes behind the tag that the prompt has opened."""
    if prompt.endswith("<recommendation_list>\n"):
        return "\n".join(map(str, rng.sample(range(1, 21), 10))) + "\n</recommendation_list>"
    return rng.choice(["drama", "comedy", "not horror"]) + "<|end_of_preference|>"


def test_a_loop_on_requests_with_the_prompts_of_words_rewards_the_rank_of_the_target(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    server.writer = hear
    server.adapters["smollm2-135m-words-v2"] = server.model  # which the policy without an adapter is validated without
    stage = {"stage": "recommendation", "steps": 1, "users": 2, "group_size": 3}
    agent = {"retrieve_k": 20, "max_history": 3, "max_retrievals": 1, "prompts": "words"}
    changes = {"requests": "made", "warm_start": None, "stages": [stage], "interaction_share": 0.0, "agent": agent}
    changes["max_rank"] = 6  # so that some of the targets are found
    changes["grpo"] = {"credit": "token", "importance_sampling_level": "item"}
    run(tmp_path / "loop", server, base, dataset, artifact, config=make_config(**changes))
    with TraceStore(tmp_path / "loop.db") as store:
        trained = [trace for trace in store.traces() if str(trace.run.suite).endswith("/recommendation/0000")]
        rewards = store.rewards([trace.run.run_id for trace in trained], REWARD_SCHEME)
        adapters = {
            trace.run.system: trace.run.adapter_version for trace in store.traces() if "-valid@" in str(trace.run.suite)
        }
    assert adapters["untrained"] is None
    assert len(trained) == 6
    assert {rewards[trace.run.run_id]["hit"] for trace in trained} == {0.0, 1.0}
    for trace in trained:
        assert [turn.action for turn in trace.turns] == ["retrieve", "recommend"]
        listed = [entry.item_id for entry in trace.written]
        target = str(trace.run.target_id)
        at = listed.index(target) if target in listed else 10
        assert rewards[trace.run.run_id]["rank"] == pytest.approx(0.2 * (10 - at))
        assert rewards[trace.run.run_id]["hit"] == (target in listed)
        assert trace.run.prompt_version == "words-2"


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "at", ["guided runs: 1 of", "steps of the warm start: 1 of", "rec-v1 on", "rec-v2:", "rec-v3 on", "rec-v4:"]
)
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


def test_a_loop_that_collects_ahead_learns_from_runs_of_the_version_before_the_newest_and_goes_on_to_the_same_end(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    stage = {"stage": "interaction", "steps": 3, "users": 2, "group_size": 3}
    config = make_config(warm_start=None, stages=[stage], collect_ahead=True)

    def stop(line: str) -> None:
        if line.startswith("rec-v2: "):
            raise KilledError

    run(tmp_path / "whole", server, base, dataset, artifact, config=config)
    with serve_tiny() as another:
        another.writer = speak
        with pytest.raises(KilledError):
            run(tmp_path / "killed", another, base, dataset, artifact, config=config, say=stop)
        run(tmp_path / "killed", another, base, dataset, artifact, config=config)
    one, other = (
        load_file(tmp_path / which / "adapters" / "rec-v3" / "adapter_model.safetensors")
        for which in ("whole", "killed")
    )
    assert all((one[name] == other[name]).all() for name in one)
    with TraceStore(tmp_path / "killed.db") as store:
        wrote = {
            (str(trace.run.suite)[-4:], (trace.run.adapter_version or "none")[:6])
            for trace in store.traces()
            if "/interaction/" in str(trace.run.suite)
        }
    assert wrote == {("0000", "none"), ("0001", "none"), ("0002", "rec-v1")}
    log = [json.loads(line) for line in (tmp_path / "whole" / "interaction" / "log.jsonl").read_text().splitlines()]
    assert [line["staleness/max"] for line in log] == [0, 1, 1]
    with pytest.raises(ConfigError, match="collect_ahead"):
        run(tmp_path / "whole", server, base, dataset, artifact, config=make_config(warm_start=None, stages=[stage]))


def test_a_loop_with_rare_checkpoints_keeps_the_versions_that_the_last_one_needs(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    """It goes on after its third step, for which version 2 had collected."""
    stage = {"stage": "interaction", "steps": 6, "users": 1, "group_size": 3}
    validation = {"users": 2, "every": 99, "temperature": 0}
    config = make_config(
        warm_start=None, stages=[stage], collect_ahead=True, grpo={"checkpoint_every": 3}, validation=validation
    )

    def stop(line: str) -> None:
        if line.startswith("rec-v6: "):
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path / "loop", server, base, dataset, artifact, config=config, say=stop)
    run(tmp_path / "loop", server, base, dataset, artifact, config=config)


SMALL = make_config(stages=[], warm_start={"users": 1, "group_size": 1, "best": 1})


def test_a_loop_that_has_ended_goes_on_with_more_steps_another_rhythm_and_an_artifact_that_moved(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    stage = {"stage": "interaction", "steps": 1, "users": 2, "group_size": 3}
    short = make_config(stages=[stage], warm_start=None)
    run(tmp_path / "loop", server, base, dataset, artifact, config=short)
    with TraceStore(tmp_path / "loop.db") as store:
        before = labels(store)
    longer = make_config(
        stages=[stage | {"steps": 3}],
        warm_start=None,
        artifact="moved",
        validation={"users": 3, "every": 1, "temperature": 0},
        grpo={"report_to": []},
    )
    result = run(tmp_path / "loop", server, base, dataset, artifact, config=longer)
    assert versions(server) == ["rec-v1", "rec-v2", "rec-v3"]
    assert set(result.validation) == {"untrained", "trm", "rec-v1", "rec-v2", "rec-v3"}
    with TraceStore(tmp_path / "loop.db") as store:
        assert {label.split("/")[0] for label in labels(store)} == {label.split("/")[0] for label in before}


def test_a_folder_of_another_loop_is_refused_by_what_changed(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    out = tmp_path / "loop"
    run(out, server, base, dataset, artifact, config=SMALL)
    with pytest.raises(ConfigError, match=r"other settings \(seed changed\)"):
        run(out, server, base, dataset, artifact, config=SMALL.model_copy(update={"seed": 1}))
    with pytest.raises(ConfigError, match=r"other settings \(trm_fingerprint changed\)"):
        run(out, server, base, dataset, dataclasses.replace(artifact, fingerprint="another"), config=SMALL)
    run(out, server, base, dataset, artifact, config=SMALL.model_copy(update={"concurrency": 1}))  # of the machine


def test_two_loops_on_one_server_keep_apart(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    """Same name, same store, another learning rate."""
    other = SMALL.warm_start.model_copy(update={"learning_rate": 0.01})  # type: ignore[union-attr]
    settings = {"dataset": dataset, "artifact": artifact, "encoder": HashingEncoder(), "base": base}
    with TraceStore(tmp_path / "one.db") as store:
        both = {"store": store, "base_url": server.base_url, **settings}
        run_loop(SMALL, tmp_path / "one", **both)  # type: ignore[arg-type]
        before = labels(store)
        run_loop(SMALL.model_copy(update={"warm_start": other}), tmp_path / "two", **both)  # type: ignore[arg-type]
        assert len(labels(store)) == 2 * len(before)
        sampled = {trace.run.adapter_version: trace.run.adapter_fingerprint for trace in store.traces()}
    assert versions(server) == ["rec-v1", "rec-v1"]
    lineages = [read_lineage(tmp_path / out / "adapters" / "rec-v1").name for out in ("one", "two")]
    assert lineages == list(server.adapters)
    for out, name in zip(("one", "two"), lineages, strict=True):
        assert sampled[name] == fingerprint_adapter(tmp_path / out / "adapters" / "rec-v1")


def test_a_folder_has_one_loop_at_a_time(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    with locked(tmp_path / "loop"), pytest.raises(ConfigError, match="Another process runs the loop in"):
        run(tmp_path / "loop", server, base, dataset, artifact, config=SMALL)
    assert not server.requests
    assert not (tmp_path / "loop" / "config.json").exists()


def test_a_resumed_loop_checks_the_server_again(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    """The loop is one from before names carried an identity, and another loop has meanwhile taken its name."""
    out = tmp_path / "loop"
    run(out, server, base, dataset, artifact, config=SMALL)
    state = json.loads((out / "loop.json").read_text())
    (out / "loop.json").write_text(json.dumps({name: state[name] for name in ("version", "validation", "best")}))
    run(out, server, base, dataset, artifact, config=SMALL)
    assert list(server.adapters)[1:] == ["rec-v1"]  # the old name goes on
    foreign = tmp_path / "foreign"
    save_adapter(load_policy(base, lora=AdapterConfig(), seed=5).model, foreign)
    server.roots["rec-v1"] = str(foreign)
    with pytest.raises(ConfigError, match="has another adapter under the name rec-v1"):
        run(out, server, base, dataset, artifact, config=SMALL)


def test_a_server_of_another_base_model_is_refused(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    server.root = str(write_tiny_base(tmp_path / "other", seed=3))
    with pytest.raises(ConfigError, match="serves another base model"):
        run(tmp_path / "loop", server, base, dataset, artifact, config=SMALL)


def test_more_users_than_there_are_and_unknown_rewards_are_refused_before_anything_starts(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    many = [{"stage": "interaction", "steps": 1, "users": 99, "group_size": 2}]
    with pytest.raises(ConfigError, match="interaction asks for 99 users a step, and has"):
        run(tmp_path / "a", server, base, dataset, artifact, config=make_config(stages=many))
    mine = [{"stage": "interaction", "steps": 1, "users": 1, "group_size": 2, "weights": {"mine": 1}}]
    with pytest.raises(ConfigError, match="'mine', which nothing computes"):
        run(tmp_path / "b", server, base, dataset, artifact, config=make_config(stages=mine))
    assert not server.requests
    assert not list(tmp_path.glob("*/config.json"))


def test_a_loop_learns_with_a_recommender_of_ones_own(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset
) -> None:
    counts = CoOccurrence(dataset.catalogue, [dataset.history(user, 3) for user in dataset.users])
    counts.identity = RecommenderIdentity(fingerprint="counts", dataset_fingerprint=dataset.fingerprint, holdout=3)
    stage = {"stage": "recommendation", "steps": 1, "users": 2, "group_size": 3}
    with (
        TraceStore(tmp_path / "loop.db") as store,
        pytest.raises(ConfigError, match=r"'similarity', which nothing computes.*give the weight 0"),
    ):
        run_loop(
            make_config(stages=[stage | {"preset": "paper"}]),
            tmp_path / "loop",
            store=store,
            dataset=dataset,
            artifact=counts,
            base=base,
            base_url=server.base_url,
        )
    assert not server.requests
    with TraceStore(tmp_path / "loop.db") as store:
        result = run_loop(
            make_config(stages=[stage]),
            tmp_path / "loop",
            store=store,
            dataset=dataset,
            artifact=counts,
            base=base,
            base_url=server.base_url,
        )
        assert set(result.validation) == {"untrained", "trm", "rec-v1", "rec-v2"}
        runs = [trace.run for trace in store.traces() if trace.run.system == "collect"]
        assert {run.trm_fingerprint for run in runs} == {"counts"}
        components = store.rewards([run.run_id for run in runs], REWARD_SCHEME)
        computed = {name for each in components.values() for name in each}
        assert computed == {"format", "invocations", "found", "hit", "rank"}
    assert read_lineage(tmp_path / "loop" / "adapters" / "rec-v2").trm_fingerprint == "counts"


def test_a_reward_of_ones_own_is_learned_from(
    tmp_path: Path,
    server: TinyServer,
    base: Path,
    dataset: Dataset,
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # the path is one of the settings, which the draws depend on
    Path("rewards.py").write_text("def turns(trace):\n    return float(len(trace.turns))\n")
    stage = [{"stage": "interaction", "steps": 2, "users": 2, "group_size": 4}]
    run(
        tmp_path / "loop",
        server,
        base,
        dataset,
        artifact,
        config=make_config(stages=stage, rewards=["rewards.py:turns"], grpo={"loss_type": "grpo", "report_to": []}),
    )
    with TraceStore(tmp_path / "loop.db") as store:
        [trace, *_] = [trace for trace in store.traces() if "/interaction/" in str(trace.run.suite)]
    assert {each.component: each.value for each in trace.rewards}["turns"] == len(trace.turns)


FAST = [{"stage": "interaction", "steps": 4, "users": 2, "group_size": 3, "learning_rate": 0.5}]


def keep_first_version(server: TinyServer, monkeypatch: pytest.MonkeyPatch, *, shows: bool) -> None:
    """Have a server go on with the first version's weights, whatever it is asked to load, and show them or not."""

    async def stale(base_url: str, name: str, folder: Path) -> None:
        if name not in server.adapters:
            await load_adapter(base_url, name, folder.parent / "rec-v1")
            if not shows:
                server.roots[name] = "/nowhere"  # as on another machine

    monkeypatch.setattr("deeprec.training.loop.loop.load_adapter", stale)


def test_a_policy_that_left_its_runs_ends_the_loop_by_name(
    tmp_path: Path,
    server: TinyServer,
    base: Path,
    dataset: Dataset,
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_first_version(server, monkeypatch, shows=False)
    config = make_config(warm_start=None, stages=FAST, grpo={"max_logprob_gap": 0.01})
    with pytest.raises(TrainingError, match=r"could not be trained.*nats per token from the policy's own") as ended:
        run(tmp_path / "loop", server, base, dataset, artifact, config=config)
    failed = str(ended.value).split()[0]
    assert failed in ("rec-v3", "rec-v4")  # the one after, where the draws of a step are all alike
    assert not (tmp_path / "loop" / "adapters" / failed).exists()


def test_other_weights_under_the_name_of_a_version_end_the_loop_by_name(
    tmp_path: Path,
    server: TinyServer,
    base: Path,
    dataset: Dataset,
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_first_version(server, monkeypatch, shows=True)  # nothing is learned from the first runs of the wrong weights
    with pytest.raises(ConfigError, match=r"was sampled by the adapter rec-v[23]-\w+ with the weights"):
        run(tmp_path / "loop", server, base, dataset, artifact, config=make_config(warm_start=None, stages=FAST))


def test_a_loop_begins_with_an_adapter_that_is_given(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    adapter = tmp_path / "given"
    save_adapter(load_policy(base, lora=AdapterConfig(), seed=5).model, adapter)
    stage = [{"stage": "interaction", "steps": 1, "users": 2, "group_size": 8}]
    config = make_config(warm_start=None, start=adapter, stages=stage)
    result = run(tmp_path / "loop", server, base, dataset, artifact, config=config)
    assert versions(server) == ["rec-v1", "rec-v2"]
    assert {"rec-v1", "rec-v2"} < set(result.validation)
    assert [axes.get_title() for axes in plot_loop(tmp_path / "loop").axes] == ["GRPO", "validation targets"]
    first, second = (read_lineage(tmp_path / "loop" / "adapters" / f"rec-v{n}") for n in (1, 2))
    assert (first.method, first.settings["start"], first.parent) == ("given", adapter.name, None)
    assert (second.method, second.parent) == ("grpo", first.name)
    taken = tmp_path / "loop" / "adapters" / "rec-v1" / "adapter_model.safetensors"
    assert taken.read_bytes() == (adapter / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(adapter)  # the loop has its own
    assert run(tmp_path / "loop", server, base, dataset, artifact, config=config).validation == result.validation


def test_what_another_adapter_of_the_same_path_began_is_another_loop(
    tmp_path: Path, server: TinyServer, base: Path, dataset: Dataset, artifact: Artifact
) -> None:
    adapter = tmp_path / "given"
    stage = [{"stage": "interaction", "steps": 1, "users": 2, "group_size": 8}]
    config = make_config(warm_start=None, start=adapter, stages=stage)
    settings = {"dataset": dataset, "artifact": artifact, "encoder": HashingEncoder(), "base": base}
    with TraceStore(tmp_path / "one.db") as store:
        for seed in (5, 6):
            save_adapter(load_policy(base, lora=AdapterConfig(), seed=seed).model, adapter)
            with serve_tiny() as fresh:
                fresh.writer = speak
                run_loop(config, tmp_path / str(seed), store=store, base_url=fresh.base_url, **settings)  # type: ignore[arg-type]
        assert len({label.split("/")[0] for label in labels(store) if "/" in label}) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_dropout": 0.1}, "with dropout 0.1"),
        ({"rank": 32}, "has rank 32; servers take 16 at most"),
        ({"files": ()}, "is not a LoRA adapter"),
        ({"base": 2}, "it is of another base model"),
        ({"lineage": "0123"}, "trained on another base model: 0123"),
    ],
)
def test_an_adapter_that_cannot_be_begun_with_is_refused_before_anything_starts(
    tmp_path: Path,
    server: TinyServer,
    base: Path,
    dataset: Dataset,
    artifact: Artifact,
    change: dict[str, Any],
    message: str,
) -> None:
    adapter, of = tmp_path / "given", base
    if "base" in change:
        of = write_tiny_base(tmp_path / "base")
        settings = json.loads((of / "config.json").read_text())
        wide = LlamaConfig(**settings | {"hidden_size": 2 * settings["hidden_size"]})
        LlamaForCausalLM(wide).save_pretrained(of)
    if "files" not in change:
        rank = change.get("rank", 16)
        save_adapter(load_policy(of, lora=AdapterConfig(rank=rank)).model, adapter)
        file = adapter / "adapter_config.json"
        if "lora_dropout" in change:
            file.write_text(json.dumps(json.loads(file.read_text()) | change))
    if "lineage" in change:
        lineage = AdapterLineage(
            name="a",
            parent=None,
            base="b",
            base_fingerprint=change["lineage"],
            method="sft",
            stage=None,
            step=0,
            suite=None,
            dataset_fingerprint="d",
            trm_fingerprint="t",
        )
        write_lineage(adapter, lineage)
    stage = [{"stage": "interaction", "steps": 1, "users": 2, "group_size": 8}]
    config = make_config(warm_start=None, start=adapter, stages=stage)
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "loop", server, base, dataset, artifact, config=config)
    assert not (tmp_path / "loop").exists()


def test_the_server_that_a_loop_starts_computes_in_its_dtype(
    tmp_path: Path,
    server: TinyServer,
    base: Path,
    dataset: Dataset,
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    class Started:
        base_url = server.base_url

        def wait_healthy(self, on_progress: Any) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    def make_server(*_: Any, **settings: Any) -> Started:
        asked.update(settings)
        return Started()

    monkeypatch.setattr("deeprec.training.loop.loop.make_server", make_server)
    config = make_config(stages=[], dtype="bfloat16", server_args=["--seed", "3"])
    with TraceStore(tmp_path / "one.db") as store:
        run_loop(
            config,
            tmp_path / "loop",
            store=store,
            dataset=dataset,
            artifact=artifact,
            encoder=HashingEncoder(),
            base=base,
        )
    assert (asked["dtype"], asked["vllm_args"]) == ("bfloat16", ("--seed", "3"))
