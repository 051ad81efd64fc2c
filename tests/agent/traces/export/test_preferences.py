from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent.traces import PARTS, RunFilter, TraceStore, export_preferences
from deeprec.trm_tool import ConfigError, DataError, history_digest, read_preference_file

RUN = UUID("abc00000-0000-4000-8000-000000000001")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "written.parquet"


def test_a_row_says_who_wrote_what_after_which_history(store: TraceStore, path: Path, make: Any) -> None:
    make.write(store, make.run(RUN, guided=True, trm_holdout=3, dataset_fingerprint="cd" * 32, split="train"))
    wrote = export_preferences(store, path)
    assert (wrote.preferences, wrote.runs, wrote.left_out) == (2, 1, {})
    first, second = read_preference_file(path)
    assert (first.run_id, first.turn, first.retrieval) == (str(RUN), 0, 0)
    assert (second.run_id, second.turn, second.retrieval) == (str(RUN), 1, 1)
    assert (first.user_id, first.target_id, first.split) == ("12", "1", "train")
    assert (first.history_length, first.history_sha256) == (2, history_digest(["50", "181"]))
    assert (first.policy_model, first.adapter, first.adapter_version) == ("SmolLM2-135M-Instruct", "deeprec", "4")
    assert first.guided is True
    assert (first.trm_fingerprint, first.trm_holdout, first.dataset_fingerprint) == ("ab" * 8, 3, "cd" * 32)
    assert first.preference == "sci-fi; 1980s"


def test_only_what_the_model_wrote_is_a_preference(store: TraceStore, path: Path, make: Any) -> None:
    store.start_run(run := make.run())
    turns = [
        make.turn(0, action="malformed", preference=None, detail="no preference"),
        make.turn(1, preference="asked, and answered"),
        make.turn(2, preference="asked when the budget was spent"),
        make.turn(3, node="rank", action="recommend", preference=None),
    ]
    for turn in turns:
        store.record_turn(run.run_id, turn)
    store.record_retrieval(run.run_id, make.retrieval(0, turn=1, preference="asked, and answered"))
    store.finish_run(run.run_id, make.outcome(status="budget"))
    assert export_preferences(store, path).preferences == 2
    assert [(row.turn, row.retrieval, row.preference) for row in read_preference_file(path)] == [
        (1, 0, "asked, and answered"),
        (2, None, "asked when the budget was spent"),
    ]


def test_runs_that_are_never_trained_on_are_left_out_and_counted(store: TraceStore, path: Path, make: Any) -> None:
    make.write(store)
    store.mark_incomplete(make.write(store))
    for _ in range(2):
        store.start_run(going := make.run())
        store.record_turn(going.run_id, make.turn(0))
    wrote = export_preferences(store, path)
    assert (wrote.preferences, wrote.runs, wrote.left_out) == (2, 1, {"incomplete": 1, "running": 2})


def test_forks_and_replays_add_nothing_to_what_their_parents_wrote(store: TraceStore, path: Path, make: Any) -> None:
    parent = make.write(store)
    for fork in ({"turn": 0, "preference": "war"}, {"turn": None}, {"turn": None}):
        make.write(store, make.run(parent_id=parent, fork=fork))
    wrote = export_preferences(store, path)
    assert (wrote.runs, wrote.left_out) == (1, {"edited": 1, "replayed": 2})
    assert {row.run_id for row in read_preference_file(path)} == {str(parent)}


def test_a_filter_says_which_runs(store: TraceStore, path: Path, make: Any) -> None:
    for split in ("train", "test", "train"):
        make.write(store, make.run(split=split))
    assert export_preferences(store, path, RunFilter(split="train")).runs == 2
    assert {row.split for row in read_preference_file(path)} == {"train"}
    assert export_preferences(store, path).runs == 3


def test_runs_that_were_logged_before_the_data_was_kept_have_none(store: TraceStore, path: Path, make: Any) -> None:
    make.write(store, make.run(user_id=None, target_id=None, split=None, adapter=None, adapter_version=None))
    export_preferences(store, path)
    row = next(read_preference_file(path))
    assert (row.user_id, row.target_id, row.split, row.adapter, row.adapter_version) == (None,) * 5
    assert (row.trm_holdout, row.dataset_fingerprint) == (None, None)


def test_batches_leave_nothing_out(store: TraceStore, make: Any) -> None:
    runs = [make.write(store, make.run(), turns=1 + number % 3) for number in range(11)]
    for batch in (1, 2, 5, 11, 12):
        found = list(store.traces(omit=PARTS, batch=batch))
        assert [trace.run.run_id for trace in found] == runs
        assert [len(trace.turns) for trace in found] == [1 + number % 3 for number in range(11)]


def test_nothing_to_export_makes_no_file(store: TraceStore, path: Path, make: Any) -> None:
    with pytest.raises(DataError, match=r"No finished run that matches has written a preference, so"):
        export_preferences(store, path)
    store.start_run(make.run())
    with pytest.raises(DataError, match=r"\(1 running left out\)"):
        export_preferences(store, path)
    assert not path.exists()


def test_another_file_is_left_alone_before_anything_is_read(store: TraceStore, tmp_path: Path, make: Any) -> None:
    make.write(store)
    with pytest.raises(ConfigError, match=r"traces\.db exists and is not a file of preferences"):
        export_preferences(store, tmp_path / "traces.db")
    assert len(store.runs()) == 1
