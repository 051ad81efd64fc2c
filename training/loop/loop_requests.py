"""The requests of a loop: those that it trains on, and those that it validates on, which no training reads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from deeprec.evals.requests.cases import Case
from deeprec.evals.requests.request_cases import MADE_TEST, made_request_cases, read_request_cases
from deeprec.training.loop.config import LoopConfig
from deeprec.training.rollouts.instances import SPLIT
from deeprec.trm_tool import Dataset, Recommender


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRequests:
    """The cases of a loop's requests."""

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    notes: tuple[str, ...]
    """What was left out of either, a sentence each."""

    @property
    def fingerprint(self) -> str:
        """A digest of all cases: the files may change under their names."""
        cases = [(case.key, case.user, case.history, case.message, case.where) for case in self.training]
        cases += [(case.key, case.user, case.history, case.message, case.where) for case in self.validation]
        return hashlib.sha256(json.dumps(cases, sort_keys=True).encode()).hexdigest()


def read_loop_requests(config: LoopConfig, dataset: Dataset, recommender: Recommender) -> LoopRequests | None:
    """Read or make the requests of a loop; None where it trains on histories alone.

    Raises:
        DataError: a file of requests is missing, damaged, or of another catalogue.
        ConfigError: one of them has no case, or no message.
    """
    if config.requests is None:
        return None
    catalogue, validation = recommender.catalogue, config.validation_requests or MADE_TEST
    if config.requests == MADE_TEST:
        training = made_request_cases(dataset, catalogue, SPLIT, words="training", seed=config.seed)
    else:
        training = read_request_cases(Path(config.path_of(config.requests)), catalogue)
    if validation == MADE_TEST:
        held_out = made_request_cases(dataset, catalogue, "valid")
    else:
        held_out = read_request_cases(Path(config.path_of(validation)), catalogue)
    return LoopRequests(
        training=training.cases, validation=held_out.cases, notes=tuple(dict.fromkeys(training.notes + held_out.notes))
    )
