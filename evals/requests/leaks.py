"""Guards of the pair of user and target: it is not shown before it is asked for, and nothing was learned from it.

A user's other items may be learned from, and so may the target in the hands of other users; the pair may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deeprec.evals.requests.cases import Case, check_split
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.trm.artifact import Artifact

Pair = tuple[str, str]
"""A user and an item."""


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
                f"The case of user {case.user!r} is none of the split {split}: its history has {len(case.history)} "
                f"items where {max(before, 0)} lie before the target. Make cases with `make_cases`."
            )


def check_disjoint(evaluated: Iterable[Pair], learned: Iterable[Pair], *, by: str) -> None:
    """Refuse to evaluate on a pair of user and target that was learned from, or to learn from one that is evaluated.

    Args:
        evaluated: Pairs that figures are made of.
        learned: Pairs that something was trained or selected on.
        by: What learned, for the message: "the recommender", "the policy".

    Raises:
        ConfigError: they share a pair; says how many, and names one.
    """
    shared = set(evaluated) & set(learned)
    if shared:
        user, item = min(shared)
        raise ConfigError(
            f"{len(shared)} pairs of user and target are evaluated and were learned by {by}, such as user {user!r} and "
            f"item {item!r}: the figures would mean nothing. Learn from earlier items of each user, or evaluate others."
        )


def evaluated_pairs(cases: Iterable[Case]) -> set[Pair]:
    """The pairs of cases. A target that the history holds too is left out: masked, nobody can find it."""
    return {(case.user, case.target) for case in cases if case.target not in case.history}


def learned_pairs(artifact: Artifact, dataset: Dataset) -> set[Pair]:
    """What a recommender that was trained on `dataset` learned from: all but the last items that it held out."""
    holdout = int(artifact.config["holdout"])
    return {(user, item) for user in dataset.users for item in dataset.history(user, holdout)}


def weak_points(artifact: Artifact, dataset: Dataset, cases: Sequence[Case]) -> dict[str, float]:
    """What the guards cannot refuse and a reader must know, as 1 or 0 by name.

    - `other_data`: the artifact was trained on other data, so nothing proves that it did not learn the targets.
    - `chosen_on`: training chose its epoch and the trust in preferences by these very targets.
    """
    chosen_by = int(artifact.config["without_last"]) + 2  # counted from the end of each sequence
    chosen = {
        (user, sequence[-chosen_by]) for user, sequence in dataset.sequences.items() if len(sequence) >= chosen_by
    }
    return {
        "other_data": float(artifact.config["dataset_fingerprint"] != dataset.fingerprint),
        "chosen_on": float(bool(evaluated_pairs(cases) & chosen)),
    }
