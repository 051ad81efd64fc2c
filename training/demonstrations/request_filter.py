"""Which requests a demonstration may be made of: none that a policy or a recommender is evaluated on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from deeprec.evals.requests.cases import SPLITS, Case
from deeprec.evals.requests.leaks import Pair, check_holdout, evaluated_pairs, held_out_cases
from deeprec.evals.requests.request_cases import request_cases
from deeprec.training.rollouts.instances import SPLIT, check_same_data
from deeprec.trm_tool import Dataset, Recommender
from deeprec.trm_tool.data import Request
from deeprec.trm_tool.data.made_requests.request_maker import is_in_test_words
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import readable_words


class Refusal(StrEnum):
    """Why no demonstration is made of a request, or of a target of it, in words that complete "left out: 12 (…)"."""

    NO_TARGET = "no target"
    UNKNOWN_TARGETS = "targets that the catalogue lacks"
    NO_WORDS = "no words"
    TEST_WORDS = "made in words that are kept for tests"
    NO_SPLIT = "a person whom the data does not have, so that no split is known (name what is held out)"
    HELD_OUT_CONVERSATION = "a conversation that is held out"
    LEARNED_CONVERSATION = "a conversation that the recommender has learned"
    HELD_OUT_TARGET = "a target that is held out"
    HELD_OUT_HISTORY = "a held-out item of the person in the history"
    LEARNED_TARGET = "a target that the recommender has learned"
    REMOVED_TARGET = "a target that was removed from the catalogue"


class RequestFilter:
    """Decides which targets of requests may be demonstrated, by the rules of instances (`select_request_instances`).

    Args:
        recommender: What the runs ask. It was trained on `dataset` without the last items of each person.
        dataset: People and their sequences, whose last two items are held out; None with `allow_leaks` alone.
        held_out: Cases that a policy is validated or tested on. With them a person whom the data does not have is
            accepted.
        allow_leaks: Whether held-out targets, words of tests and people without a split are accepted, and any
            recommender; their runs are stored under the split that they are of, or none.

    Raises:
        ConfigError: the recommender was trained on other data, or has learned the targets of the training split.
    """

    def __init__(
        self,
        recommender: Recommender,
        dataset: Dataset | None,
        *,
        held_out: Sequence[Case] = (),
        allow_leaks: bool = False,
    ) -> None:
        if not allow_leaks:
            if dataset is None:
                raise ConfigError(
                    "No data is named, so nothing says which targets are held out. Name what the recommender was "
                    "trained on, or allow leaks and evaluate on other people."
                )
            check_same_data(recommender, dataset)
            check_holdout(recommender, dataset, SPLIT)
        self._recommender, self._dataset, self._allow_leaks = recommender, dataset, allow_leaks
        self._pairs: set[Pair] = evaluated_pairs(held_out)
        self._conversations = {case.cluster for case in held_out}

    def of(self, request: Request) -> Iterator[tuple[Case, str | None] | Refusal]:
        """The cases of a request whose items the catalogue has, each with its split, or why there is none."""
        if not request.targets:
            yield Refusal.NO_TARGET
        elif not readable_words(request.message, len(request.message)):
            yield Refusal.NO_WORDS
        elif not self._allow_leaks and is_in_test_words(request):
            yield Refusal.TEST_WORDS
        else:
            for case in request_cases(request):
                yield self._refusal(case) or (case, self._split(case))

    def _refusal(self, case: Case) -> Refusal | None:
        sequence = self._sequence(case)
        last = set(sequence[1 - SPLITS[SPLIT] :])
        if case.target in self._recommender.catalogue.removed:
            return Refusal.REMOVED_TARGET
        if self._allow_leaks:
            return None
        if case.cluster in self._conversations:
            return Refusal.HELD_OUT_CONVERSATION
        if not held_out_cases(self._recommender, [case]):
            return Refusal.LEARNED_CONVERSATION
        if (case.user, case.target) in self._pairs or case.target in last:
            return Refusal.HELD_OUT_TARGET
        if last.intersection(case.history):
            return Refusal.HELD_OUT_HISTORY
        if not sequence and not self._conversations:
            return Refusal.NO_SPLIT
        learned = sequence[: max(0, len(sequence) - (self._recommender.identity.holdout or 0))]
        return Refusal.LEARNED_TARGET if case.target in learned else None

    def _split(self, case: Case) -> str | None:
        """The split that a case is of: that of a held-out item of its person, else the one of training."""
        sequence = self._sequence(case)
        for split, from_end in SPLITS.items():
            if split != SPLIT and len(sequence) >= from_end and sequence[-from_end] == case.target:
                return split
        return SPLIT if sequence or self._conversations else None

    def _sequence(self, case: Case) -> tuple[str, ...]:
        return tuple(self._dataset.sequences.get(case.user, ())) if self._dataset is not None else ()
