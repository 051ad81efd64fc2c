"""`deeprec train sft|grpo` over a real store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from transformers import LlamaForCausalLM

from deeprec.agent import TraceStore, fingerprint_adapter, fingerprint_base
from deeprec.agent.cli.main import main
from deeprec.agent.traces import RunTrace, TurnRecord
from deeprec.training import read_lineage
from tests.made_runs import made_run, store_runs
from tests.training.tiny_policy import make_rollout

COMPONENTS = {"format": 0.0, "similarity": 0.0, "rank": 0.0}


def logged_run(model: LlamaForCausalLM, seed: int, group: str, **changes: Any) -> RunTrace:
    """A run whose tokens the tiny model wrote."""
    rollout = make_rollout(model, seed=seed, turns=((9, 5), (6, 4)))
    ids, logprobs = rollout.token_ids.tolist(), rollout.logprobs.tolist()
    turns, end = [], 0
    for position, (added, wrote) in enumerate(((9, 5), (6, 4))):
        start, end = end + added, end + added + wrote
        turns.append(
            TurnRecord(
                position=position,
                node="rank" if position else "reason",
                action="recommend" if position else "retrieve",
                prompt_ids=tuple(ids[start - added : start]),
                completion_ids=tuple(ids[start:end]),
                logprobs=tuple(logprobs[start:end]),
                chained=True,
                prompt_tokens=start,
                completion_tokens=wrote,
                latency_ms=1.0,
            )
        )
    run = {"run_id": UUID(int=seed + 1), "trm_holdout": 3, **changes}
    return made_run(group=group, minute=seed, run=run, turns=tuple(turns))


@pytest.fixture
def filled(tmp_path: Path, tiny_model: LlamaForCausalLM) -> str:
    """Three groups of three free runs, of which the last has equal rewards, and four guided runs."""
    target = str(tmp_path / "traces.db")
    with TraceStore(target) as store:
        for seed in range(9):
            [trace] = store_runs(store, logged_run(tiny_model, seed, f"g{seed // 3}"))
            hit = float(seed % 3 == 0 and seed < 6)
            store.write_rewards(trace.run.run_id, "deeprec", COMPONENTS | {"hit": hit})
        for seed in range(20, 24):
            [trace] = store_runs(store, logged_run(tiny_model, seed, "w", guided=True, system="guided"))
            store.write_rewards(trace.run.run_id, "deeprec", COMPONENTS | {"hit": float(seed - 20)})
    return target


def call(*arguments: str) -> int:
    try:
        main(["train", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def flags(base: Path, store: str, out: Path) -> list[str]:
    return ["--cpu", "--dtype", "float32", "--base", str(base), "--store", store, "--out", str(out)]


@pytest.mark.slow
def test_grpo_trains_on_all_groups_and_counts_flat_ones_as_a_loop_does(
    tiny_base: Path, filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["grpo", "--stage", "recommendation", *flags(tiny_base, filled, tmp_path / "out"), "--groups-a-step", "1"]
    assert call(*asked, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["trained"] == str(tmp_path / "out" / "adapter")
    assert (report["steps"], report["first"]["rollouts"], report["last"]["step"]) == (3, 3, 3)
    steps = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    trained = [step for step in steps if step["rollouts/trained"]]
    assert len(trained) == 2  # the rewards of the third are logged all the same
    assert all(isinstance(step["reward"], float) for step in steps)
    assert [step["rewards/hit/mean"] for step in trained] == pytest.approx([1 / 3] * 2)
    assert trained[0]["logprob_gap"] < 1e-5
    assert call(*asked) == 0  # it has ended: reported again, not trained again
    lineage = read_lineage(tmp_path / "out" / "adapter")
    assert (lineage.method, lineage.stage, lineage.step) == ("grpo", "recommendation", 3)
    assert (lineage.base, lineage.base_fingerprint) == (tiny_base.name, fingerprint_base(tiny_base))
    assert str(tmp_path) not in (tmp_path / "out" / "adapter" / "deeprec.json").read_text()
    said = capsys.readouterr().out
    assert "9 runs, 3 steps," in said
    assert f"Trained: {tmp_path / 'out' / 'adapter'}" in said


@pytest.mark.slow
def test_sft_takes_the_best_runs_guided_ones_included(
    tiny_base: Path, filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--epochs", "1", "--validation", "0.25"]
    assert call("sft", *flags(tiny_base, filled, tmp_path / "all"), *few) == 0
    assert "13 of 13 runs, 1 steps," in capsys.readouterr().out
    assert call("sft", *flags(tiny_base, filled, tmp_path / "best"), *few, "--best", "4", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["last"]["rollouts"] == 3
    assert len(report["validation"]) == 1
    start = tmp_path / "all" / "adapter"
    some = [*flags(tiny_base, filled, tmp_path / "some"), "--start", str(start)]
    assert call("sft", *some, "--min-reward", "2", "--system", "guided") == 0
    assert "2 of 4 runs, 2 steps," in capsys.readouterr().out
    lineage = read_lineage(tmp_path / "some" / "adapter")
    assert (lineage.method, lineage.stage, lineage.settings["runs"]) == ("sft", None, 2)
    assert lineage.settings["start_fingerprint"] == fingerprint_adapter(start)


@pytest.mark.parametrize("command", [["sft"], ["grpo", "--stage", "recommendation"]])
def test_a_folder_has_one_training_at_a_time(
    tiny_base: Path, filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="needs locks of files")
    out = tmp_path / "out"
    out.mkdir()
    with (out / "training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert call(*command, *flags(tiny_base, filled, out)) == 2
    caught = capsys.readouterr().err
    assert f"Another process trains in {out}. Wait for its end, or name another folder." in " ".join(caught.split())
    assert [path.name for path in out.iterdir()] == ["training.lock"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "test"}, "1 runs are of the split test: a policy that learns from them cannot be evaluated there"),
        ({"split": "valid"}, "Choose --split train"),
        ({"trm_holdout": 2}, "used a recommender of holdout 2"),
    ],
)
def test_runs_that_give_held_out_targets_away_are_refused_unless_allowed(
    tiny_base: Path,
    tiny_model: LlamaForCausalLM,
    filled: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    with TraceStore(filled) as store:
        [trace] = store_runs(store, logged_run(tiny_model, 30, "g0", **changes))
        store.write_rewards(trace.run.run_id, "deeprec", COMPONENTS | {"hit": 1.0})
    for asked in (["sft", "--best", "3"], ["grpo", "--stage", "recommendation"]):
        assert call(*asked, *flags(tiny_base, filled, tmp_path / asked[0])) == 2
        assert message in capsys.readouterr().err
    few = ["sft", "--epochs", "1", "--validation", "0"]
    assert call(*few, *flags(tiny_base, filled, tmp_path / "out"), "--allow-leaks") == 0


@pytest.mark.slow
def test_a_checkpoint_of_another_stage_is_not_taken_for_this_one(
    tiny_base: Path, filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["grpo", "--stage", "recommendation", *flags(tiny_base, filled, tmp_path / "out"), "--groups-a-step", "1"]
    assert call(*asked) == 0
    assert call(*asked, "--weight", "hit=3") == 2
    assert "is a checkpoint of another training: data was" in capsys.readouterr().err
    assert call(*asked, "--credit", "token", "--ratio", "item", "--beta", "0.1", "--delta", "4") == 2
    differing = capsys.readouterr().err
    for change in ("beta was None and is 0.1", "credit was None and is 'token'", "delta was None and is 4.0"):
        assert change in differing


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sft", "--suite", "none"], "There is no run to train on"),
        (["sft", "--min-reward", "99"], "None of 13 runs has a reward of 99.0 or more"),
        (["sft", "--validation", "2"], "SftConfig.validation is 2.0"),
        (["grpo", "--stage", "recommendation", "--suite", "none"], "No run matches suite none"),
        (["grpo", "--stage", "nothing"], "There is no stage 'nothing'"),
        (["grpo", "--stage", "interaction"], "have not been scored for format, found"),
        (["grpo", "--stage", "recommendation", "--loss", "ppo"], "Choose one of dapo"),
        (["grpo", "--stage", "recommendation", "--scale", "batch"], "Choose none or group"),
        (["grpo", "--stage", "recommendation", "--weight", "hit=0"], "All rewards are equal"),
        (
            ["grpo", "--stage", "recommendation", "--weight", "hit=0", "--credit", "token"],
            "None of 3 groups has rewards that differ",  # looked for behind the credit
        ),
        (["grpo", "--stage", "recommendation", "--scale", "group", "--credit", "token"], "gives each token its own"),
        (["grpo", "--stage", "recommendation", "--ratio", "item"], "Set credit to 'token'"),
    ],
)
def test_a_users_mistake_ends_with_one_line_and_code_2(
    tiny_base: Path, filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], message: str
) -> None:
    assert call(*command, *flags(tiny_base, filled, tmp_path / "out")) == 2
    caught = capsys.readouterr().err
    assert message in caught
    assert len([line for line in caught.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in caught


def test_rollouts_are_exported_for_other_trainers(
    filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rollouts.jsonl"
    asked = ["export", "--for", "verl", "--store", filled, "--out", str(out), "--preset", "paper"]
    assert call(*asked) == 0
    assert f"Wrote 9 rollouts to {out}." in capsys.readouterr().out
    assert len(out.read_text(encoding="utf-8").splitlines()) == 9
    assert call(*asked, "--guided", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rollouts"] == 13
    assert call("export", "--for", "ray", "--store", filled, "--out", str(out)) == 2
    assert "Choose verl or openrlhf" in capsys.readouterr().err
    with TraceStore(filled) as store:
        store_runs(store, made_run(group="held-out", run={"split": "test", "trm_holdout": 3}))
    assert call(*asked) == 2
    assert "of the split test" in capsys.readouterr().err
    assert call(*asked, "--allow-leaks") == 0
