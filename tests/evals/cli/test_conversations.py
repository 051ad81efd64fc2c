"""`deeprec eval converse` over the tiny catalogue."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deeprec.agent.cli.main import app
from deeprec.trm_tool import ConfigError


def converse(*words: str) -> str:
    result = CliRunner().invoke(app, ["eval", "converse", *words], catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_systems_are_compared_with_the_same_people(atomic_folder: Path, artifact_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "said.jsonl"
    command = ("--data", str(atomic_folder), "--artifact", str(artifact_folder), "--people", "2", "--out", str(out))
    result = json.loads(converse(*command, "--json"))
    assert result["conversations"] == 2
    assert set(result["measures"]) == {"shopping-rules", "all-messages", "no-repeats", "last-message"}
    assert result["measures"]["shopping-rules"]["ungrounded"]["mean"] == 0
    assert set(result["shopping-rules less"]) == {"all-messages", "no-repeats", "last-message"}
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    people = {system: [line["person"] for line in lines if line["system"] == system] for system in result["measures"]}
    assert len({tuple(names) for names in people.values()}) == 1


def test_a_file_that_cannot_be_written_is_named_before_anybody_talks(artifact_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        converse("--artifact", str(artifact_folder), "--out", str(tmp_path / "missing" / "said.jsonl"))


def test_one_server_at_most(artifact_folder: Path) -> None:
    with pytest.raises(ConfigError, match="--serve starts a server"):
        converse("--artifact", str(artifact_folder), "--serve", "--base-url", "http://127.0.0.1:9/v1")
