"""The worth of preferences that a model wrote in logged runs: the same cases with them and without any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import Interval, mean_interval, ndcg_from_ranks, recall_from_ranks
from deeprec.evals.recommenders.evaluation import CUTOFFS, check_artifact
from deeprec.evals.requests.cases import check_split
from deeprec.evals.systems.system import trust_of
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.preference_file import WrittenPreference
from deeprec.trm_tool.errors import DataError
from deeprec.trm_tool.recommender import Query
from deeprec.trm_tool.text import plain
from deeprec.trm_tool.trm.artifact import Artifact
from deeprec.trm_tool.trm.retriever import Retriever
from deeprec.trm_tool.trm.training.written_preferences import Refusal, knew_target, make_locator

if TYPE_CHECKING:
    from rich.table import Table

WITHOUT, WITH = "TRM, the same users", "TRM + preferences written in logged runs"
DIFFERENCE = "difference, paired"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenScores:
    """One row of the comparison, with seen items masked or not."""

    system: str
    """`WITHOUT`, `WITH`, or `DIFFERENCE`: the second less the first, case by case."""
    masked: bool
    metrics: Mapping[str, Interval]
    """`recall@10`, `ndcg@10`, … -> mean over cases with its 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenEvaluation:
    """The cases of a split that logged runs wrote preferences for."""

    split: str
    cases: int
    """Users with one preference or more."""
    read: int
    """Preferences in the file."""
    used: int
    trust: float
    """The trust in every preference."""
    refused: Mapping[str, int]
    """`Refusal` -> how many."""
    policies: Mapping[str, int]
    """Writers: model, adapter version, guided or free -> how many of those used."""
    protocol: str
    notes: tuple[str, ...]
    scores: tuple[WrittenScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON: a missing number is None."""
        return {
            "split": self.split,
            "cases": self.cases,
            "read": self.read,
            "used": self.used,
            "trust": self.trust,
            "refused": dict(self.refused),
            "policies": dict(self.policies),
            "protocol": self.protocol,
            "notes": list(self.notes),
            "scores": [
                {
                    "system": row.system,
                    "masked": row.masked,
                    "metrics": {name: interval.to_dict() for name, interval in row.metrics.items()},
                }
                for row in self.scores
            ],
        }


def evaluate_written(
    artifact: Artifact,
    dataset: Dataset,
    rows: Iterable[WrittenPreference],
    *,
    split: str = "test",
    trust: float | None = None,
    seed: int = 0,
) -> WrittenEvaluation:
    """Rank the targets that logged runs wrote preferences for, with those preferences and without one.

    A preference counts for a case when its run read exactly the case's history, with a recommender of this data that
    had not learned the target. Several of one case: the mean of their scores is the case's score. The retriever itself
    ranks: what is measured is what it would serve.

    Args:
        artifact: What is evaluated.
        dataset: Users and targets.
        rows: As `read_preference_file` gives them.
        split: `test` or `valid`.
        trust: In every preference; None is the artifact's own.
        seed: Of the bootstrap.

    Raises:
        ConfigError: the artifact was trained with the targets of this split, or lacks items of the data.
        DataError: no preference belongs to a case; the message counts the reasons.
    """
    check_artifact(artifact, dataset, split)
    distance = check_split(split)
    locate = make_locator(dataset)
    texts: dict[str, list[str]] = {}
    refused: Counter[str] = Counter()
    policies: Counter[str] = Counter()
    read = 0
    for row in rows:
        read += 1
        index = locate(row)
        if not isinstance(index, Refusal):
            if len(dataset.sequences[str(row.user_id)]) - index != distance:
                index = Refusal.OTHER_POSITION
            elif knew_target(row, distance):
                index = Refusal.KNOWN_TARGET
        if isinstance(index, Refusal):
            refused[index] += 1
            continue
        texts.setdefault(str(row.user_id), []).append(row.preference)
        policies[_policy(row)] += 1
    if not texts:
        why = ", ".join(f"{count} with {reason}" for reason, count in refused.most_common())
        raise DataError(
            f"None of {read} written preferences belongs to a {split} case of {dataset.name}"
            f"{f' ({why})' if why else ''}. Log runs whose history ends just before the {split} target."
        )
    users = [user for user in dataset.users if user in texts]
    weight = trust_of(artifact) if trust is None else trust
    return WrittenEvaluation(
        split=split,
        cases=len(users),
        read=read,
        used=sum(policies.values()),
        trust=weight,
        refused=dict(refused.most_common()),
        policies=dict(policies.most_common()),
        protocol=(
            f"The {len(users)} users of the {split} split for whose history logged runs wrote preferences, "
            f"{sum(policies.values())} in all, trusted {weight:g}: each ranks the full catalogue, and the mean over a "
            "user's preferences is the user's score. The row without a preference is of the same users, the difference "
            "is paired by user. 95% percentile bootstrap intervals over users."
        ),
        notes=_notes(len(users), dataset, policies, refused),
        scores=_compare(Retriever(artifact), dataset, users, texts, distance, weight, seed),
    )


def written_table(evaluation: WrittenEvaluation) -> Table:
    """The comparison as a table: masked above unmasked."""
    from rich.table import Table

    names = list(evaluation.scores[0].metrics)
    table = Table(
        "system",
        "seen items",
        *names,
        title=f"Preferences written in logged runs: {evaluation.used} for {evaluation.cases} {evaluation.split} users",
    )
    for row in evaluation.scores:
        table.add_row(
            row.system,
            "masked" if row.masked else "unmasked",
            *(row.metrics[name].text(4, signed=row.system == DIFFERENCE, two_lines=True) for name in names),
            end_section=row.system == DIFFERENCE,
        )
    return table


def _compare(
    retriever: Retriever,
    dataset: Dataset,
    users: list[str],
    texts: Mapping[str, list[str]],
    distance: int,
    trust: float,
    seed: int,
) -> tuple[WrittenScores, ...]:
    owner = np.repeat(np.arange(len(users)), [len(texts[user]) for user in users])  # (texts,)
    preferences = [text for user in users for text in texts[user]]
    scores = []
    for masked in (True, False):
        alone = _ranks(retriever, dataset, users, [None] * len(users), distance, trust, masked)
        with_preferences = _ranks(
            retriever, dataset, [users[index] for index in owner], preferences, distance, trust, masked
        )
        values: dict[str, dict[str, NDArray[np.float64]]] = {WITHOUT: {}, WITH: {}, DIFFERENCE: {}}
        for k in CUTOFFS:
            for name, metric in ((f"recall@{k}", recall_from_ranks), (f"ndcg@{k}", ndcg_from_ranks)):
                values[WITHOUT][name] = without = metric(alone, k)
                values[WITH][name] = with_them = np.bincount(owner, metric(with_preferences, k)) / np.bincount(owner)
                values[DIFFERENCE][name] = with_them - without
        scores += [
            WrittenScores(
                system=system,
                masked=masked,
                metrics={name: mean_interval(own, seed=seed) for name, own in metrics.items()},
            )
            for system, metrics in values.items()
        ]
    return tuple(scores)


def _ranks(
    retriever: Retriever,
    dataset: Dataset,
    users: list[str],
    preferences: list[str] | list[None],
    distance: int,
    trust: float,
    masked: bool,
) -> NDArray[np.float64]:
    """Ranks of the users' targets (n,); inf where the target is masked."""
    targets = [dataset.target(user, distance) for user in users]
    histories = [dataset.history(user, distance) for user in users]
    ranks = retriever.ranks_of(
        targets,
        [
            Query(history=history, preference=preference, include_seen=not masked, trust=trust)
            for history, preference in zip(histories, preferences, strict=True)
        ],
    ).astype(np.float64)
    if masked:
        ranks[[target in history for target, history in zip(targets, histories, strict=True)]] = np.inf
    return ranks


def _policy(row: WrittenPreference) -> str:
    adapter = " ".join(part for part in (row.adapter, row.adapter_version) if part)
    # Names out of a file are data: nothing of them may reach a terminal but what can be read.
    named = plain(f"{row.policy_model}, adapter {adapter}" if adapter else row.policy_model, 80)
    return f"{named}, {'guided' if row.guided else 'free'}"


def _notes(cases: int, dataset: Dataset, policies: Mapping[str, int], refused: Mapping[str, int]) -> tuple[str, ...]:
    notes = [f"Written by {', '.join(f'{policy} ({count})' for policy, count in policies.items())}."]
    if refused:
        why = ", ".join(f"{count} with {reason}" for reason, count in refused.items())
        notes.append(f"Written preferences that do not count here: {why}.")
    if cases < len(dataset.users):
        notes.append(f"{len(dataset.users) - cases} of {len(dataset.users)} users have no such preference.")
    if cases < 100:
        notes.append(f"{cases} users are too few to tell systems apart, unless the paired interval excludes 0.")
    return tuple(notes)
