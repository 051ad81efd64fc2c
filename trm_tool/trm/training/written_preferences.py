"""Preferences written in logged runs as training preferences, each at the one position that it was written for.

A run reads a history and writes what to search for next. That is a preference about the item that follows the history,
so it is trained at exactly that position of that person's sequence, and nowhere else.

Not every preference may be trained on. Let the item after the history be the d-th from the end of the person's
sequence, let the run's recommender have been trained with holdout r (so that it knows all but the last r items), and
let this training hold out h. Then d must be above h: neither the target nor anything in the history is held out now.
And d must be at most r: the model wrote its preference after it read the recommender's answers, and a recommender that
has learned the target gives it away, so that such preferences would be trusted more than later ones deserve. Together:
h < d <= r.

    recommender   runs about the item   trains models with
    holdout 2     last, or last but one no holdout: both are targets of the test or of validation; report on them
    holdout 3     third-last (d = 3)    holdout 2
    holdout 4     third- or fourth-last holdout 2; of the fourth-last also holdout 3

All of this is proved from the row and the data: the data must have the fingerprint of the data that
the run's recommender was trained on (in other data it may have learned what is held out here), and the history must be,
by its digest, the beginning of that person's sequence.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.preference_file import WrittenPreference, history_digest
from deeprec.trm_tool.errors import ConfigError, DataError

Position = tuple[str, int]
"""A user, and the 0-based index of the item to predict in that user's sequence."""


class Refusal(StrEnum):
    """Why a written preference is not used, in words that complete "refused: 12 with …"."""

    NO_TEXT = "an empty text"
    NO_USER = "no user"
    OTHER_DATA = "a recommender of other data"
    UNKNOWN_USER = "a user that the data lacks"
    OTHER_HISTORY = "a history that is not the beginning of the user's"
    OTHER_TARGET = "a target that does not follow the history"
    HELD_OUT_RUN = "a run of the test or validation split"
    HELD_OUT_HISTORY = "a history that reaches into the held-out items"
    HELD_OUT_TARGET = "a held-out item as the target"
    KNOWN_TARGET = "a recommender that had learned the target"
    NO_HISTORY = "an empty history"
    OTHER_POSITION = "a target that is not the split's"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTexts:
    """Written preferences at their training positions, and what became of the others."""

    texts: Mapping[Position, tuple[str, ...]]
    """Different texts in the order in which they were read; never empty."""
    read: int
    """Preferences that were read."""
    refused: Mapping[str, int]
    """`Refusal` -> how many."""

    @property
    def used(self) -> int:
        """Preferences that are trained on."""
        return self.read - sum(self.refused.values())

    def to_dict(self) -> dict[str, Any]:
        """The counts, as `metrics.json` keeps them."""
        return {
            "read": self.read,
            "used": self.used,
            "positions": len(self.texts),
            "refused": dict(self.refused),
        }

    def __str__(self) -> str:
        positions = f"{len(self.texts)} position{'' if len(self.texts) == 1 else 's'}"
        return f"{self.used} of {self.read} written preferences, at {positions}{_listed(self.refused)}"


def collect_training_texts(dataset: Dataset, holdout: int, rows: Iterable[WrittenPreference]) -> WrittenTexts:
    """Sort written preferences by the training position that they belong to, and refuse what would leak.

    Args:
        dataset: The training data.
        holdout: How many of each person's last items this training does not see.
        rows: As `read_preference_file` gives them.

    Raises:
        ConfigError: `holdout` is below 1, so nothing would be held out.
        DataError: no preference can be used; the message counts the reasons.
    """
    if holdout < 1:
        raise ConfigError(f"holdout is {holdout}; test targets would be trained on. Set it to 2 or more.")
    locate = make_locator(dataset)
    texts: dict[Position, dict[str, None]] = {}
    refused: Counter[str] = Counter()
    read = 0
    for row in rows:
        read += 1
        found = _training_index(dataset, holdout, row, locate)
        if isinstance(found, Refusal):
            refused[found] += 1
        else:
            texts.setdefault((str(row.user_id), found), {})[row.preference] = None
    if not texts:
        raise DataError(
            f"None of {read} written preferences can be trained on with holdout {holdout}{_listed(refused)}. Log runs "
            f"about the item {holdout + 1} from the end, with a recommender trained with holdout {holdout + 1}."
        )
    return WrittenTexts(
        texts={position: tuple(own) for position, own in texts.items()}, read=read, refused=dict(refused.most_common())
    )


def make_locator(dataset: Dataset) -> Callable[[WrittenPreference], int | Refusal]:
    """Build the function that finds where in this data a preference was written.

    Returns:
        f(row) -> 0-based index of the item that follows the run's history in the sequence of its user (the length of
        the sequence where the history is all of it), or why no position could be proved.
    """
    digests: dict[Position, str] = {}

    def locate(row: WrittenPreference) -> int | Refusal:
        if not row.preference:
            return Refusal.NO_TEXT
        if row.user_id is None:
            return Refusal.NO_USER
        if row.dataset_fingerprint != dataset.fingerprint:
            return Refusal.OTHER_DATA
        sequence = dataset.sequences.get(row.user_id)
        if sequence is None:
            return Refusal.UNKNOWN_USER
        index = row.history_length
        if index > len(sequence):
            return Refusal.OTHER_HISTORY
        position = (row.user_id, index)
        if position not in digests:
            digests[position] = history_digest(sequence[:index])
        if row.history_sha256 != digests[position]:
            return Refusal.OTHER_HISTORY
        if row.target_id is not None and (index == len(sequence) or row.target_id != sequence[index]):
            return Refusal.OTHER_TARGET
        return index

    return locate


def knew_target(row: WrittenPreference, distance: int) -> bool:
    """Whether the run's recommender may have been trained on its target, the item `distance` from the end (1: last)."""
    return row.trm_holdout is None or row.trm_holdout < distance


def _training_index(
    dataset: Dataset,
    holdout: int,
    row: WrittenPreference,
    locate: Callable[[WrittenPreference], int | Refusal],
) -> int | Refusal:
    if row.split is not None and row.split.strip().casefold().startswith(("test", "val")):
        return Refusal.HELD_OUT_RUN
    index = locate(row)
    if isinstance(index, Refusal):
        return index
    sequence = dataset.sequences[str(row.user_id)]
    trained = len(sequence) - holdout
    if index > trained:
        return Refusal.HELD_OUT_HISTORY
    # The pair of person and item is what is held out: an item that recurs among the held-out ones would leak as well.
    if index == trained or sequence[index] in sequence[trained:]:
        return Refusal.HELD_OUT_TARGET
    if knew_target(row, len(sequence) - index):
        return Refusal.KNOWN_TARGET
    return index or Refusal.NO_HISTORY  # the first item of a sequence is never predicted


def _listed(refused: Mapping[str, int]) -> str:
    counts = Counter(refused).most_common()
    return f" (refused: {', '.join(f'{count} with {reason}' for reason, count in counts)})" if counts else ""
