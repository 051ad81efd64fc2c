"""The requests of a loop: those that it trains and those that it validates on; and the instances that it deals out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.evals.requests.cases import Case
from deeprec.evals.requests.request_cases import MADE_TEST, made_request_cases, read_request_cases
from deeprec.training.loop.config import LoopConfig
from deeprec.training.rollouts.instances import SPLIT, Selection, select_instances
from deeprec.training.rollouts.request_instances import select_request_instances
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


def deal_instances(
    config: LoopConfig, dataset: Dataset, recommender: Recommender, requests: LoopRequests | None
) -> Selection:
    """Select the instances of a loop's stages: of its requests, or of the people's histories where there are none.

    Args:
        config: The settings of the loop.
        dataset: Its data.
        recommender: Its recommender.
        requests: As of `read_loop_requests`.
    """
    dealt: dict[str, Any] = {
        "max_rank": config.max_rank,
        "interaction_share": config.interaction_share,
        "seed": config.seed,
    }
    if requests is None:
        return select_instances(dataset, recommender, **dealt)
    return select_request_instances(requests.training, dataset, recommender, held_out=requests.validation, **dealt)
