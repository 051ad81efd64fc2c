"""Requests made from a data set: what a person took next, said in words that do not name it."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.made_requests.config import MadeRequestConfig
from deeprec.trm_tool.data.made_requests.sayable import Sayable
from deeprec.trm_tool.data.made_requests.sentences import Wish, write_message
from deeprec.trm_tool.data.made_requests.test_words import TEST_WORDS
from deeprec.trm_tool.data.made_requests.training_words import TRAINING_WORDS
from deeprec.trm_tool.data.made_requests.words import Words
from deeprec.trm_tool.data.requests.request import Request, Said
from deeprec.trm_tool.errors import DataError

_WORD_SETS: Mapping[str, Words] = {"training": TRAINING_WORDS, "test": TEST_WORDS}
_TARGETS: Mapping[str, int] = {"test": 1, "valid": 2, "train": 3}
_SOURCE = "made in {words} words"
_ATTEMPTS = 12
_EXAMPLES = 5


class LeftOut(StrEnum):
    """Why a request was not made, in words that complete "12 left out: …"."""

    NO_HISTORY = "too few interactions before the target"
    SEEN_TARGET = "the target was in the history"
    NOTHING_TO_SAY = "no attributes that fit several items"
    NAMED = "every message held a title or an id"


@dataclass(slots=True)
class RequestMaker:
    """Makes requests, and counts what it left out and why.

    Every wish fits several items, negations and bounds included; no message holds a title of the catalogue (the
    target's, or another of two words and more) or an item's id. What cannot be said so is left out and counted.

    Args:
        dataset: People, their sequences, and a catalogue with attributes.
        config: What is made.
        words: Words of your own in place of the config's set, such as `TRAINING_WORDS.with_values({...})`.
    """

    dataset: Dataset
    config: MadeRequestConfig
    words: Words | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> requests that were not made."""
    examples: list[str] = field(default_factory=list)
    """The first messages."""

    def make(self) -> Iterator[Request]:
        """The requests, person by person; the same for the same data and config.

        Raises:
            DataError: no attribute of the catalogue can be said.
        """
        sayable = Sayable(self.dataset.catalogue, self.config.min_fitting)
        if not sayable.values_of:
            raise DataError(
                f"{self.dataset.name} has no attribute value that {self.config.min_fitting} items share, so nothing "
                "can be said of an item. Import items with categories or tags, or lower --min-fitting."
            )
        for user in self.dataset.users:
            for number in range(self.config.per_person):
                made = self._request(sayable, user, _TARGETS[self.config.split] + number)
                if isinstance(made, Request):
                    self.examples += [made.message] if len(self.examples) < _EXAMPLES else []
                    yield made
                else:
                    self.left_out[made] += 1

    def _request(self, sayable: Sayable, user: str, holdout: int) -> Request | LeftOut:
        sequence = self.dataset.sequences[user]
        if len(sequence) <= holdout:
            return LeftOut.NO_HISTORY
        rng = _generator(self.config.seed, self.config.words, user, holdout)
        targets = [sequence[-holdout]]
        has_second = rng.random() < self.config.second_wishes and self.config.split == "train"
        if has_second and len(sequence) > holdout + 1:
            targets.insert(0, sequence[-holdout - 1])
        history = sequence[: len(sequence) - holdout - len(targets) + 1]
        if set(targets) & set(history) or len(set(targets)) < len(targets):
            return LeftOut.SEEN_TARGET
        words = self.words or _WORD_SETS[self.config.words]
        negated, bounded = rng.random() < self.config.negations, rng.random() < self.config.bounds
        reason = LeftOut.NOTHING_TO_SAY
        for _ in range(_ATTEMPTS):
            wishes = [sayable.wish(target, rng, negated=negated, bounded=bounded) for target in targets]
            said = [wish for wish in wishes if wish is not None]
            if len(said) < len(targets):
                continue
            voice = str(rng.choice(sorted(words.voices)))
            message = write_message(words, voice, said, rng)
            if sayable.names_an_item(message, targets):
                reason = LeftOut.NAMED
                continue
            return Request(
                conversation=f"made-{self.config.words}-{user}-{holdout}",
                person=user,
                history=history,
                message=message,
                targets=tuple(targets),
                said=tuple(map(_said, said)),
                source=_SOURCE.format(words=self.config.words),
                made=True,
            )
        return reason


def is_in_test_words(request: Request) -> bool:
    """Whether a request was made in test words, which no training may learn from."""
    return request.made and request.source == _SOURCE.format(words="test")


def _said(wish: Wish) -> Said:
    where: dict[str, dict[str, float]] = {}
    for bound in wish.bounds:
        where.setdefault(bound.attribute, {})[bound.bound] = bound.number
    return Said(
        wanted=tuple(value.phrase for value in wish.wanted),
        unwanted=tuple(value.phrase for value in wish.unwanted),
        where=where or None,
    )


def _generator(*key: object) -> Generator:
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
