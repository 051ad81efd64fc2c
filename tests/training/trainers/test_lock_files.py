"""A lock file has one holder, also where several begin at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.training.trainers.lock_files import lock_file
from deeprec.trm_tool import ConfigError


def test_two_that_both_found_no_lock_file_do_not_both_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl", reason="needs locks of files")
    monkeypatch.setattr(Path, "is_file", lambda _: False)  # each had looked before the other one made it
    path = tmp_path / "out" / "a.lock"
    with lock_file(path, busy="Busy."), pytest.raises(ConfigError, match=r"Busy\. Wait"), lock_file(path, busy="Busy."):
        pass
    with lock_file(path, busy="Busy."):
        assert path.read_bytes() == b""
    assert not path.parent.exists()  # nothing is left of a training that was refused


def test_what_was_there_or_was_written_stays_when_the_lock_ends(tmp_path: Path) -> None:
    own, written = tmp_path / "own", tmp_path / "new"
    own.mkdir()
    for folder in (own, written):
        with lock_file(folder / "a.lock", busy="Busy."):
            if folder is written:
                (folder / "log").touch()
    assert (list(own.iterdir()), [file.name for file in written.iterdir()]) == ([], ["log"])


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.lock", tmp_path):
        with pytest.raises(ConfigError, match=f"{path} cannot be written"), lock_file(path, busy="Busy."):
            pass
