"""Artifacts that revision 83b6652 wrote, before the modules moved into rooms, load and answer as they did then."""

import shutil
from pathlib import Path

import pytest

from deeprec.trm_tool import Retriever, Where

FOLDER = Path(__file__).parents[2] / "fixtures" / "artifact_before_rooms"
HISTORY = ("i0", "i4", "i8")
DATA = "cc3a500fdb2f71ab292d4c599a11cf2d6b4bacf05c570533833baf533f1ee8ee"


def ids(
    retriever: Retriever, history: tuple[str, ...], preference: str | None = None, where: Where | None = None
) -> list[str]:
    return [item.id for item in retriever.retrieve(history, preference, k=6, where=where)]


@pytest.mark.parametrize(
    ("name", "fingerprint", "removed"),
    [("trained", "395bb965997fb20c", set()), ("with_removed_items", "a14a159dcefa4393", {"i10", "i16"})],
)
def test_an_artifact_from_before_answers_as_it_did(name: str, fingerprint: str, removed: set[str]) -> None:
    retriever = Retriever.load(FOLDER / name)
    assert retriever.identity.fingerprint == fingerprint
    assert retriever.identity.dataset_fingerprint == DATA
    assert retriever.identity.holdout == 2
    assert set(retriever.catalogue.removed) == removed
    found = retriever.retrieve(HISTORY, "comedy; 1970s", k=6)
    assert [item.id for item in found] == ["i23", "i17", "i12", "i3", "i18", "i19"]
    assert [item.score for item in found] == pytest.approx([0.8707, 0.8377, 0.7969, 0.7949, 0.7782, 0.7662], abs=2e-4)
    assert ids(retriever, HISTORY) == ["i23", "i17", "i3", "i12", "i18", "i19"]
    horror = [item for item in ("i9", "i10", "i14", "i6") if item not in removed]
    assert ids(retriever, (), where={"genres": {"in": ["horror"]}})[: len(horror)] == horror


def test_an_artifact_from_before_takes_changes_and_is_saved_again(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "trained", tmp_path / "artifact")
    retriever = Retriever.load(tmp_path / "artifact")
    retriever.remove_items(["i17"])
    retriever.save(tmp_path / "artifact")
    again = Retriever.load(tmp_path / "artifact")
    assert again.fingerprint == retriever.fingerprint != "395bb965997fb20c"
    assert ids(again, HISTORY)[:4] == ["i23", "i3", "i12", "i18"]
