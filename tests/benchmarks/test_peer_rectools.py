"""RecTools' SASRec as a peer, really trained in its own environment. Skipped where `make bench` has not been run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peer_protocol import SETTINGS
from benchmarks.peer_rectools import PYTHON, RecToolsConfig, rank_scores, run_rectools, train_rectools
from deeprec.evals import Case
from deeprec.trm_tool import ConfigError, Dataset

BENCH = Path(__file__).parents[2] / PYTHON
SMALL = RecToolsConfig(n_factors=16, session_max_len=6, epochs=3, threads=1)
needs_rectools = pytest.mark.skipif(not BENCH.exists(), reason="needs RecTools (make bench)")


@needs_rectools
@pytest.mark.slow
def test_rectools_is_trained_judged_here_and_ranks_every_target(dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    table = train_rectools(
        dataset, SETTINGS["last5"], results=tmp_path, report=lines.append, config=SMALL, python=BENCH
    )
    assert len(table) == 60
    assert table.unmasked.max() <= 50
    found = json.loads((tmp_path / "rectools_last5.json").read_text())
    assert [point["epoch"] for point in found["curve"]] == [1, 2, 3]
    assert found["curve"][0]["loss"] > found["curve"][2]["loss"]
    assert found["targets_that_it_could_not_score"] == found["targets_never_in_training"] > 0
    assert found["versions"]["rectools"] == "0.19.0"
    assert len(lines) == 4


@needs_rectools
@pytest.mark.slow
def test_a_refit_learns_the_validation_targets_too(dataset: Dataset, tmp_path: Path) -> None:
    train_rectools(
        dataset,
        SETTINGS["test1"],
        results=tmp_path,
        report=lambda line: None,
        config=SMALL,
        python=BENCH,
        refit_epochs=2,
    )
    found = json.loads((tmp_path / "rectools_refit_test1.json").read_text())
    assert (found["status"], len(found["curve"]), found["best_epoch"]) == ("refitted", 2, 2)
    learned = {item for user in dataset.users for item in dataset.history(user, 1)}
    targets = [dataset.target(user, 1) for user in dataset.users]
    assert found["targets_that_it_could_not_score"] == sum(item not in learned for item in targets)


@needs_rectools
@pytest.mark.slow
def test_the_weights_that_were_judged_best_are_those_that_score_in_the_end(dataset: Dataset) -> None:
    """The same cases are scored after each epoch and in the end: the best epoch's figures must come back."""
    from benchmarks.peer_protocol import figures, put_unscored_last

    cases = SETTINGS["test1"].validation_cases(dataset)
    points: list[dict[str, Any]] = []

    def judge(point: dict[str, Any]) -> tuple[bool, bool]:
        points.append(point)
        return point["epoch"] == 2, point["epoch"] == 20

    config = RecToolsConfig(n_factors=16, session_max_len=6, epochs=30, threads=1)
    scores = run_rectools(dataset, cases, cases, judge, config=config, python=BENCH)
    assert len(points) == 20  # stopped at the answer `stop`
    learned = {item for user in dataset.users for item in dataset.history(user, 2)}
    unscored = [item not in learned for item in dataset.catalogue.ids]
    assert np.isnan(scores).any(axis=0).tolist() == unscored
    in_the_end = figures(rank_scores(put_unscored_last(scores), cases, dataset))
    reported = [{name: point[name] for name in in_the_end} for point in points]
    assert in_the_end == reported[1]
    assert reported[1] != reported[-1]


def test_without_rectools_the_way_to_it_is_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make bench"):
        run_rectools(dataset, [], [], lambda point: (True, True), config=SMALL, python=tmp_path / "python")


def test_the_last_words_of_a_failed_worker_are_reported(dataset: Dataset, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No module named rectools' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ConfigError, match=r"No module named rectools.*make bench"):
        run_rectools(dataset, [], [], lambda point: (True, True), config=SMALL, python=broken)


def test_scores_are_matched_to_their_cases(dataset: Dataset) -> None:
    user, other = dataset.users[:2]
    cases = [
        Case(user=name, history=dataset.history(name, left), target=dataset.target(name, left))
        for left in (1, 2)
        for name in (user, other)
    ]
    scores = np.zeros((4, 50))
    for row, case in enumerate(cases):
        scores[row, dataset.catalogue.rows([case.target])] = 1  # each case is right about itself alone
    assert rank_scores(scores, cases, dataset).unmasked.tolist() == [1, 1, 1, 1]
