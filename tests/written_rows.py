"""Rows of a preference file as runs on a data set would write them."""

from typing import Any

from deeprec.trm_tool import Dataset, WrittenPreference, history_digest

USER = "u1"


def written(dataset: Dataset, *, before: int = 3, user: str = USER, **changes: Any) -> WrittenPreference:
    """A preference about the item `before` from the end of a user's sequence (1: the last), as a run logs it."""
    history = dataset.history(user, before)
    values: dict[str, Any] = {
        "run_id": "00000000-0000-4000-8000-000000000001",
        "turn": 0,
        "retrieval": 0,
        "user_id": user,
        "target_id": dataset.target(user, before) if before else None,
        "split": "train",
        "history_length": len(history),
        "history_sha256": history_digest(history),
        "policy_model": "SmolLM2-135M-Instruct",
        "adapter": None,
        "adapter_version": None,
        "guided": True,
        "trm_fingerprint": "ab" * 8,
        "trm_holdout": max(before, 3),
        "dataset_fingerprint": dataset.fingerprint,
        "preference": "comedy; 1990s",
    }
    return WrittenPreference(**values | changes)
