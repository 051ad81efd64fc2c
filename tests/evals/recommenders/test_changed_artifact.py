"""What the evaluation makes of an artifact whose catalogue was changed after training."""

from pathlib import Path

import numpy as np
import pytest

from deeprec.evals import check_holdout, evaluate_systems, evaluate_trm, make_cases, make_trm_system
from deeprec.trm_tool import Artifact, Dataset, HashingEncoder, Item, Retriever, load_artifact

NEW = [Item(id=f"n{number}", title=f"New {number}", attributes={"class": ("Comedy",)}) for number in range(5)]


@pytest.fixture
def removed(dataset: Dataset) -> list[str]:
    """A target and two others."""
    return [dataset.target("u1", 1), "557", "564"]


@pytest.fixture
def changed(artifact_folder: Path, tmp_path: Path, removed: list[str]) -> Artifact:
    retriever = Retriever.load(artifact_folder)
    retriever.add_items(NEW)
    retriever.remove_items(removed)
    retriever.save(tmp_path / "changed")
    return load_artifact(tmp_path / "changed")


def test_the_evaluation_ranks_as_the_retriever_does(changed: Artifact, dataset: Dataset, removed: list[str]) -> None:
    check_holdout(changed, dataset, "test")
    cases = [case for case in make_cases(dataset) if case.target not in removed]
    (masked, unmasked) = evaluate_systems([make_trm_system("TRM", changed, HashingEncoder())], cases, changed.catalogue)
    retriever = Retriever(changed)
    for seen, scores in ((False, masked), (True, unmasked)):
        for case, rank in zip(cases, scores.ranks, strict=True):
            found = [item.id for item in retriever.retrieve(case.history, k=100, include_seen=seen)]
            assert found.index(case.target) + 1 == rank


def test_no_system_finds_an_item_that_was_removed(changed: Artifact, dataset: Dataset, removed: list[str]) -> None:
    cases = make_cases(dataset)
    evaluation = evaluate_trm(changed, dataset)
    assert evaluation.items == 52
    assert "full catalogue of 52 items" in evaluation.protocol
    gone = np.array([case.target in removed for case in cases])
    assert gone.any()
    for scores in evaluation.scores:
        assert np.isinf(scores.ranks[gone]).all()
        assert np.isfinite(scores.ranks[~gone]).any()
    assert any(f"{gone.sum()} targets were removed" in note for note in evaluation.notes)
