"""Full-catalogue, leave-one-out evaluation of a TRM artifact beside the baselines, over all users of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import Interval, mean_interval, ndcg_from_ranks, recall_from_ranks, target_ranks
from deeprec.evals.recommenders.preference_conditions import EXACT, ONE, make_conditions
from deeprec.evals.requests.cases import TARGET_WORDS, Case, check_split, make_cases
from deeprec.evals.requests.leaks import check_holdout
from deeprec.evals.systems.baselines import make_cooccurrence_scorer, make_popularity_scorer
from deeprec.evals.systems.system import (
    System,
    all_attributes,
    make_filter_system,
    make_system,
    make_trm_system,
    trust_of,
)
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.encoders.text_encoder import Encoder, encoder_of_artifact
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.trm.artifact import Artifact

CUTOFFS = (10, 20)
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemScores:
    """The scores of one system, with seen items masked or not."""

    system: str
    oracle: bool
    masked: bool
    metrics: Mapping[str, Interval]
    """`recall@10`, `ndcg@10`, … -> mean over users with its 95% interval."""
    ranks: NDArray[np.float64]
    """Rank of each user's target (users,), for paired comparisons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TRMEvaluation:
    """All systems on the same users and targets."""

    split: str
    users: int
    items: int
    positions: int
    """Targets of each user."""
    holdout: int
    """Items at the end of each user's sequence that neither the TRM nor the baselines learned from."""
    trust: float
    """The trust in every preference."""
    artifact_fingerprint: str
    dataset_fingerprint: str
    protocol: str
    """The protocol in words: what every figure must be read with."""
    notes: tuple[str, ...]
    """What weakens the figures, one sentence each."""
    scores: tuple[SystemScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON: a missing number is None. The ranks are left out."""
        return {
            "split": self.split,
            "users": self.users,
            "positions": self.positions,
            "items": self.items,
            "holdout": self.holdout,
            "trust": self.trust,
            "artifact_fingerprint": self.artifact_fingerprint,
            "dataset_fingerprint": self.dataset_fingerprint,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "scores": [
                {
                    "system": row.system,
                    "oracle": row.oracle,
                    "masked": row.masked,
                    "metrics": {name: interval.to_dict() for name, interval in row.metrics.items()},
                }
                for row in self.scores
            ],
        }


def evaluate_trm(
    artifact: Artifact,
    dataset: Dataset,
    *,
    split: str = "test",
    positions: int = 1,
    conditions: bool = False,
    trust: float | None = None,
    encoder: Encoder | None = None,
    seed: int = 0,
) -> TRMEvaluation:
    """Evaluate popularity, co-occurrence and the TRM without and with the target's attributes on all users.

    The baselines count the interactions that the artifact was trained on.

    Args:
        artifact: What is evaluated. Its catalogue is what everybody ranks.
        dataset: Users and targets.
        split: `test`, `valid` or `train`.
        positions: Targets of each user, counted backwards from the split's own. Above 1 the artifact must have been
            trained without them (`deeprec trm train --without-last`).
        conditions: Also evaluate preferences that are partial, reworded, half wrong or another user's
            (`make_conditions`), and filtering by the target's attributes instead of a preference.
        trust: In every preference; None is the artifact's own.
        encoder: The artifact's own; None makes it by its id.
        seed: Of the bootstrap and of the conditions' draws.

    Raises:
        ConfigError: the artifact was trained with targets of this evaluation, or lacks items of the data.
    """
    if positions < 1:
        raise ConfigError(f"positions is {positions}; nobody would have a target. Give 1 or more.")
    if trust is not None and not 0 <= trust <= 1:
        raise ConfigError(f"trust is {trust}. Give a weight from 0 (ignore the preference) to 1 (believe it).")
    holdout = check_artifact(artifact, dataset, split, positions=positions)
    cases = make_cases(dataset, split, positions=positions)
    if not cases:
        raise DataError(f"{dataset.name} has no users, so there is nothing to evaluate.")
    catalogue = artifact.catalogue
    encoder = encoder or encoder_of_artifact(str(artifact.config["encoder_id"]))
    systems = [
        make_system("popularity", make_popularity_scorer(dataset, holdout=holdout, catalogue=catalogue)),
        make_system("co-occurrence", make_cooccurrence_scorer(dataset, holdout=holdout, catalogue=catalogue)),
        make_trm_system("TRM", artifact, encoder),
    ]
    if conditions:
        written = make_conditions(cases, catalogue, artifact.popularity.tolist(), seed=seed)
        systems += [
            make_trm_system(
                f"TRM, {each.name}", artifact, encoder, preferences=each.preferences, trust=trust, oracle=each.oracle
            )
            for each in written
        ]
        systems += [
            make_filter_system(f"TRM, filtered by {each.name}", artifact, encoder, each.phrases)
            for each in written
            if each.name in (EXACT, ONE)
        ]
    else:
        attributes = all_attributes(cases, catalogue)
        systems.append(
            make_trm_system(
                "TRM + target's attributes", artifact, encoder, preferences=attributes, trust=trust, oracle=True
            )
        )
    return TRMEvaluation(
        split=split,
        users=len({case.user for case in cases}),
        positions=positions,
        items=int(catalogue.available.sum()),
        holdout=holdout,
        trust=trust_of(artifact) if trust is None else trust,
        artifact_fingerprint=artifact.fingerprint,
        dataset_fingerprint=dataset.fingerprint,
        protocol=_protocol(split, cases, positions, int(catalogue.available.sum()), holdout),
        notes=_notes(artifact, dataset, cases, split),
        scores=evaluate_systems(systems, cases, catalogue, seed=seed),
    )


def evaluate_systems(
    systems: Sequence[System],
    cases: Sequence[Case],
    catalogue: Catalogue,
    *,
    cutoffs: Sequence[int] = CUTOFFS,
    seed: int = 0,
) -> tuple[SystemScores, ...]:
    """Compute Recall and NDCG of each system on the same cases, first with seen items masked, then without.

    Every score is computed once and ranked both ways here, so that no system can be masked differently from another.
    Several cases of a user count as one: their mean is the user's value.
    """
    ranks = [_rank_targets(system, cases, catalogue) for system in systems]
    users = [case.user for case in cases]
    scores = []
    for way, masked in enumerate((True, False)):
        for system, both in zip(systems, ranks, strict=True):
            metrics = {}
            for k in cutoffs:
                metrics[f"recall@{k}"] = mean_interval(mean_by(users, recall_from_ranks(both[way], k)), seed=seed)
                metrics[f"ndcg@{k}"] = mean_interval(mean_by(users, ndcg_from_ranks(both[way], k)), seed=seed)
            scores.append(
                SystemScores(system=system.name, oracle=system.oracle, masked=masked, metrics=metrics, ranks=both[way])
            )
    return tuple(scores)


def mean_by(users: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the values of each user -> (users,), in order of first occurrence; NaN where one of them is NaN."""
    _, first, index = np.unique(np.array(users), return_index=True, return_inverse=True)
    means = np.bincount(index, weights=values) / np.bincount(index)
    ordered: NDArray[np.float64] = means[np.argsort(first)]
    return ordered


def _rank_targets(system: System, cases: Sequence[Case], catalogue: Catalogue) -> NDArray[np.float64]:
    """Ranks of the targets (2, cases): seen items masked, and not. Items that were removed never come back."""
    ranks, removed = np.empty((2, len(cases))), np.flatnonzero(~catalogue.available)
    for start in range(0, len(cases), _BATCH):
        batch = cases[start : start + _BATCH]
        scores = system.score(batch)
        targets = catalogue.rows([case.target for case in batch])
        seen = [np.concatenate((catalogue.rows(case.history), removed)) for case in batch]
        ranks[0, start : start + _BATCH] = target_ranks(scores, targets, seen)
        ranks[1, start : start + _BATCH] = target_ranks(scores, targets, [removed] * len(batch))
    return ranks


def check_artifact(artifact: Artifact, dataset: Dataset, split: str, *, positions: int = 1) -> int:
    """`check_holdout` for an artifact, whose training has also read one item more: the one that chose its epoch.

    Raises:
        ConfigError: as `check_holdout`; or one of several positions chose the epoch and the trust.
    """
    needed = check_split(split) + positions - 1
    unread = int(artifact.config["without_last"]) + 1  # the item before those chose the epoch and the trust
    if positions > 1 and needed > unread:
        raise ConfigError(
            f"The artifact has read the last items of each user but {unread}, and {positions} positions from the "
            f"{split} split on are {needed}. Train it again with `--without-last {needed - 1}`."
        )
    return check_holdout(artifact, dataset, split, positions=positions)


def _protocol(split: str, cases: Sequence[Case], positions: int, items: int, holdout: int) -> str:
    last = TARGET_WORDS[split]
    users = len({case.user for case in cases})
    if positions == 1:
        targets = f"the {last} of each is the target, the history is all before it"
    else:
        targets = (
            f"the {last} of each and the {positions - 1} before it are targets ({len(cases)} in all), each with all "
            "that came before as its history; the mean over a user's targets is the user's value"
        )
    return (
        f"Leave-one-out on {users} users: {targets}. Every "
        f"system ranks the full catalogue of {items} items; ties in score go by catalogue order, ties in time by the "
        f"order of the interaction file. Hits are decided by item id. 'Masked' means that items of the history cannot "
        f"come back, for every system alike. The TRM was trained, and the baselines counted, without the last "
        f"{holdout} {'item' if holdout == 1 else 'items'} of each user. Means over users with 95% percentile bootstrap "
        f"intervals. A preference is read as its sentence embedding and, beside it, as the catalogue's phrases that it "
        f"names in so many words, decades and years among them. 'Oracle' rows receive the "
        f"target's own attributes: an upper bound, not a result."
    )


def _notes(artifact: Artifact, dataset: Dataset, cases: Sequence[Case], split: str) -> tuple[str, ...]:
    users = len({case.user for case in cases})
    notes = []
    if artifact.config["dataset_fingerprint"] != dataset.fingerprint:
        notes.append(
            "This is not the data that the artifact was trained on (fingerprints differ): nothing proves that the "
            "targets were not in its training."
        )
    if split == "test" and dataset.tied_targets:
        notes.append(
            f"{dataset.tied_targets} of {users} users have tied last two time stamps: file order chose their target."
        )
    repeated = sum(case.target in case.history for case in cases)
    if repeated:
        notes.append(f"{repeated} targets were in the history already: masked, no system can find them.")
    removed = sum(case.target in artifact.catalogue.removed for case in cases)
    if removed:
        notes.append(f"{removed} targets were removed from the artifact's catalogue: no system can find them.")
    wordless = sum(not artifact.catalogue.phrases_of(case.target) for case in cases)
    if wordless:
        notes.append(f"{wordless} targets have no attribute phrase: the oracle ranks them without a preference.")
    if users < 100:
        notes.append(f"{users} users are too few to tell systems apart.")
    return tuple(notes)
