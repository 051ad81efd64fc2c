"""The folder of an ablation: the outcomes of its rows, and the plan that it goes on with."""

from pathlib import Path
from typing import Any

import pytest

from deeprec.training import AblationPlan, AblationResult
from deeprec.training.ablation.results import begun_fingerprints, check_plan, keep_plan, read_row, write_row
from deeprec.trm_tool import ConfigError

LOOP = {
    "artifact": "trm",
    "agent": {"k": 10},
    "stages": [{"stage": "recommendation", "steps": 1, "users": 2, "group_size": 3}],
    "validation": {"users": 2, "every": 9},
}
ROWS: dict[str, Any] = {
    "full": {"piece": "The full method"},
    "recommender": {"piece": "The method", "policy": "none", "system": "trm"},
}
SEARCH = {"piece": "Searches", "change": {"agent": {"max_retrievals": 1}}}
FINGERPRINTS = {"dataset": "d", "recommender": "r", "base": "b", "start": None}


def make_plan(rows: dict[str, Any] = ROWS, **changes: Any) -> AblationPlan:
    test = changes.pop("test", {"users": 5})
    return AblationPlan.model_validate({"name": "plan", "loop": LOOP | changes, "test": test, "rows": rows})


def test_a_changed_plan_is_refused_by_what_changed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep_plan(make_plan(), out, FINGERPRINTS)
    keep_plan(make_plan(), out, FINGERPRINTS)
    for plan, changed in (
        (make_plan(agent={"k": 5}), r"loop\.agent\.k changed"),
        (make_plan(test={"users": 6}), r"test\.users changed"),
        (make_plan(ROWS | {"full": {"piece": "a", "system": "deeprec-guided"}}), r"rows\.full\.system changed"),
    ):
        with pytest.raises(ConfigError, match=f"begun with another plan \\({changed}"):
            keep_plan(plan, out, FINGERPRINTS)
    with pytest.raises(ConfigError, match=r"fingerprints\.recommender changed"):
        keep_plan(make_plan(), out, FINGERPRINTS | {"recommender": "another"})


def test_rows_may_be_added_and_the_machine_and_paths_may_change(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep_plan(make_plan(), out, FINGERPRINTS)
    keep_plan(make_plan(concurrency=3, artifact="moved"), out, FINGERPRINTS)
    keep_plan(make_plan(ROWS | {"one-search": SEARCH}), out, FINGERPRINTS)
    keep_plan(make_plan(), out, FINGERPRINTS)  # a row may be left out, too
    other = SEARCH | {"change": {"agent": {"max_retrievals": 3}}}
    with pytest.raises(ConfigError, match=r"rows\.one-search\.change\.agent\.max_retrievals changed"):
        keep_plan(make_plan(ROWS | {"one-search": other}), out, FINGERPRINTS)


def test_a_changed_file_is_refused_and_one_that_the_folder_does_not_know_yet_is_added(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep_plan(make_plan(), out, FINGERPRINTS)
    known = FINGERPRINTS | {"test.requests": "one"}
    keep_plan(make_plan(), out, known)
    assert begun_fingerprints(out) == known
    with pytest.raises(ConfigError, match=r"fingerprints\.test\.requests changed"):
        keep_plan(make_plan(), out, FINGERPRINTS | {"test.requests": "two"})
    keep_plan(make_plan(), out, FINGERPRINTS)
    assert begun_fingerprints(out) == known


def test_a_check_of_the_plan_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep_plan(make_plan(), out, FINGERPRINTS)
    before = (out / "plan.json").read_bytes()
    check_plan(make_plan(ROWS | {"one-search": SEARCH}), out)
    assert (out / "plan.json").read_bytes() == before
    with pytest.raises(ConfigError, match=r"loop\.max_rank changed"):
        check_plan(make_plan(max_rank=7), out)


def test_a_folder_with_other_files_and_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        keep_plan(make_plan(), tmp_path, FINGERPRINTS)
    out = tmp_path / "out"
    keep_plan(make_plan(), out, FINGERPRINTS)
    (out / "plan.json").write_text("[1")
    with pytest.raises(ConfigError, match=r"plan\.json cannot be read"):
        keep_plan(make_plan(), out, FINGERPRINTS)
    assert read_row(out, "full") is None
    write_row(out, "full", AblationResult(failed="no server"))
    assert read_row(out, "full") == AblationResult(failed="no server")
    (out / "rows" / "full.json").write_text('{"suite": 3}')
    with pytest.raises(ConfigError, match=r"full\.json cannot be read .*Delete it"):
        read_row(out, "full")
