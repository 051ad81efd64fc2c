"""Instances of requests: the cases that a policy is trained on, each with what the person said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from deeprec.evals.requests.cases import SPLITS, Case
from deeprec.evals.requests.leaks import Pair, check_request_cases, evaluated_pairs, held_out_cases
from deeprec.training.rollouts.instances import (
    HELD_OUT_TARGET,
    REMOVED_TARGET,
    SPLIT,
    TOO_HARD,
    Instance,
    Selection,
    check_same_data,
)
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import Query, Recommender, ranks_of

HELD_OUT_CONVERSATION = "conversation held out"
LEARNED_CONVERSATION = "conversation learned by the recommender"


def select_request_instances(
    cases: Sequence[Case],
    dataset: Dataset,
    recommender: Recommender,
    *,
    held_out: Sequence[Case] = (),
    max_rank: int = 100,
    interaction_share: float = 0.2,
    seed: int = 0,
) -> Selection:
    """Select the instances of the two stages from the cases of requests.

    A request's difficulty is the rank of its target by the recommender from history and words. All requests of a person
    are in one stage, whatever the recommender.

    Args:
        cases: Of training requests (`make_request_cases`).
        dataset: What the recommender was trained on. Validation and test targets of its people are never a target here.
        recommender: Of the runs; it has learned no pair of a person and their target.
        held_out: Cases that the policy is validated or tested on: neither their conversations nor their pairs of person
            and target are learned from.
        max_rank: The lowest rank of a target that is learned from.
        interaction_share: The share of people in the stage `interaction`.
        seed: Decides the stages and the order within them.

    Raises:
        ConfigError: the recommender was trained on other data, or has learned a pair; a setting is out of its range.
    """
    if max_rank < 1:
        raise ConfigError(f"max_rank is {max_rank}; no target would be left. Give 1 or more.")
    if not 0 <= interaction_share <= 1:
        raise ConfigError(f"interaction_share is {interaction_share}. Give a share of the people, from 0 to 1.")
    check_same_data(recommender, dataset)
    kept, left_out = _without_held_out(held_out_cases(recommender, cases), dataset, held_out)
    left_out[LEARNED_CONVERSATION] = len(cases) - len(held_out_cases(recommender, cases))
    removed = recommender.catalogue.removed
    left_out[REMOVED_TARGET] = sum(case.target in removed for case in kept)
    kept = [case for case in kept if case.target not in removed]
    check_request_cases(recommender, dataset, kept)
    queries = [Query(history=case.history, words=case.message, where=case.where) for case in kept]
    ranks = ranks_of(recommender, [case.target for case in kept], queries)
    chosen: dict[str, list[Instance]] = {}
    for case, rank in zip(kept, ranks.tolist(), strict=True):
        if rank <= max_rank:
            values = {field.name: getattr(case, field.name) for field in fields(Case)}
            chosen.setdefault(case.user, []).append(Instance(**values, trm_rank=int(rank)))
    left_out[TOO_HARD] = len(kept) - sum(map(len, chosen.values()))
    people = list(dict.fromkeys(case.user for case in cases))
    shuffled = [people[at] for at in np.random.default_rng(seed).permutation(len(people))]
    first = round(interaction_share * len(shuffled))
    return Selection(
        interaction=tuple(each for user in shuffled[:first] for each in chosen.get(user, ())),
        recommendation=tuple(each for user in shuffled[first:] for each in chosen.get(user, ())),
        left_out=dict(left_out),
        max_rank=max_rank,
    )


def _without_held_out(
    cases: Sequence[Case], dataset: Dataset, held_out: Sequence[Case]
) -> tuple[list[Case], Counter[str]]:
    """The cases that share neither conversation nor pair with what is evaluated, and how many do."""
    conversations = {case.cluster for case in held_out}
    pairs: set[Pair] = evaluated_pairs(held_out)
    pairs |= {(user, item) for user in dataset.users for item in dataset.sequences[user][1 - SPLITS[SPLIT] :]}
    left_out = Counter({HELD_OUT_CONVERSATION: 0, HELD_OUT_TARGET: 0, REMOVED_TARGET: 0, TOO_HARD: 0})
    kept = []
    for case in cases:
        if case.cluster in conversations:
            left_out[HELD_OUT_CONVERSATION] += 1
        elif (case.user, case.target) in pairs:
            left_out[HELD_OUT_TARGET] += 1
        else:
            kept.append(case)
    return kept, left_out
