import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.peer_protocol import (
    HOLDOUT,
    SETTINGS,
    Patience,
    RankTable,
    find_setting,
    never_trained,
    put_unscored_last,
    rank_targets,
    readable,
)
from benchmarks.trm_peers_table import OURS, compare, make_tables, write_comparisons
from deeprec.evals import Case
from deeprec.trm_tool import Artifact, ConfigError, DataError, Dataset, load_artifact


def scores_of(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Rises with the catalogue row, so that the rank of a target follows from its row alone."""
    return np.tile(np.arange(50.0), (len(cases), 1))


def test_no_target_and_no_validation_target_is_learned_from(dataset: Dataset) -> None:
    for setting in SETTINGS.values():
        data = setting.training_data(dataset)
        cases = setting.test_cases(dataset)
        assert len(cases) == setting.positions * len(dataset.users)
        learned = {user: data.history(user, HOLDOUT) for user in data.users}
        for case in cases:
            assert dataset.sequences[case.user][: len(case.history)] == case.history
            assert len(learned[case.user]) < len(case.history)  # a target lies beyond what was learned from
        for case in setting.validation_cases(dataset):
            assert case.history == learned[case.user]


def test_the_rank_of_a_target_by_hand(dataset: Dataset) -> None:
    table = rank_targets(scores_of, SETTINGS["last5"].test_cases(dataset), dataset)
    assert table.position.tolist() == [position for position in range(1, 6) for _ in dataset.users]
    assert table.user.tolist() == list(range(len(dataset.users))) * 5
    for user, position, masked, unmasked in zip(table.user, table.position, table.masked, table.unmasked, strict=True):
        rows = dataset.catalogue.rows(dataset.sequences[dataset.users[user]])
        target, seen = rows[-position], rows[:-position]
        assert unmasked == 50 - target
        assert masked == 50 - target - (seen > target).sum()


def test_ranks_come_back_from_their_file(dataset: Dataset, tmp_path: Path) -> None:
    table = rank_targets(scores_of, SETTINGS["test1"].test_cases(dataset), dataset)
    table.masked[3] = math.inf
    path = tmp_path / "ranks.json"
    path.write_text(table.to_json())
    again = RankTable.from_json(path)
    for field in dataclasses.fields(table):
        assert np.array_equal(getattr(again, field.name), getattr(table, field.name))
    assert json.loads(path.read_text())["masked"][3] is None
    assert len(path.read_text().splitlines()) == 7  # one a column


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist"),
        ("{", "not a table of ranks"),
        ('{"user": [1]}', "not a table of ranks"),
        (
            '{"dataset_fingerprint": "x", "user": [1], "position": [1, 2], "masked": [1], "unmasked": [1]}',
            "columns of unequal length",
        ),
    ],
)
def test_a_file_that_is_no_table_of_ranks_is_refused(text: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "ranks.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=words):
        RankTable.from_json(path)


def test_an_item_that_cannot_be_scored_comes_last() -> None:
    nan = math.nan
    filled = put_unscored_last(np.array([[nan, -3.0, 2.0, nan], [nan, nan, nan, nan], [0.0, 1.0, 2.0, 3.0]]))
    assert filled.tolist() == [[-4, -3, 2, -4], [0, 0, 0, 0], [0, 1, 2, 3]]


def test_targets_that_training_never_saw_are_counted(dataset: Dataset) -> None:
    setting = SETTINGS["last5"]
    data, cases = setting.training_data(dataset), setting.test_cases(dataset)
    learned = {item for user in dataset.users for item in dataset.sequences[user][:-6]}
    assert never_trained(cases, data) == sum(case.target not in learned for case in cases) > 0


def test_patience_ends_a_training_when_no_epoch_was_better_for_long_enough() -> None:
    watch = Patience(2)
    assert [(watch.better(score), watch.converged) for score in (0.1, 0.3, 0.2, 0.4, 0.4, 0.3)] == [
        (True, False),
        (True, False),
        (False, False),
        (True, False),
        (False, False),  # as good is not better
        (False, True),
    ]
    assert watch.best_epoch == 4
    with pytest.raises(ConfigError, match="patience is 0"):
        Patience(0)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="Choose test1 or last5"):
        find_setting("test2")


@pytest.mark.slow
def test_peak_memory_grows_with_what_is_held() -> None:
    """In a process of its own: what other tests held stays the peak of this one."""
    script = """
import numpy as np
from benchmarks.peer_protocol import peak_memory_mb
before = peak_memory_mb()
held = np.ones(40_000_000)  # 305 MiB
print(before, peak_memory_mb(), held.sum())
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    before, after, _ = map(float, output.split())
    assert before + 250 < after < before + 1000


def test_a_result_is_json_with_a_line_an_epoch() -> None:
    result: dict[str, Any] = {"peer": "x", "curve": [{"epoch": 1}, {"epoch": 2}], "test": {"ndcg": 0.5}}
    assert json.loads(readable(result)) == result
    assert '  {"epoch": 2}' in readable(result).splitlines()


@pytest.fixture
def last5_artifact(artifact_folder: Path) -> Artifact:
    """As if it had been trained with `--without-last 4`."""
    artifact = load_artifact(artifact_folder)
    return dataclasses.replace(artifact, config=artifact.config | {"holdout": 6, "without_last": 4})


def test_ours_is_compared_with_a_peer_on_the_same_targets(
    last5_artifact: Artifact, dataset: Dataset, tmp_path: Path
) -> None:
    setting = SETTINGS["last5"]
    peer = rank_targets(scores_of, setting.test_cases(dataset), dataset)
    (tmp_path / "recbole_last5_ranks.json").write_text(peer.to_json())
    (tmp_path / "recbole_last5.json").write_text('{"status": "in training"}')
    found = compare(dataset, setting, last5_artifact, tmp_path)
    assert found.unfinished == ("RecBole SASRec",)
    assert (found.users, found.targets, found.missing) == (12, 60, ("RecTools SASRec", "RecTools SASRec, refitted"))
    assert set(found.systems) == {OURS, "RecBole SASRec", "co-occurrence", "popularity"}
    theirs = found.systems["RecBole SASRec"]["masked"]["recall@10"]
    assert theirs.mean == pytest.approx((peer.masked <= 10).mean())
    assert theirs.n == 60
    for name, difference in found.ours_minus.items():
        for way in ("masked", "unmasked"):
            for measure in ("recall@10", "ndcg@10"):
                both = found.systems[OURS][way][measure].mean, found.systems[name][way][measure].mean
                assert difference[way][measure].mean == pytest.approx(both[0] - both[1])
    write_comparisons([found], dataset, tmp_path / "out.json", seed=0)
    written = json.loads((tmp_path / "out.json").read_text())["settings"]["last5"]
    assert written["systems"]["RecBole SASRec"]["masked"]["recall@10"]["mean"] == theirs.mean
    console = Console(width=200, record=True)
    for table in make_tables(found):
        console.print(table)
    text = console.export_text()
    assert theirs.text(4) in text
    assert "RecBole SASRec (not converged) │" in text
    assert "RecTools SASRec                │ not trained yet" in text
    (tmp_path / "recbole_last5.json").write_text('{"status": "converged"}')
    assert compare(dataset, setting, last5_artifact, tmp_path).unfinished == ()


def test_ranks_of_other_targets_or_other_data_are_refused(
    last5_artifact: Artifact, dataset: Dataset, tmp_path: Path
) -> None:
    setting = SETTINGS["last5"]
    peer = rank_targets(scores_of, setting.test_cases(dataset)[::-1], dataset)
    path = tmp_path / "rectools_last5_ranks.json"
    path.write_text(peer.to_json())
    with pytest.raises(DataError, match="in another order"):
        compare(dataset, setting, last5_artifact, tmp_path)
    path.write_text(dataclasses.replace(peer, dataset_fingerprint="other").to_json())
    with pytest.raises(DataError, match="about other data"):
        compare(dataset, setting, last5_artifact, tmp_path)


def test_an_artifact_that_learned_more_than_the_peers_is_refused(
    last5_artifact: Artifact, artifact_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="without-last"):
        compare(dataset, SETTINGS["last5"], load_artifact(artifact_folder), tmp_path)
    with pytest.raises(ConfigError, match="without the last 6 items"):
        compare(dataset, SETTINGS["test1"], last5_artifact, tmp_path)
    other = dataclasses.replace(dataset, users=dataset.users[::-1])
    with pytest.raises(ConfigError, match="fingerprints differ"):
        compare(other, SETTINGS["last5"], last5_artifact, tmp_path)
