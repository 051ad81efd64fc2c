"""Instances: the people that a policy is trained on, each with a history and a target.

Those of requests, with what the person said, are in `request_instances.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deeprec.evals.requests.cases import SPLITS, Case, make_cases
from deeprec.evals.requests.leaks import check_holdout
from deeprec.training.rewards.stages import Stage, check_stage
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import Query, Recommender, ranks_of
from deeprec.trm_tool.trm.artifact import Artifact
from deeprec.trm_tool.trm.retriever import Retriever

SPLIT = "train"
"""The split under which the runs of instances are stored."""
TOO_FEW_ITEMS = "too few items"
HELD_OUT_TARGET = "target held out"
SEEN_TARGET = "target seen before"
REMOVED_TARGET = "target removed"
TOO_HARD = "ranked too low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance(Case):
    """A case that a policy is trained on; its history is never empty, but for one of a request."""

    trm_rank: int
    """1-based rank of the target by the recommender from the history alone, of a request from history and words; seen
    items are masked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The instances of both stages. No person is in two of them."""

    interaction: tuple[Instance, ...]
    """Instances of the stage `interaction`, in random order."""
    recommendation: tuple[Instance, ...]
    """Instances of the stage `recommendation`, in random order."""
    left_out: Mapping[str, int]
    """Reason -> how many people (or cases of requests) were left out: `too few items`, `target held out`, `target seen
    before`, `target removed`, `ranked too low`, `conversation held out`."""
    max_rank: int
    """The lowest rank of a target that was accepted."""

    def of(self, stage: Stage) -> tuple[Instance, ...]:
        """The instances of one stage.

        Raises:
            ConfigError: it has none; the message counts the reasons why people were left out.
        """
        chosen = self.interaction if check_stage(stage) == "interaction" else self.recommendation
        if not chosen:
            others = len(self.interaction) + len(self.recommendation)
            why = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
            raise ConfigError(
                f"The stage {stage} has no instances: {others} people are in the other stage, and "
                f"{f'left out were {why}' if why else 'no one was left out'}. Raise the rank up to which a target "
                f"counts (now {self.max_rank}), change the share of the stages, or use more data."
            )
        return chosen


def select_instances(
    dataset: Dataset,
    recommender: Recommender | Artifact,
    encoder: Encoder | None = None,
    *,
    max_rank: int = 100,
    interaction_share: float = 0.2,
    seed: int = 0,
) -> Selection:
    """Select the instances of the two stages: the third-last item of each person is the target.

    People are assigned to the stages before the recommender ranks their targets, so that with the same data and seed
    everybody stays in one stage, whatever the recommender or `max_rank`. Validation and test targets of a person are
    never that person's target here, also where the sequence has an item twice.

    Args:
        dataset: people and targets.
        recommender: the recommender of the runs: a `Retriever`, its artifact, or one of your own. It was trained on
            this data without the three last items of each person, and reports that in its `identity`.
        encoder: the text encoder of an artifact; None makes it by its id.
        max_rank: the lowest rank of the target by the recommender alone; people beyond it are too hard to learn from.
        interaction_share: the share of people in the stage `interaction`; the others are in `recommendation`. The
            default follows the paper's 20 and 80 steps.
        seed: decides the stages and the order within them.

    Raises:
        ConfigError: the recommender has learned some of the three last items, or less than it may, does not report
            what it was trained on, was trained on other data, or lacks items of the data.
    """
    if max_rank < 1:
        raise ConfigError(f"max_rank is {max_rank}; no target would be left. Give 1 or more.")
    if not 0 <= interaction_share <= 1:
        raise ConfigError(f"interaction_share is {interaction_share}. Give a share of the people, from 0 to 1.")
    if isinstance(recommender, Artifact):
        recommender = Retriever(recommender, encoder)
    _check_trained_for_this(recommender, dataset)
    cases = {case.user: case for case in make_cases(dataset, SPLIT)}
    left_out = Counter({TOO_FEW_ITEMS: 0, HELD_OUT_TARGET: 0, SEEN_TARGET: 0, REMOVED_TARGET: 0, TOO_HARD: 0})
    left_out[TOO_FEW_ITEMS] = len(dataset.users) - len(cases)
    kept = []
    for case in cases.values():
        if case.target in dataset.sequences[case.user][1 - SPLITS[SPLIT] :]:
            left_out[HELD_OUT_TARGET] += 1
        elif case.target in case.history:
            left_out[SEEN_TARGET] += 1
        elif case.target in recommender.catalogue.removed:
            left_out[REMOVED_TARGET] += 1
        else:
            kept.append(case)
    ranks = ranks_of(recommender, [case.target for case in kept], [Query(history=case.history) for case in kept])
    instances = {
        case.user: Instance(user=case.user, history=case.history, target=case.target, trm_rank=int(rank))
        for case, rank in zip(kept, ranks, strict=True)
        if rank <= max_rank
    }
    left_out[TOO_HARD] = len(kept) - len(instances)
    shuffled = [dataset.users[at] for at in np.random.default_rng(seed).permutation(len(dataset.users))]
    first = round(interaction_share * len(shuffled))
    return Selection(
        interaction=tuple(instances[user] for user in shuffled[:first] if user in instances),
        recommendation=tuple(instances[user] for user in shuffled[first:] if user in instances),
        left_out=dict(left_out),
        max_rank=max_rank,
    )


def check_same_data(recommender: Recommender, dataset: Dataset) -> None:
    """Raise ConfigError where a recommender was trained on other data, or does not report on which."""
    trained_on, needed = recommender.identity.dataset_fingerprint, SPLITS[SPLIT]
    remedy = f"Train one on this data with `deeprec trm train --holdout {needed}`"
    if trained_on is None:
        raise ConfigError(
            f"The recommender does not report which data it was trained on. {remedy}, or set "
            "`identity.dataset_fingerprint` of your own to the data's fingerprint."
        )
    if trained_on != dataset.fingerprint:
        raise ConfigError(
            f"The recommender was trained on other data (fingerprint {trained_on[:12]}) than {dataset.name} "
            f"({dataset.fingerprint[:12]}), so it may have learned the targets. {remedy}."
        )


def _check_trained_for_this(recommender: Recommender, dataset: Dataset) -> None:
    check_same_data(recommender, dataset)
    needed = SPLITS[SPLIT]
    remedy = f"Train one on this data with `deeprec trm train --holdout {needed}`"
    holdout = check_holdout(recommender, dataset, SPLIT)
    if holdout > needed:
        raise ConfigError(
            f"The recommender was trained with holdout {holdout}: it knows less of each person than the history that a "
            f"run gives it. {remedy}."
        )
