"""`deeprec train ablation`: rows that need no model, their table, and what the command refuses."""

import json
from pathlib import Path

import pytest
import yaml

from tests.command_line import answer_of, refusal_of, run_command


@pytest.fixture
def plan(tmp_path: Path, atomic_folder: Path, artifact_folder: Path, tiny_base: Path) -> Path:
    loop = {
        "data": str(atomic_folder),
        "artifact": str(artifact_folder),
        "base": str(tiny_base),
        "agent": {"k": 3},
        "stages": [{"stage": "recommendation", "steps": 1, "users": 2, "group_size": 2}],
        "validation": {"users": 2, "every": 1},
    }
    rows = {
        "full": {"piece": "The full method"},
        "recommender": {"piece": "The whole method", "policy": "none", "system": "trm"},
        "popular": {"piece": "Scoring", "policy": "none", "system": "popularity"},
    }
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"name": "tiny", "loop": loop, "rows": rows}, sort_keys=False), encoding="utf-8")
    return file


@pytest.mark.slow
def test_rows_are_run_one_by_one_and_the_table_shows_those_that_are_done(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("train", "ablation", plan, "--out", out)
    answer_of(capsys, *command, "--row", "recommender")
    made = json.loads(answer_of(capsys, *command, "--row", "popular", "--json"))
    assert [row["name"] for row in made["rows"]] == ["recommender", "popular"]
    assert made["missing"] == ["full"]
    table = answer_of(capsys, *command, "--table")
    assert "tiny, size cpu: 12 people" in table
    assert "Not measured yet: full." in table
    assert json.loads((out / "ablation.json").read_text(encoding="utf-8")) == made
    code, printed, error = run_command(capsys, *command, "--row", "full", "--base-url", "http://127.0.0.1:9/v1")
    assert (code, "recommender" in printed) == (2, True)  # nothing answers there; the others are shown all the same
    assert "Failed: full. The others are done" in error


def test_what_does_not_exist_is_refused_by_what_does(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("train", "ablation", plan, "--out", tmp_path / "out")
    assert "no row 'half' in size cpu. It has full, recommender, popular." in refusal_of(
        capsys, *command, "--row", "half"
    )
    assert "no size 'gpu'. Choose one of cpu." in refusal_of(capsys, *command, "--size", "gpu")
    assert "holds no ablation yet" in refusal_of(capsys, *command, "--table")
    missing = refusal_of(capsys, *command, "--artifact", tmp_path / "none")
    assert "make one with `deeprec trm train --out" in missing
    assert "--holdout 3`" in missing
    assert "Give one of the two" in refusal_of(capsys, *command, "--table", "--row", "full")
    nowhere = ("train", "ablation", "nowhere", "--out", tmp_path / "out")
    assert "Name a YAML file, or one of histories, made-requests" in refusal_of(capsys, *nowhere)
    assert not (tmp_path / "out").exists()
