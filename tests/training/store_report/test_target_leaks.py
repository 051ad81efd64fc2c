"""Targets that runs give away are found in the data, whatever the runs' labels say."""

from typing import Any

import pytest

from deeprec.agent.traces import TraceStore
from deeprec.training import report_store
from deeprec.training.store_report.target_leaks import find_leaks
from deeprec.trm_tool import Dataset
from tests.made_runs import made_run, store_runs

USER = "u11"


def store_one(store: TraceStore, dataset: Dataset, **changes: Any) -> None:
    record = {"user_id": USER, "trm_holdout": 3, "dataset_fingerprint": dataset.fingerprint, "target_id": None}
    store_runs(store, made_run(run=record | changes))


@pytest.mark.parametrize(
    ("from_end", "changes", "leak"),
    [
        (3, {}, None),
        (3, {"split": None}, None),  # unlabelled, and checked
        (3, {"trm_holdout": 2}, "used a recommender of holdout 2"),
        (3, {"trm_holdout": 2, "split": None}, "targets that their recommender has learned"),
        (4, {}, "targets that their recommender has learned"),  # labelled as train, and is not the third-last
        (1, {}, "about targets of the splits valid or test, whatever their own says"),
        (2, {"split": None}, "about targets of the splits valid or test"),
        (3, {"split": None, "dataset_fingerprint": "other"}, "a target and no split"),
        (3, {"split": None, "user_id": "nobody"}, "a target and no split"),
        (3, {"dataset_fingerprint": "other"}, None),  # the label is all that there is
    ],
)
def test_the_pair_of_person_and_target_decides(
    store: TraceStore, dataset: Dataset, from_end: int, changes: dict[str, Any], leak: str | None
) -> None:
    sequence = dataset.sequences[USER]
    assert len(set(sequence)) == len(sequence)
    store_one(store, dataset, **{"target_id": sequence[-from_end], **changes})
    found = " ".join(find_leaks(store, dataset=dataset))
    assert found == "" if leak is None else leak in found
    assert report_store(store, dataset=dataset).leaks == tuple(find_leaks(store, dataset=dataset))


def test_without_the_data_an_unlabelled_target_is_refused_and_a_run_without_one_is_not(
    store: TraceStore, dataset: Dataset
) -> None:
    store_one(store, dataset, split=None)
    assert find_leaks(store) == []
    store_one(store, dataset, split=None, target_id=dataset.sequences[USER][-3])
    assert "1 runs" in " ".join(find_leaks(store))
    assert "name the data of the runs with --data" in " ".join(find_leaks(store))
