"""Guards of the pair of user and target: no prompt shows it before the model answers, and nothing was learned from it.

A user's other items may be learned from, and so may the target in the hands of other users; the pair may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from deeprec.evals.requests.cases import Case, check_split
from deeprec.trm_tool.data import read_fold
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import CatalogueView, RecommenderIdentity
from deeprec.trm_tool.trm.artifact import Artifact
from deeprec.trm_tool.trm.retriever import Retriever

Pair = tuple[str, str]
"""A user and an item."""


class TrainedRecommender(Protocol):
    """What the guards read of a recommender. An `Artifact` has it, and so has every `Recommender`."""

    @property
    def catalogue(self) -> CatalogueView:
        """The items that it recommends."""

    @property
    def identity(self) -> RecommenderIdentity:
        """What it was trained on, and what training did not see."""


def holdout_of(recommender: TrainedRecommender) -> int:
    """Return how many last items of each person a recommender has not learned from.

    Raises:
        ConfigError: the recommender does not report it, so that it may have learned the targets.
    """
    holdout = recommender.identity.holdout
    if holdout is None:
        raise ConfigError(
            f"The recommender {recommender.identity.fingerprint[:12]!r} does not report how many last items of each "
            "person it was trained without, so it may have learned the targets and its figures would mean nothing. "
            "Train it without them and set `identity.holdout`: 1 for the test split, 2 for valid, 3 for train."
        )
    return holdout


def check_holdout(recommender: TrainedRecommender, dataset: Dataset, split: str, *, positions: int = 1) -> int:
    """Refuse a recommender that has learned targets of an evaluation, or that cannot name an item of the data.

    Args:
        recommender: What is evaluated, or what runs to learn from ask.
        dataset: Users and targets.
        split: Which item of each sequence is the target.
        positions: Targets of each user, counted backwards from the split's own.

    Returns:
        How many last items of each user the recommender has not learned from.

    Raises:
        ConfigError: what was seen, and what to do.
    """
    needed, holdout = check_split(split) + positions - 1, holdout_of(recommender)
    if holdout < needed:
        raise ConfigError(
            f"The recommender was trained with holdout {holdout}, so the targets of the {split} split were in its "
            f"training: its figures would mean nothing. Train it again with `--holdout {needed}` or more."
        )
    check_catalogue(recommender.catalogue, dataset)
    return holdout


def check_catalogue(catalogue: CatalogueView, dataset: Dataset) -> None:
    """Raise ConfigError where a recommender's catalogue lacks an item of the data."""
    missing = [item_id for item_id in dataset.catalogue.ids if item_id not in catalogue]
    if missing:
        named = ", ".join(repr(item_id)[:80] for item_id in missing[:5])
        raise ConfigError(
            f"The recommender's catalogue lacks {len(missing)} of {len(dataset.catalogue)} items of {dataset.name}, "
            f"such as {named}. Use the data that it was trained on, or train one on this data."
        )


def check_cases(cases: Iterable[Case], dataset: Dataset, split: str) -> None:
    """Refuse cases whose history is not exactly what lies before the target: a prompt would show the answer.

    Args:
        cases: One target each.
        dataset: Whose sequences decide.
        split: Which item of each sequence is the target.

    Raises:
        ConfigError: names the first user whose history goes on to the target, or ends too early.
    """
    from_end = check_split(split)
    for case in cases:
        sequence = dataset.sequences.get(case.user, ())
        before = len(sequence) - from_end
        if before < 0 or case.target != sequence[before] or case.history != sequence[:before]:
            raise ConfigError(
                f"The case of user {case.user!r} does not belong to the split {split}: its history has "
                f"{len(case.history)} items where {max(before, 0)} lie before the target. Make cases with `make_cases`."
            )


def check_request_cases(recommender: TrainedRecommender, dataset: Dataset, cases: Sequence[Case]) -> tuple[str, ...]:
    """Refuse cases of requests whose pair of person and target, or whose conversation, a recommender has learned.

    A person whom the data does not know is allowed: the recommender has learned nothing of theirs, as far as it was
    trained on this data, which its `identity` reports (`weak_points` says where it was not).

    Args:
        recommender: What is evaluated, or what runs to learn from ask.
        dataset: What the recommender was trained on.
        cases: Of requests.

    Returns:
        What the guard relies on and cannot prove, a sentence each.

    Raises:
        ConfigError: it has learned a pair or a conversation, does not report its holdout, or lacks an item of the data.
    """
    check_catalogue(recommender.catalogue, dataset)
    check_disjoint(evaluated_pairs(cases), learned_pairs(recommender, dataset), by="the recommender")
    notes = []
    unknown = {case.user for case in cases} - set(dataset.users)
    if unknown:
        notes.append(
            f"{len(unknown)} people of the requests are not in the data: that the recommender has learned nothing of "
            "theirs rests on the data that it reports."
        )
    artifact = _artifact_of(recommender)
    if artifact is not None and "requests" in artifact.metrics and "without_fold" not in artifact.config:
        notes.append(
            "The recommender was trained on requests and left no fold of them out: nothing proves that these requests "
            "are others (`deeprec trm train --without-fold 1/5`)."
        )
    outside = {case.cluster for case in cases} - {case.cluster for case in held_out_cases(recommender, cases)}
    if outside:
        raise ConfigError(
            f"The recommender may have learned {len(outside)} conversations of the requests, such as "
            f"{min(outside)[:80]!r}: they lie outside the fold that its training left out. Take those inside it."
        )
    return tuple(notes)


def held_out_cases(recommender: TrainedRecommender, cases: Sequence[Case]) -> list[Case]:
    """Keep the cases of requests whose conversation a recommender's training on requests left out.

    A recommender that reports no fold (`trm train --without-fold`) left out none: all cases stay.
    """
    artifact = _artifact_of(recommender)
    if artifact is None or "without_fold" not in artifact.config:
        return list(cases)
    fold = read_fold(str(artifact.config["without_fold"]))
    return [case for case in cases if case.cluster in fold]


def _artifact_of(recommender: TrainedRecommender) -> Artifact | None:
    """The artifact behind a recommender; None where it is not the TRM."""
    found = recommender.artifact if isinstance(recommender, Retriever) else recommender
    return found if isinstance(found, Artifact) else None


def check_disjoint(evaluated: Iterable[Pair], learned: Iterable[Pair], *, by: str) -> None:
    """Refuse to evaluate on a pair of user and target that was learned from, or to learn from one that is evaluated.

    Args:
        evaluated: Pairs that figures are made of.
        learned: Pairs that something was trained or selected on.
        by: The learner, for the message: "the recommender", "the policy".

    Raises:
        ConfigError: they share a pair; the message counts them and names one.
    """
    shared = set(evaluated) & set(learned)
    if shared:
        user, item = min(shared)
        raise ConfigError(
            f"{len(shared)} pairs of user and target are evaluated and were learned by {by}, such as user {user!r} and "
            f"item {item!r}: the figures would mean nothing. Learn from earlier items of each user, or evaluate others."
        )


def evaluated_pairs(cases: Iterable[Case]) -> set[Pair]:
    """Collect the pairs of cases. A target that is in the history too is left out: it is masked, never found."""
    return {(case.user, case.target) for case in cases if case.target not in case.history}


def learned_pairs(recommender: TrainedRecommender, dataset: Dataset) -> set[Pair]:
    """Collect the pairs that a recommender learned from: all of `dataset` but the last items that it held out."""
    holdout = holdout_of(recommender)
    return {(user, item) for user in dataset.users for item in dataset.history(user, holdout)}


def weak_points(recommender: TrainedRecommender, dataset: Dataset, cases: Sequence[Case]) -> dict[str, float]:
    """Return what the guards cannot refuse and a reader must know, as 1 or 0 by name.

    - `other_data`: the recommender was trained on other data, or does not report on which, so nothing proves that it
      did not learn the targets.
    - `chosen_on`: training chose its epoch and the trust in preferences by these very targets; of artifacts only.
    """
    weak = {"other_data": float(recommender.identity.dataset_fingerprint != dataset.fingerprint)}
    if not isinstance(recommender, Artifact):
        return weak
    chosen_by = int(recommender.config["without_last"]) + 2  # counted from the end of each sequence
    chosen = {
        (user, sequence[-chosen_by]) for user, sequence in dataset.sequences.items() if len(sequence) >= chosen_by
    }
    return weak | {"chosen_on": float(bool(evaluated_pairs(cases) & chosen))}
