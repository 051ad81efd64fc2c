"""Cases of an evaluation: a user's history, what they said if anything, and the item that came next."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deeprec.trm_tool.catalogue.filters import Where
from deeprec.trm_tool.data import Said
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

SPLITS: Mapping[str, int] = {"test": 1, "valid": 2, "train": 3}
"""Split -> which item from the end of a user's sequence is the target; `train` is what policies are trained on."""
TARGET_WORDS: Mapping[str, str] = {"test": "last item", "valid": "last item but one", "train": "last item but two"}
"""`SPLITS` in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One user's history and the item that came next; of a request also its message and its conversation."""

    user: str
    """The person; the conversation where a request names no person."""
    history: tuple[str, ...]
    """Item ids, oldest first; it ends just before the target."""
    target: str
    message: str | None = None
    """What the person said; None where they said nothing."""
    where: Where | None = field(default=None, hash=False)
    """Constraints that came with the request; every system's list is held to them."""
    conversation: str | None = None
    """The conversation of the request; None where the case is not of a request."""
    turn: int = 0
    """The request's position in the conversation."""
    said: tuple[Said, ...] | None = field(default=None, hash=False)
    """What the message expresses, where that is known. No system reads it."""

    @property
    def key(self) -> str:
        """What tells the cases of one evaluation apart: the user, or conversation, turn and target of a request."""
        return self.user if self.conversation is None else case_key(self.conversation, self.turn, self.target)

    @property
    def cluster(self) -> str:
        """What is resampled as a whole: the conversation of a request, else the user."""
        return self.user if self.conversation is None else self.conversation


def case_key(conversation: str, turn: int, target: str) -> str:
    """Return the key of a request's case."""
    return f"{conversation} #{turn} {target}"


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
