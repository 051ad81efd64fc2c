import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.folders import one_writer, replace_folder, write_file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "target", "old")


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    return folder_of(tmp_path / ".staged", "new")


def folder_of(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_the_new_folder_takes_the_place_of_the_old(staged: Path, target: Path) -> None:
    replace_folder(staged, target)
    assert (target / "file").read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_new_place_is_taken(staged: Path, tmp_path: Path) -> None:
    replace_folder(staged, tmp_path / "fresh")
    assert (tmp_path / "fresh" / "file").read_text() == "new"


def test_the_old_folder_is_put_back_when_the_new_one_cannot_come(target: Path) -> None:
    with pytest.raises(ConfigError, match=r"target cannot be written: No such file"):
        replace_folder(target.parent / "never staged", target)
    assert (target / "file").read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_the_old_folder_is_kept_and_named_when_it_cannot_be_put_back(
    staged: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def rename_after_somebody(self: Path, to: Path) -> Path:
        if self == staged:  # between the two renames
            folder_of(target, "somebody else's")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", rename_after_somebody)
    with pytest.raises(ConfigError, match=r"or restored .* is kept as ") as raised:
        replace_folder(staged, target)
    kept = Path(str(raised.value).partition("is kept as ")[2].removesuffix(". Move it back."))
    assert (kept / "file").read_text() == "old"
    assert (target / "file").read_text() == "somebody else's"
    assert (staged / "file").read_text() == "new"


def test_who_is_killed_between_the_renames_loses_nothing(staged: Path, target: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from deeprec.trm_tool.folders import replace_folder\n"
        "rename, (staged, target) = Path.rename, map(Path, sys.argv[1:])\n"
        "Path.rename = lambda self, to: os._exit(9) if self == staged else rename(self, to)\n"
        "replace_folder(staged, target)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(staged), str(target)]).returncode == 9
    assert not target.exists()
    (kept,) = target.parent.glob(".target-old-*/target/file")
    assert kept.read_text() == "old"
    assert (staged / "file").read_text() == "new"


def test_a_new_place_that_cannot_be_taken_is_a_config_error(staged: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fresh cannot be written: No such file"):
        replace_folder(staged, tmp_path / "nowhere" / "fresh")
    assert (staged / "file").read_text() == "new"


@pytest.mark.parametrize(("inside", "why"), [("", "target is the current"), ("below", "target holds the current")])
def test_the_current_working_folder_is_not_replaced(
    staged: Path, target: Path, monkeypatch: pytest.MonkeyPatch, inside: str, why: str
) -> None:
    (target / inside).mkdir(exist_ok=True)
    monkeypatch.chdir(target / inside)
    with pytest.raises(ConfigError, match=f"{why} working folder.* Change to another folder first"):
        replace_folder(staged, target)
    assert (target / "file").read_text() == "old"


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    inside = threading.Event()

    def write() -> None:
        with one_writer(tmp_path):
            inside.set()

    other = threading.Thread(target=write)
    with one_writer(tmp_path):
        other.start()
        assert not inside.wait(0.3)
    assert inside.wait(10)
    other.join()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "state.json"
    write_file(path, "old")
    write_file(path, "new")
    assert path.read_text() == "new"

    def full(self: Path, text: str, encoding: str) -> int:
        with self.open("w") as file:
            file.write(text[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConfigError, match=r"state\.json cannot be written: No space left on device"):
        write_file(path, "newest")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
