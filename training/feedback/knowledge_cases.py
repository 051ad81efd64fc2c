"""The people that knowledge is written about, and which of their items each part of recommender feedback reads.

    split   target        what for
    learn   fourth-last   the augmented recommender is trained with knowledge about it; it learns this item
    train   third-last    the reward model scores knowledge by it; no recommender has learned it
    valid   last but one  the trust in knowledge is chosen on it
    test    last          measured

A history ends right before its target, so that knowledge for `train` is written without any item that is held out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deeprec.evals.requests.cases import SPLITS, Case, make_case
from deeprec.evals.requests.request_cases import request_cases
from deeprec.trm_tool.data import MadeRequestConfig, RequestMaker
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.made_requests.words import WordSet
from deeprec.trm_tool.errors import ConfigError

LEARN = "learn"
DISTANCES: Mapping[str, int] = {LEARN: 4, **SPLITS}
"""Split -> which item from the end of a person's sequence is the target."""


def knowledge_cases(
    dataset: Dataset, split: str, *, people: int | None = None, requests: bool = False, seed: int = 0
) -> list[Case]:
    """Choose people at random, the same ones for every split, each with the history before the target of the split.

    A target that its person has elsewhere among the read or the held-out items is left out.

    Args:
        dataset: People and sequences.
        split: `learn`, `train`, `valid` or `test`.
        people: How many, at most; None for all.
        requests: Whether each says a made sentence about the target, in training words for `learn` and `train` and in
            the words of tests for `valid` and `test`. People of whose target nothing can be said are left out.
        seed: Of the choice.

    Raises:
        ConfigError: there is no such split, or nobody is left.
    """
    if split not in DISTANCES:
        raise ConfigError(f"There is no split {split!r}. Choose {', '.join(DISTANCES)}.")
    distance = DISTANCES[split]
    fair = {}
    for user in dataset.users:
        sequence = dataset.sequences[user]
        if len(sequence) > distance:
            target, at = sequence[-distance], len(sequence) - distance
            if target not in sequence[:at] and target not in sequence[at + 1 :]:
                fair[user] = make_case(dataset, user, distance)
    if requests:
        made = _made(dataset, distance, split, seed)
        fair = {user: made[user] for user in fair if user in made}
    shuffled = [dataset.users[at] for at in np.random.default_rng(seed).permutation(len(dataset.users))]
    chosen = [fair[user] for user in shuffled if user in fair][:people]
    if not chosen:
        raise ConfigError(
            f"Nobody of {dataset.name} has {distance + 1} items of which the target is no other one, so there is "
            f"nobody to write knowledge about in the split {split}. Use data with longer histories."
        )
    return chosen


def _made(dataset: Dataset, distance: int, split: str, seed: int) -> dict[str, Case]:
    """Person -> the case of a made request about the item `distance` from the end."""
    words: WordSet = "test" if split in ("valid", "test") else "training"
    config = MadeRequestConfig(words=words, split="test", second_wishes=0.0, seed=seed)
    requests = RequestMaker(dataset.without_last(distance - 1), config).make()
    return {case.user: case for request in requests for case in request_cases(request)}
