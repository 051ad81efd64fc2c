"""The windows that RecBole trains and validates on. Skipped where the extra `[trm]` is not installed."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from deeprec.trm_tool import Dataset
from tests.odd_dataset import make_odd_dataset

pytest.importorskip("recbole", reason="needs the extra [trm]")

from deeprec.trm_tool.trm.training.recbole_support import make_config, write_for_recbole
from deeprec.trm_tool.trm.training.sequence_windows import (
    TARGETS,
    WRITTEN,
    PreferenceAwareRecommender,
    WholeSequenceDataset,
)


def windows_of(dataset: Dataset, folder: Path, *, holdout: int, length: int = 4, overlap: int = 0) -> tuple[list, list]:  # type: ignore[type-arg]
    """What RecBole would train and validate on, as catalogue rows: (inputs, targets) and (inputs, target, history)."""
    write_for_recbole(dataset, folder)
    config = make_config(
        PreferenceAwareRecommender, folder, max_length=length, held_back=holdout - 1, window_overlap=overlap
    )
    whole = WholeSequenceDataset(config)
    train, validation = whole.build()

    def rows(numbers: torch.Tensor) -> list[int]:
        return [int(token[1:]) for token in whole.id2token("item_id", numbers.numpy()) if token != "[PAD]"]

    return (
        [(rows(a), rows(b)) for a, b in zip(train.inter_feat["item_id_list"], train.inter_feat[TARGETS], strict=True)],
        [
            (rows(a), rows(b.reshape(1))[0], rows(history))
            for a, b, history in zip(
                validation.inter_feat["item_id_list"],
                validation.inter_feat["item_id"],
                validation.histories,
                strict=True,
            )
        ],
    )


@pytest.mark.parametrize("holdout", [2, 3])
def test_held_out_items_never_enter_a_window(dataset: Dataset, tmp_path: Path, holdout: int) -> None:
    windows, validation = windows_of(dataset, tmp_path, holdout=holdout)
    steps = set()
    for inputs, targets in windows:
        assert len(inputs) == len(targets) <= 4
        steps |= set(zip(inputs, targets, strict=True))
    expected = set()
    for user in dataset.users:
        seen = dataset.catalogue.rows(dataset.history(user, holdout)).tolist()
        expected |= set(pairwise(seen))
    assert steps == expected
    for user, (inputs, target, history) in zip(dataset.users, validation, strict=True):
        past = dataset.catalogue.rows(dataset.history(user, 2)).tolist()
        assert (inputs, target, history) == (past[-4:], dataset.catalogue.row(dataset.target(user, 2)), past)


def test_a_held_out_item_that_nobody_else_has_stays_unseen(tmp_path: Path) -> None:
    windows, validation = windows_of(make_odd_dataset([[1, 2, 3, 4, 5, 6, 17, 18, 19]] * 2), tmp_path, holdout=3)
    assert not {17, 18, 19} & {row for inputs, targets in windows for row in inputs + targets}
    assert [target for _, target, _ in validation] == [18, 18]  # 19, the test item, is not even in RecBole's files
    assert "19" not in (tmp_path / "deeprec" / "deeprec.inter").read_text()


def test_windows_are_full_ones_and_overlap_on_demand(tmp_path: Path) -> None:
    sequence = list(range(13))
    plain, _ = windows_of(make_odd_dataset([sequence]), tmp_path / "a", holdout=2)
    # The earliest window is a full one too, and repeats steps of the next.
    assert [inputs for inputs, _ in plain] == [[6, 7, 8, 9], [2, 3, 4, 5], [0, 1, 2, 3]]
    assert all(targets == [row + 1 for row in inputs] for inputs, targets in plain)
    overlapping, _ = windows_of(make_odd_dataset([sequence]), tmp_path / "b", holdout=2, overlap=2)
    assert [inputs[0] for inputs, _ in overlapping] == [6, 4, 2, 0]


def test_odd_ids_and_short_histories_come_through(tmp_path: Path) -> None:
    dataset = make_odd_dataset([[0, 1, 2, 3, 4], [5, 4, 3], [2, 0, 1, 5]])
    windows, validation = windows_of(dataset, tmp_path, holdout=2)
    assert windows == [([0, 1], [1, 2]), ([2], [0])]  # the user with three items has no step left to train on
    assert validation == [([0, 1, 2], 3, [0, 1, 2]), ([5], 4, [5]), ([2, 0], 1, [2, 0])]


@pytest.mark.parametrize(("overlap", "length"), [(0, 3), (1, 4), (0, 20)])
def test_each_text_is_trained_at_its_own_item_of_its_own_user(
    dataset: Dataset, tmp_path: Path, overlap: int, length: int
) -> None:
    slots = {
        (f"u{number}", index): 100 * number + index
        for number, user in enumerate(dataset.users)
        for index in range(len(dataset.sequences[user]))
    }
    write_for_recbole(dataset, tmp_path)
    config = make_config(PreferenceAwareRecommender, tmp_path, max_length=length, held_back=1, window_overlap=overlap)
    whole = WholeSequenceDataset(config, slots)
    windows, _ = whole.build()
    seen = set()
    for numbers, targets in zip(windows.inter_feat[WRITTEN], windows.inter_feat[TARGETS], strict=True):
        for slot, target in zip(numbers.tolist(), whole.id2token("item_id", targets.numpy()), strict=True):
            if target == "[PAD]":
                assert slot == 0
                continue
            sequence = dataset.sequences[dataset.users[slot // 100]]
            assert sequence[slot % 100] == dataset.catalogue.ids[int(target[1:])]
            seen.add(slot)
    assert seen == {
        100 * number + index
        for number, user in enumerate(dataset.users)
        for index in range(1, len(dataset.sequences[user]) - 2)
    }
