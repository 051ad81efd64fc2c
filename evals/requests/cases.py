"""Cases of an evaluation: a user's history and the item that came next."""

from collections.abc import Mapping
from dataclasses import dataclass

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

SPLITS: Mapping[str, int] = {"test": 1, "valid": 2, "train": 3}
"""Split -> which item from the end of a user's sequence is the target; `train` is what policies are trained on."""
TARGET_WORDS: Mapping[str, str] = {"test": "last item", "valid": "last item but one", "train": "last item but two"}
"""`SPLITS` in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One user's history and the item that came next."""

    user: str
    history: tuple[str, ...]
    """Item ids, oldest first; it ends just before the target."""
    target: str


def make_case(dataset: Dataset, user: str, holdout: int = 1) -> Case:
    """Make the case of one user whose target is the `holdout`-th item from the end of their sequence."""
    return Case(user=user, history=dataset.history(user, holdout), target=dataset.target(user, holdout))


def make_cases(dataset: Dataset, split: str = "test", *, positions: int = 1) -> list[Case]:
    """Make the cases of every user.

    The target of `test` is the last item, that of `valid` the one before, that of `train` the one before that.

    With `positions` above 1, that many items of each user are targets, counted backwards from the split's own, each
    with the history before it: a narrower interval, for models that have read none of them (`Dataset.without_last`).
    All cases of a position come before those of the next; positions without a history are left out.
    """
    first = check_split(split)
    return [
        make_case(dataset, user, holdout)
        for holdout in range(first, first + positions)
        for user in dataset.users
        if len(dataset.sequences[user]) > holdout
    ]


def check_split(split: str) -> int:
    """Return how far from the end of a user's sequence the targets of `split` lie, or raise ConfigError."""
    if split not in SPLITS:
        raise ConfigError(f"There is no split {split!r}. Choose {' or '.join(SPLITS)}.")
    return SPLITS[split]
