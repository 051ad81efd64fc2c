"""The training bench on the tiny catalogue: each training in a process of its own, one curve each."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import trm_training
from benchmarks.trm_training import OURS, PARTS, Point, compare, first_at, main

pytest.importorskip("recbole", reason="needs the extra [trm]")


def curve(*scores: float) -> list[Point]:
    return [
        Point(epoch=number, ndcg_at_10=score, recall_at_10=0.0, wall_s=10.0 * number, cpu_s=5.0 * number)
        for number, score in enumerate(scores, start=1)
    ]


def test_time_to_a_level_is_that_of_the_first_epoch_to_reach_it() -> None:
    assert first_at(curve(0.1, 0.3, 0.2, 0.4), 0.25) == curve(0.1, 0.3)[1]
    assert first_at(curve(0.1, 0.2), 0.25) is None


def test_times_are_compared_at_shares_of_the_peers_best() -> None:
    rows = compare(curve(0.1, 0.2, 0.31, 0.4), curve(0.25, 0.37))
    assert [row["times_less_wall"] for row in rows] == [2.0, 1.5, 2.0, None]  # 20/10, 30/20, 40/20, never
    assert rows[3]["ours"] is None


@pytest.mark.slow
def test_the_bench_writes_a_curve_and_a_peak_of_memory_for_each(atomic_folder: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    out = tmp_path / "bench.json"
    arguments = ["--data", str(atomic_folder), "--epochs", "2", "--max-length", "6", "--encoder", "hashing-32"]
    budget = ["--budget-minutes", "0", "--threads", "1", "--only", PARTS]
    outcome = CliRunner().invoke(app, ["--out", str(out), *arguments, *budget])
    assert outcome.exit_code == 0, outcome.output
    found = json.loads(out.read_text())
    assert {name: len(points) for name, points in found["curves"].items()} == {OURS: 2, PARTS: 1}
    assert set(found["time_to_equal_quality"]) == {PARTS}
    assert all(100 < peak < 20_000 for peak in found["peak_mb"].values())


def test_a_peer_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    outcome = CliRunner().invoke(app, ["--out", str(tmp_path / "x.json"), "--only", "SASRec"])
    assert outcome.exit_code == 2
    assert "SASRec" in outcome.output
    assert trm_training.RECTOOLS in outcome.output
