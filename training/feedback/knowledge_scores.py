"""The reward of knowledge: the ranking that an augmented recommender makes with it.

The reward model is a recommender that was trained with knowledge (`train_trm(written=…)`, `train_knowledge_sasrec`).
It scores a piece of knowledge about a person by the rank of what the person took next. That item is the target of the
split `train`, the third-last of the person, which the recommender has not learned; items behind it, the targets of
validation and test, are never read.

Source:
    Sun et al. 2024, arXiv:2410.05939: NDCG and MAP of the augmented recommender reward a piece of knowledge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from deeprec.agent.traces import RunFilter, TraceStore
from deeprec.evals.metrics.ranking import Interval, clustered_interval, ndcg_from_ranks, reciprocal_from_ranks
from deeprec.evals.metrics.rewards import FORMAT_ERROR
from deeprec.evals.requests.cases import SPLITS
from deeprec.evals.requests.leaks import check_holdout
from deeprec.training.feedback.knowledge_runs import KnowledgeRun, knowledge_ranks, read_knowledge_runs
from deeprec.training.rollouts.instances import SPLIT, check_same_data
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import Recommender

KNOWLEDGE_SCHEME = "knowledge"
"""The scheme under which the scores are stored; `score` of it is what pairs are made by."""
SCORE = "score"
NDCG_POSITIONS = 100
"""Positions that the NDCG of the score reads: with ten, most pieces of most people would score 0."""
_PAGE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeScoring:
    """The result of `score_knowledge`."""

    runs: int
    """Knowledge runs that match and have ended."""
    scored: int
    """Those that this call scored."""
    malformed: int
    """Runs without usable knowledge, whose score is that of a format error, -1."""
    gain: Interval
    """Score with the knowledge less the score without it, over the runs with knowledge; people are resampled."""


def score_knowledge(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    recommender: Recommender,
    dataset: Dataset,
    trust: float | None = None,
    scheme: str = KNOWLEDGE_SCHEME,
    again: bool = False,
    on_progress: Callable[[int], Any] | None = None,
) -> KnowledgeScoring:
    """Score knowledge runs and store the scores as rewards: `ndcg`, `map`, `gain` and `score`.

    `score` is the mean of NDCG@100 and of the average precision over the whole ranking, `gain` how much of it the
    knowledge brought. Runs that have scores of the scheme are left as they are, so a second call scores new runs only.

    Args:
        store: The store of the runs and their rewards.
        where: Which knowledge runs; None for all. They are of the split `train`.
        recommender: The reward model.
        dataset: What it was trained on, without the three last items of each person.
        trust: In the knowledge; None leaves it to the recommender.
        scheme: The scheme of the rewards; two reward models need two.
        again: Score runs that have scores as well.
        on_progress: Called after each page with the number of runs so far.

    Raises:
        ConfigError: a run is of another split, or its target is held out or was learned by the recommender.
    """
    check_same_data(recommender, dataset)
    check_holdout(recommender, dataset, SPLIT)
    runs = scored = malformed = 0
    gains: list[float] = []
    people: list[str] = []
    found = read_knowledge_runs(store, where)
    while page := list(islice(found, _PAGE)):
        check_train_targets(page, dataset)
        stored = store.rewards([run.run_id for run in page], scheme)
        new = [run for run in page if again or SCORE not in stored.get(run.run_id, {})]
        for run, components in zip(new, _scores(recommender, new, trust), strict=True):
            store.write_rewards(run.run_id, scheme, components)
            stored[run.run_id] = components
        runs, scored = runs + len(page), scored + len(new)
        malformed += sum(run.knowledge is None for run in page)
        known = [run for run in page if run.knowledge is not None]
        gains += [stored[run.run_id]["gain"] for run in known]
        people += [run.user for run in known]
        if on_progress is not None:
            on_progress(runs)
    return KnowledgeScoring(runs=runs, scored=scored, malformed=malformed, gain=clustered_interval(gains, people))


def check_train_targets(runs: Iterable[KnowledgeRun], dataset: Dataset) -> None:
    """Refuse runs whose target a score must not see: those of validation and test.

    Raises:
        ConfigError: names the first such run.
    """
    for run in runs:
        held_out = dataset.sequences.get(run.user, ())[1 - SPLITS[SPLIT] :]
        if run.split != SPLIT or run.target in held_out:
            raise ConfigError(
                f"The knowledge run {run.run_id} is of the split {run.split!r} and its target "
                f"{'is' if run.target in held_out else 'is not'} a validation or test item of its person: a score of "
                "it would train on what is measured. Choose runs of the split train (--suite)."
            )


def _scores(recommender: Recommender, runs: Sequence[KnowledgeRun], trust: float | None) -> list[dict[str, float]]:
    if not runs:
        return []
    ranks = knowledge_ranks(recommender, runs, trust=trust)
    without = knowledge_ranks(recommender, runs, with_knowledge=False)
    ndcg, precision = ndcg_from_ranks(ranks, NDCG_POSITIONS), reciprocal_from_ranks(ranks)
    score = (ndcg + precision) / 2
    gain = score - (ndcg_from_ranks(without, NDCG_POSITIONS) + reciprocal_from_ranks(without)) / 2
    rows = np.stack((ndcg, precision, gain, score), axis=1).tolist()
    return [
        dict(zip(("ndcg", "map", "gain", SCORE), row, strict=True))
        if run.knowledge is not None
        else {"ndcg": np.nan, "map": np.nan, "gain": np.nan, SCORE: FORMAT_ERROR}
        for run, row in zip(runs, rows, strict=True)
    ]
