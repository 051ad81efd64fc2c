"""An ablation over a real HTTP server that loads real adapters; only what the tiny model says is scripted."""

from __future__ import annotations

import fcntl
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deeprec.agent import TraceStore, fingerprint_adapter
from deeprec.agent.traces import RunFilter
from deeprec.evals import Suite, run_suite
from deeprec.training import AblationPlan, AblationResult, AblationTable, run_ablation
from deeprec.training.ablation.ablation import show_ablation
from deeprec.training.ablation.results import write_row
from deeprec.training.ablation.table import read_table
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder
from tests.tiny_server import TinyServer, serve_tiny

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
ROWS: dict[str, Any] = {
    "full": {"piece": "The full method"},
    "recommender": {"piece": "The method", "policy": "none", "system": "trm"},
    "deep-list": {"piece": "Searching", "policy": "none", "system": "deep-list"},
}
TRAINED: dict[str, Any] = {
    "warm-start": {"piece": "Training after the warm start", "policy": "start"},
    "untrained": {"piece": "Training", "policy": "untrained", "system": "deeprec-guided"},
    "dpo": {
        "piece": "DPO",
        "adds": True,
        "policy": "dpo",
        "dpo": {"batch_size": 8, "validation": 0},
        "change": {"stages": {"recommendation": {"steps": 4}}},
    },
}


def speak(prompt: str, rng: random.Random) -> str:
    """Sometimes the format, sometimes not, so that groups have something to differ in."""
    if rng.random() < 0.3:
        return "nothing that can be read"
    if "<|end_of_item_list|>" in prompt:
        numbers = "\n".join(map(str, rng.sample(range(1, 5), 3)))
        return f"<think>enough</think>\n<recommendation_list>\n{numbers}\n</recommendation_list>"
    preference = rng.choice(["drama", "comedy", "1990s"])
    return f"<think>maybe</think>\n<|begin_of_preference|>{preference}<|end_of_preference|>"


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serve_tiny() as running:
        running.writer = speak
        yield running


def make_plan(rows: dict[str, Any] = ROWS, **changes: Any) -> AblationPlan:
    loop = {
        "artifact": "tiny",
        "agent": {"k": 3, "retrieve_k": 4, "max_history": 3, "max_retrievals": 1, "max_turn_tokens": 200},
        "warm_start": {"users": 2, "group_size": 2, "best": 3},
        "stages": [{"stage": "recommendation", "steps": 1, "users": 3, "group_size": 3}],
        "validation": {"users": 2, "every": 9, "temperature": 0},
        "max_rank": 50,
        "interaction_share": 0.4,
        "device": "cpu",
    }
    test = {"version": "last", **changes.pop("test", {})}
    return AblationPlan.model_validate({"name": "tiny", "loop": loop | changes, "test": test, "rows": rows})


def run(
    plan: AblationPlan,
    out: Path,
    dataset: Dataset,
    artifact: Artifact,
    base: Path,
    server: TinyServer | None = None,
    **settings: Any,
) -> AblationTable:
    url = "http://127.0.0.1:9/v1" if server is None else server.base_url  # nothing answers there
    known = {"dataset": dataset, "artifact": artifact, "encoder": HashingEncoder(), "base": base, "base_url": url}
    return run_ablation(plan, out, **known, **settings)


@pytest.mark.slow
def test_rows_without_a_model_need_no_server_and_a_failed_row_does_not_lose_the_others(
    tmp_path: Path, dataset: Dataset, artifact: Artifact, tiny_base: Path
) -> None:
    out, said = tmp_path / "out", list[str]()
    table = run(make_plan(), out, dataset, artifact, tiny_base, say=said.append)
    assert [row.name for row in table.rows] == ["recommender", "deep-list"]
    assert list(table.failed) == ["full"]
    assert table.missing == ()
    assert {row.means["ndcg@3 filled"].n for row in table.rows} == {len(dataset.users)}
    sentences = table.sentences()
    assert sentences[0] == "The row full has not been measured, so that no piece has a worth yet."
    assert sentences[-1].startswith("The row full failed and has no figures: ")
    said.clear()
    again = run(make_plan(), out, dataset, artifact, tiny_base, say=said.append)
    assert again.to_dict()["rows"] == table.to_dict()["rows"]
    assert [line for line in said if "done before" in line] == ["recommender: done before", "deep-list: done before"]
    assert "full: begins" in said  # what failed is run again
    assert json.loads((out / "ablation.json").read_text()) == again.to_dict()
    with TraceStore(str(out / "traces.db"), create=False) as store:
        assert read_table(make_plan(), out, store).to_dict() == again.to_dict()


def test_a_row_that_does_not_exist_and_a_changed_plan_are_refused_before_anything_runs(
    tmp_path: Path, dataset: Dataset, artifact: Artifact, tiny_base: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"no row 'fulll' in size cpu\. It has full, recommender, deep-list"):
        run(make_plan(), out, dataset, artifact, tiny_base, rows=["fulll"])
    assert not out.exists()
    table = run(make_plan(), out, dataset, artifact, tiny_base, rows=["recommender"])
    assert [row.name for row in table.rows] == ["recommender"]
    assert table.missing == ("full", "deep-list")
    with pytest.raises(ConfigError, match=r"test\.users changed"):
        run(make_plan(test={"users": 5}), out, dataset, artifact, tiny_base)


@pytest.mark.slow
def test_rows_are_trained_from_the_parts_that_they_share_and_measured_on_the_same_people(
    tmp_path: Path, server: TinyServer, dataset: Dataset, artifact: Artifact, tiny_base: Path
) -> None:
    out, own = tmp_path / "out", tmp_path / "own.py"
    own.write_text("def length(trace):\n    return float(len(trace.run.history))\n")
    plan = make_plan(ROWS | TRAINED, rewards=[f"{own}:length"])
    table = run(plan, out, dataset, artifact, tiny_base, server, say=lambda line: None)
    assert not table.failed
    assert [row.name for row in table.rows] == list(plan.rows)
    kinds = sorted(path.name.rpartition("-")[0] for path in (out / "parts").iterdir())
    assert kinds == ["dpo", "recommendation", "warm-start"]
    policies = {row.name: row.result.policy for row in table.rows}
    assert policies["recommender"] is None
    assert policies["untrained"] == "tiny"
    assert str(policies["warm-start"]).startswith("rec-v1-")
    assert str(policies["full"]).startswith("rec-v2-")  # the stage begins with the warm start as its version 1
    assert str(policies["dpo"]).startswith("dpo-")
    with TraceStore(str(out / "traces.db")) as store:
        tested = {row.name: list(store.traces(RunFilter(label=str(row.result.suite)))) for row in table.rows}
        collected = [trace for trace in store.traces() if str(trace.run.suite).startswith("tiny-dpo-")]
    people = {name: sorted(str(trace.run.user_id) for trace in runs) for name, runs in tested.items()}
    assert all(people[name] == sorted(dataset.users) for name in plan.rows), people
    assert {trace.run.target_id for trace in tested["full"]} == {trace.run.target_id for trace in tested["recommender"]}
    assert {trace.run.guided for trace in tested["untrained"]} == {True}
    assert {trace.run.config["temperature"] for trace in tested["full"]} == {0}
    [dpo] = {trace.run.adapter_fingerprint for trace in tested["dpo"]}
    [folder] = (out / "parts").glob("dpo-*")
    assert dpo == fingerprint_adapter(folder / "adapter")
    groups = {trace.run.group_id for trace in collected}
    assert (len(collected), len(groups)) == (36, 12)  # as many runs as the stage would have
    assert len({trace.run.user_id for trace in collected}) < 12  # who come again
    assert {"length", "reward"} <= {reward.component for reward in collected[0].rewards}
    before = len(server.requests)
    again = run(plan, out, dataset, artifact, tiny_base, server, say=lambda line: None)
    assert again.to_dict() == table.to_dict()
    assert len(server.requests) == before


def test_any_error_fails_its_row_alone_and_seconds_of_failed_attempts_count(
    tmp_path: Path, dataset: Dataset, artifact: Artifact, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said, rows = tmp_path / "out", list[str](), ["deep-list", "recommender"]

    def fail_once(suite: Suite, *given: Any, **settings: Any) -> str:
        if suite.baseline == "deep-list":
            raise RuntimeError("out of memory")
        return run_suite(suite, *given, **settings)

    with monkeypatch.context() as patched:
        patched.setattr("deeprec.training.ablation.ablation.run_suite", fail_once)
        table = run(make_plan(), out, dataset, artifact, tiny_base, rows=rows, say=said.append)
    assert table.failed == {"deep-list": "RuntimeError: out of memory"}
    assert [row.name for row in table.rows] == ["recommender"]
    write_row(out, "deep-list", AblationResult(failed="RuntimeError: out of memory", seconds=1000))
    again = run(make_plan(), out, dataset, artifact, tiny_base, rows=rows, say=said.append)
    found = again.row("deep-list")
    assert found is not None
    assert found.result.seconds > 1000
    assert not again.failed


def test_a_table_is_that_of_the_plan_and_is_written_by_one_process_at_a_time(
    tmp_path: Path, dataset: Dataset, artifact: Artifact, tiny_base: Path
) -> None:
    out, said = tmp_path / "out", list[str]()
    made = run(make_plan(), out, dataset, artifact, tiny_base, rows=["recommender"], say=said.append)
    written = (out / "ablation.json").read_bytes()
    with pytest.raises(ConfigError, match=r"loop\.max_rank, test\.users changed"):
        show_ablation(make_plan(max_rank=7, test={"users": 2}), out)
    assert (out / "ablation.json").read_bytes() == written
    (out / "ablation.json").unlink()
    with (out / "ablation.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert show_ablation(make_plan(), out, say=said.append).to_dict() == made.to_dict()
    assert said[-1].startswith("ablation.json was not written: Another process runs the ablation")
    assert not (out / "ablation.json").exists()
    show_ablation(make_plan(), out)
    assert (out / "ablation.json").read_bytes() == written


def test_an_ablation_goes_on_with_a_fingerprint_of_its_base_model_of_an_earlier_kind(
    tmp_path: Path, dataset: Dataset, artifact: Artifact, tiny_base: Path
) -> None:
    out = tmp_path / "out"
    run(make_plan(), out, dataset, artifact, tiny_base, rows=["recommender"], say=lambda line: None)
    plan = json.loads((out / "plan.json").read_text())
    plan["fingerprints"]["base"] = plan["fingerprints"]["base"].partition("-")[0]
    (out / "plan.json").write_text(json.dumps(plan))
    run(make_plan(), out, dataset, artifact, tiny_base, rows=["recommender"], say=lambda line: None)
