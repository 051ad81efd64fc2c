"""`deeprec train pairs` and `deeprec train dpo` over a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deeprec.agent import TraceStore
from deeprec.agent.cli.main import main
from deeprec.training import read_lineage
from deeprec.trm_tool import Dataset
from tests.made_runs import store_runs
from tests.training.pairs.answers import answered


@pytest.mark.slow
def test_json_lines_are_written_beside_the_pairs(
    chat_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TraceStore(tmp_path / "traces.db") as store:
        for number in range(2):
            [trace] = store_runs(store, answered("a", (50 + number, 60), text=str(number)))
            store.write_rewards(trace.run.run_id, "deeprec", {"hit": 1.0 - number})
    target, out = str(tmp_path / "traces.db"), tmp_path / "pairs.jsonl"
    asked = ["train", "pairs", "--store", target, "--reward", "deeprec.hit"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--out", str(out), "--base", str(chat_base)])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "1 pairs 'pairs' of 1 groups by deeprec.hit; mean gap 1.000." in said
    assert "deeprec train dpo --pairs pairs --store" in said
    [row] = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert (row["chosen_ids"], row["rejected_ids"], row["chosen_reward"]) == ([50, 60], [51, 60], 1.0)
    for wrong, message in (
        (["--reward", "hit"], "--reward 'hit' is not of the form SCHEME.COMPONENT"),
        (["--reward", "deeprec.hit", "--stage", "interaction"], "Give one or the other"),
        (["--reward", "deeprec.other"], "have no reward 'deeprec.other'"),
    ):
        with pytest.raises(SystemExit) as failed:
            main(["train", "pairs", "--store", target, *wrong])
        assert failed.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_dpo_learns_from_a_set_of_pairs(chat_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "traces.db")
    with TraceStore(target) as store:
        for number in range(8):
            for side in range(2):
                answer = (40 + side, 50 + number, 60)
                [trace] = store_runs(store, answered(f"g{number}", answer, text=f"{side}", prompt=(number, 2, 3)))
                store.write_rewards(trace.run.run_id, "deeprec", {"hit": float(side)})

    def call(*asked: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["train", *asked, "--store", target])
        return int(ended.value.code or 0)

    assert call("pairs", "--reward", "deeprec.hit", "--name", "words") == 0
    few = ["--cpu", "--dtype", "float32", "--base", str(chat_base), "--validation", "0.25", "--learning-rate", "0.01"]
    capsys.readouterr()
    assert call("dpo", "--pairs", "words", *few, "--epochs", "2", "--out", str(tmp_path / "out"), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["steps"], report["first"]["pairs"]) == (2, 6)
    before, *_, after = report["validation"]
    assert after["eval_rewards/margins"] > before["eval_rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert before["eval_valid_answers"] == 0  # noise is neither a preference nor a list
    assert call("dpo", "--pairs", "words", *few, "--epochs", "2", "--out", str(tmp_path / "out")) == 0
    said = capsys.readouterr().out
    assert "8 pairs, 2 steps," in said
    assert "Reward of the chosen over the rejected run on held-out pairs: 0.000 at first" in said
    assert call("dpo", "--pairs", "none", *few, "--out", str(tmp_path / "other")) == 2
    assert "no pairs named 'none'. There are: words" in capsys.readouterr().err
    assert call("dpo", "--pairs", "words", *few, "--beta", "0", "--out", str(tmp_path / "other")) == 2
    assert "DpoConfig.beta is 0.0" in capsys.readouterr().err
    lineage = read_lineage(tmp_path / "out" / "adapter")
    assert (lineage.name, lineage.method, lineage.step, lineage.settings["pairs"]) == (None, "dpo", 2, 8)


def test_targets_of_pairs_are_looked_up_in_the_data_that_is_named(
    tiny_base: Path, dataset: Dataset, atomic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, person = str(tmp_path / "traces.db"), "u11"
    of = {"user_id": person, "split": "train", "dataset_fingerprint": dataset.fingerprint}
    with TraceStore(target) as store:
        for group, from_end in (("learned", 4), ("allowed", 3)):  # the data alone distinguishes them
            for number in range(2):
                run = of | {"target_id": dataset.sequences[person][-from_end], "suite": group}
                answer = answered(group, (50 + number, 60), text=str(number), run=run)
                [trace] = store_runs(store, answer)
                store.write_rewards(trace.run.run_id, "deeprec", {"hit": 1.0 - number})

    def call(*asked: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["train", *asked, "--store", target])
        written = capsys.readouterr()
        return written.out if not ended.value.code else f"{ended.value.code}: {written.err}"

    pairs, named = ("pairs", "--reward", "deeprec.hit"), ("--data", str(atomic_folder))
    leak = "targets that their recommender has learned, or may have"
    assert "2 pairs 'pairs' of 2 groups" in call(*pairs)
    refused = call(*pairs, *named)
    assert refused.startswith("2: ")
    assert leak in refused
    assert "2 pairs" in call(*pairs, *named, "--allow-leaks")
    dpo = ("dpo", "--cpu", "--base", str(tiny_base), "--out", str(tmp_path / "out"), *named)
    refused = call(*dpo)
    assert refused.startswith("2: ")
    assert leak in refused
    assert not (tmp_path / "out").exists()
    assert "1 pairs 'pairs' of 1 groups" in call(*pairs, *named, "--suite", "allowed")
