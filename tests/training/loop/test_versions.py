"""Which folders of a loop's versions stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.training.loop.versions import PolicyVersions


@pytest.mark.parametrize(
    ("newest", "kept", "left"),
    [
        (9, 5, [1, 3, 5, 6, 7, 8, 9]),
        (9, 1, [1, 3, 7, 8, 9]),  # three stay at least
        (7, 2, [1, 3, 5, 6, 7, 8, 9]),  # gone on from a checkpoint before version 7
    ],
)
def test_the_versions_up_to_the_last_trained_one_stay_that_are_needed(
    tmp_path: Path, newest: int, kept: int, left: list[int]
) -> None:
    versions = PolicyVersions(out=tmp_path, base="tiny", fingerprints={})
    for number in range(1, 10):
        versions.folder(number).mkdir(parents=True)
    versions.delete_old(newest, kept=kept, keep={"rec-v1", "rec-v3"})
    assert [number for number in range(1, 10) if versions.folder(number).is_dir()] == left
