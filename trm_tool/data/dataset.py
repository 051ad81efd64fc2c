"""Interactions as one sequence for each user, with the leave-one-out split of training and evaluation."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property

from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.errors import ConfigError, DataError

MIN_INTERACTIONS = 3
"""Interactions that a user must have: a test target, a validation target and something before them."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A catalogue and the interactions of its users, in order of time."""

    name: str
    catalogue: Catalogue
    users: tuple[str, ...]
    """Users in the order of their first interaction in the file."""
    sequences: dict[str, tuple[str, ...]]
    """User -> item ids, oldest first, ties in time by file order."""
    tied_targets: int = 0
    """Users whose last two time stamps tie, so that file order decides their test target."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Kind of bad row -> how many were left out on request."""

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) over item ids, users and sequences: equal data in equal order have equal fingerprints."""
        digest = hashlib.sha256(json.dumps(self.catalogue.ids).encode())
        for user in self.users:
            digest.update(json.dumps([user, self.sequences[user]]).encode())
        return digest.hexdigest()

    @property
    def interactions(self) -> int:
        """Interactions of all users together."""
        return sum(len(sequence) for sequence in self.sequences.values())

    def history(self, user: str, holdout: int = 0) -> tuple[str, ...]:
        """Items of a user before the last `holdout` ones, oldest first.

        `history(user, h)` ends just before `target(user, h)`.

        Raises:
            DataError: the data has no such user.
        """
        sequence = self._sequence(user)
        if holdout < 0:
            raise ConfigError(f"holdout is {holdout}. Give the number of items to hold out, 0 or more.")
        return sequence[: max(len(sequence) - holdout, 0)]

    def target(self, user: str, holdout: int) -> str:
        """The held-out item `holdout` from the end: 1 is the test target, 2 that of validation, 3 that of RL.

        Raises:
            DataError: the data has no such user, or the user has fewer than `holdout` interactions.
        """
        sequence = self._sequence(user)
        if holdout < 1:
            raise ConfigError(f"holdout is {holdout}; no item is held out. Give 1 (test), 2 (validation) or 3 (RL).")
        if holdout > len(sequence):
            raise DataError(f"User {user!r} has {len(sequence)} interactions, so no item {holdout} from the end.")
        return sequence[-holdout]

    def without_last(self, count: int) -> "Dataset":
        """The data as it was before the last `count` interactions of each user.

        A model trained on it has read none of those items, so that each of them is a fair target. Users with fewer than
        3 interactions are then left out; the catalogue stays whole.

        Raises:
            ConfigError: `count` is negative.
        """
        if count < 0:
            raise ConfigError(f"count is {count}. Give the number of items to leave out, 0 or more.")
        if not count:
            return self
        kept = {user: self.sequences[user][: len(self.sequences[user]) - count] for user in self.users}
        kept = {user: sequence for user, sequence in kept.items() if len(sequence) >= MIN_INTERACTIONS}
        return replace(
            self, users=tuple(kept), sequences=kept, tied_targets=0, name=f"{self.name} without the last {count}"
        )

    def _sequence(self, user: str) -> tuple[str, ...]:
        try:
            return self.sequences[user]
        except KeyError:
            some = ", ".join(self.users[:3])
            raise DataError(
                f"No user {user!r} in {self.name}: it has {len(self.users)} users, such as {some}. "
                "Name one of them, or give a history of item ids."
            ) from None
