"""Recommender feedback end to end, over a real HTTP server that loads the adapter which DPO has trained."""

from __future__ import annotations

import copy
import fcntl
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from deeprec.agent import TraceStore, fingerprint_adapter
from deeprec.agent.traces import RunFilter, read_pairs
from deeprec.training import (
    FeedbackConfig,
    FeedbackResult,
    read_knowledge_runs,
    report_lines,
    run_feedback,
)
from deeprec.training.feedback.feedback import LOCK
from deeprec.trm_tool import (
    Artifact,
    Catalogue,
    ConfigError,
    Dataset,
    HashingEncoder,
    Retriever,
    load_sasrec,
    save_artifact,
)
from tests.tiny_server import TinyServer

pytest.importorskip("recbole", reason="needs the extra [trm]")
pytest.importorskip("trl", reason="needs the extra [train]")


def config(**changed: Any) -> FeedbackConfig:
    small = {"people": 5, "test_people": 5, "group_size": 3, "epochs": 1, "device": "cpu", "concurrency": 4}
    return FeedbackConfig(**(small | changed))


def feed_back(
    server: TinyServer, store: TraceStore, dataset: Dataset, base: Path, out: Path, **changed: Any
) -> FeedbackResult:
    said: list[str] = []
    result = run_feedback(
        config(**changed),
        out,
        store=store,
        dataset=dataset,
        encoder=HashingEncoder(),
        base=base,
        base_url=server.base_url,
        say=said.append,
    )
    assert not [line for line in said if "epoch" in line and "nan" in line]
    return result


def listening(artifact: Artifact, dataset: Dataset, folder: Path) -> None:
    """Write a recommender whose ranking depends much on preferences, as if an earlier call had trained it."""
    folder.parent.mkdir(parents=True)
    save_artifact(
        folder,
        artifact.model,
        dataset.catalogue,
        encoder_id=HashingEncoder().id,
        text_embeddings=artifact.text_embeddings,
        popularity=artifact.popularity,
        dataset_fingerprint=dataset.fingerprint,
        holdout=3,
        trust=0.5,
        metrics={},
        seed=3,
    )


@pytest.mark.slow
def test_the_whole_way_and_that_it_is_gone_only_once(
    server: TinyServer, store: TraceStore, dataset: Dataset, artifact: Artifact, tiny_base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "feedback"
    listening(artifact, dataset, out / "recommenders" / "untuned-trm")  # one epoch on 12 people would not listen
    result = feed_back(server, store, dataset, tiny_base, out)
    runs = list(read_knowledge_runs(store))
    [name] = server.adapters
    label = name.removesuffix("-v1")
    wrote = {
        (policy, split): sum(run.run_id in ids for run in runs)
        for policy, split in (
            *(("untuned", split) for split in ("learn", "train", "valid", "test")),
            *(("tuned", split) for split in ("learn", "valid", "test")),
        )
        for ids in [{id_ for page in store.run_ids(RunFilter(label=f"{label}/{policy}/{split}")) for id_ in page}]
    }
    assert wrote == {
        ("untuned", "learn"): 5,
        ("untuned", "train"): 15,
        ("untuned", "valid"): 5,
        ("untuned", "test"): 15,
        ("tuned", "learn"): 5,
        ("tuned", "valid"): 5,
        ("tuned", "test"): 5,
    }
    for trace in store.traces(RunFilter(label=f"{label}/tuned/test")):
        assert trace.run.adapter == name
    folder = out / "recommenders"
    made = {
        "trm": Retriever.load(folder / "untuned-trm", HashingEncoder()),
        "sasrec": load_sasrec(folder / "untuned-sasrec" / "sasrec.safetensors", dataset, HashingEncoder()),
    }
    scheme = {backbone: f"knowledge-{backbone}-{each.identity.fingerprint[:8]}" for backbone, each in made.items()}
    pairs = read_pairs(store, label)
    train = {run.run_id: run for run in runs if run.split == "train"}
    assert pairs
    for pair in pairs:
        assert train[pair.chosen_id].group_id == train[pair.rejected_id].group_id
        scores = store.rewards([pair.chosen_id, pair.rejected_id], scheme["trm"])
        assert scores[pair.chosen_id]["score"] == pair.chosen_reward > pair.rejected_reward
    assert set(train) == {*store.rewards(list(train), scheme["sasrec"])}
    assert not store.rewards([run.run_id for run in runs if run.split == "test"], scheme["trm"])
    assert Retriever.load(result.recommenders["trm"], HashingEncoder()).holdout == 3
    realigned = result.recommenders["sasrec"] / "sasrec.safetensors"
    assert load_sasrec(realigned, dataset, HashingEncoder()).identity.holdout == 3

    kept = json.loads((out / "results.json").read_text())
    assert kept == result.report.to_dict()
    for each in result.report.backbones:
        assert len(each.rows) == 12
        of = {(row.row, row.depth): row.metrics["map"].mean for row in each.rows}
        for depth in (20, 100):
            assert of["best of N (knows the target)", depth] >= of["untuned knowledge", depth]
        assert {*each.agreement} > {"the next item of the person"}
    lines = report_lines(result.report)
    assert any("re-aligned on tuned knowledge" in line for line in lines)
    assert (
        sum("less untuned knowledge" in line for line in lines) == 2 * 2 * 2
    )  # tuned and re-aligned, 2 depths and backbones

    asked, before = len(server.requests), {path: path.stat().st_mtime for path in out.rglob("*.safetensors")}
    again = feed_back(server, store, dataset, tiny_base, out)
    assert len(server.requests) == asked
    assert {path: path.stat().st_mtime for path in out.rglob("*.safetensors")} == before
    assert again.report.to_dict() == kept
    for run in (trace.run for trace in store.traces(RunFilter(label=f"{label}/tuned/test"))):
        assert run.adapter_fingerprint == fingerprint_adapter(result.adapter)
    weights = result.adapter / "adapter_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights)  # as of another folder
    with pytest.raises(ConfigError, match="has knowledge of another policy or other settings: adapter_fingerprint"):
        feed_back(server, store, dataset, tiny_base, out)
    with pytest.raises(ConfigError, match="began with other settings: group_size was 3 and is 2"):
        feed_back(server, store, dataset, tiny_base, out, group_size=2)


def test_scores_that_are_all_equal_give_no_pair_and_say_so(
    server: TinyServer, store: TraceStore, dataset: Dataset, artifact: Artifact, tiny_base: Path, tmp_path: Path
) -> None:
    deaf = copy.deepcopy(artifact.model)
    for parameter in deaf.preference_head.parameters():
        parameter.data.zero_()  # whatever is known, the ranking is that of the history
    out = tmp_path / "feedback"
    listening(replace(artifact, model=deaf), dataset, out / "recommenders" / "untuned-trm")
    with pytest.raises(ConfigError, match="None of 3 groups gives a pair at a margin of 0: 3 equal rewards"):
        feed_back(server, store, dataset, tiny_base, out, backbones=("trm",), people=3, test_people=2, group_size=2)
    assert not (out / "dpo").exists()
    second = tmp_path / "second"  # the same runs, and another recommender, whose scores are its own
    listening(artifact, dataset, second / "recommenders" / "untuned-trm")
    (second / "dpo").mkdir()
    with (second / "dpo" / "training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="Another process trains in"):  # so that it ends behind the pairs
            feed_back(
                server, store, dataset, tiny_base, second, backbones=("trm",), people=3, test_people=2, group_size=2
            )
    [label] = {str(run.suite).split("/")[0] for run in (trace.run for trace in store.traces())}
    assert read_pairs(store, label)


def test_a_catalogue_without_attributes_is_refused_before_anything_starts(
    server: TinyServer, store: TraceStore, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    bare = Catalogue([replace(item, attributes={}) for item in dataset.catalogue], {})
    with pytest.raises(ConfigError, match="no factor to write knowledge about"):
        feed_back(server, store, replace(dataset, catalogue=bare), tiny_base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"group_size": 1}, "one piece of knowledge is neither best nor worst"),
        ({"backbones": ()}, "backbones is empty"),
        ({"backbones": ("trm", "bert")}, "Name each of trm and sasrec"),
        ({"people": 0}, "people is 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config(**setting)


def test_a_server_of_another_base_model_is_refused_before_anything_is_written(
    server: TinyServer, store: TraceStore, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    server.root = str(shutil.copytree(tiny_base, tmp_path / "other"))
    with (tmp_path / "other" / "config.json").open("a") as changed:
        changed.write("\n")
    with pytest.raises(ConfigError, match="serves another base model"):
        feed_back(server, store, dataset, tiny_base, tmp_path / "out")
    assert not list(store.traces())


def test_a_folder_is_of_one_process_at_a_time(
    server: TinyServer, store: TraceStore, dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="Another process runs the recommender feedback in"):
            feed_back(server, store, dataset, tiny_base, tmp_path / "out")
    assert not list(store.traces())
