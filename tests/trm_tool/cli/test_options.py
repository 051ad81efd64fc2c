"""Options that several commands share."""

import shutil
from pathlib import Path

import pytest

from deeprec.trm_tool import DataError
from deeprec.trm_tool.cli.options import ColumnOptions, data_is_there


def test_the_embedded_data_is_named_in_place_of_a_folder(
    atomic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = Path("ml-100k")
    assert data_is_there(named) == named
    assert data_is_there(None) is None
    with pytest.raises(DataError, match="ml-1m does not exist"):
        data_is_there(Path("ml-1m"))
    shutil.copytree(atomic_folder, named)
    for path in named.iterdir():
        path.rename(named / f"ml-100k{path.suffix}")
    assert len(ColumnOptions().read(named).users) < 900  # a folder of that name is read
    shutil.rmtree(named)
    assert len(ColumnOptions().read(named).users) == 943
