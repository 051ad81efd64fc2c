"""Full-catalogue, leave-one-out evaluation of a TRM artifact beside the baselines, over all users of a data set."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.evals.baselines import Scorer, make_cooccurrence_scorer, make_popularity_scorer
from deeprec.evals.metrics import Interval, mean_interval, ndcg_from_ranks, recall_from_ranks, target_ranks
from deeprec.trm_tool.artifact import Artifact
from deeprec.trm_tool.catalogue import Catalogue
from deeprec.trm_tool.dataset import Dataset
from deeprec.trm_tool.encoder import Encoder, make_encoder
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.model import PADDING_ROW
from deeprec.trm_tool.preferences import SEPARATOR

SPLITS: Mapping[str, int] = {"test": 1, "valid": 2}
"""Split -> which item from the end of a user's sequence is the target."""
CUTOFFS = (10, 20)
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One user's history and the item that came next."""

    user: str
    history: tuple[str, ...]
    """Item ids, oldest first; it ends just before the target."""
    target: str


ScoreCases = Callable[[Sequence[Case]], NDArray[np.floating]]
"""Cases -> scores (cases, items) in catalogue order, higher is better. Masking is not its business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Something that scores a whole catalogue for a history."""

    name: str
    score: ScoreCases
    oracle: bool = False
    """It is told something about the target: an upper bound, not a competitor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemScores:
    """What one system reached, with seen items masked or not."""

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
    holdout: int
    """Items at the end of each user's sequence that neither the TRM nor the baselines learned from."""
    artifact_fingerprint: str
    dataset_fingerprint: str
    protocol: str
    """The protocol in words: what every figure must be read with."""
    notes: tuple[str, ...]
    """What weakens the figures, one sentence each."""
    scores: tuple[SystemScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it: a missing number is None; without the ranks."""
        return {
            "split": self.split,
            "users": self.users,
            "items": self.items,
            "holdout": self.holdout,
            "artifact_fingerprint": self.artifact_fingerprint,
            "dataset_fingerprint": self.dataset_fingerprint,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "scores": [
                {
                    "system": row.system,
                    "oracle": row.oracle,
                    "masked": row.masked,
                    "metrics": {
                        name: {
                            "mean": _finite(interval.mean),
                            "low": _finite(interval.low),
                            "high": _finite(interval.high),
                            "n": interval.n,
                        }
                        for name, interval in row.metrics.items()
                    },
                }
                for row in self.scores
            ],
        }


def make_cases(dataset: Dataset, split: str = "test", *, positions: int = 1) -> list[Case]:
    """Cases of every user: `test` has the last item as its target, `valid` the one before.

    With `positions` above 1, that many items of each user are targets, counted backwards from the split's own, each
    with the history before it: a narrower interval, for models that have read none of them (`Dataset.without_last`).
    All cases of a position come before those of the next; positions without a history are left out.
    """
    first = check_split(split)
    return [
        Case(user=user, history=dataset.history(user, holdout), target=dataset.target(user, holdout))
        for holdout in range(first, first + positions)
        for user in dataset.users
        if len(dataset.sequences[user]) > holdout
    ]


def evaluate_trm(artifact: Artifact, dataset: Dataset, *, split: str = "test", seed: int = 0) -> TRMEvaluation:
    """Evaluate popularity, co-occurrence and the TRM without and with the target's attributes on all users.

    The baselines count the interactions that the artifact was trained on: the last `holdout` of each user left out.

    Args:
        artifact: What is evaluated. Its catalogue is what everybody ranks.
        dataset: Users and targets.
        split: `test` or `valid`.
        seed: Of the bootstrap.

    Raises:
        ConfigError: the artifact was trained with the targets of this split, or lacks items of the data.
    """
    check_artifact(artifact, dataset, split)
    cases = make_cases(dataset, split)
    if not cases:
        raise DataError(f"{dataset.name} has no users, so there is nothing to evaluate.")
    catalogue, holdout = artifact.catalogue, int(artifact.config["holdout"])
    encoder = make_encoder(str(artifact.config["encoder_id"]))
    systems = (
        make_system("popularity", make_popularity_scorer(dataset, holdout=holdout, catalogue=catalogue)),
        make_system("co-occurrence", make_cooccurrence_scorer(dataset, holdout=holdout, catalogue=catalogue)),
        make_trm_system("TRM", artifact, encoder),
        make_trm_system("TRM + target's attributes", artifact, encoder, oracle=True),
    )
    return TRMEvaluation(
        split=split,
        users=len(cases),
        items=len(catalogue),
        holdout=holdout,
        artifact_fingerprint=artifact.fingerprint,
        dataset_fingerprint=dataset.fingerprint,
        protocol=_protocol(split, len(cases), len(catalogue), holdout),
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
    """Recall and NDCG of each system on the same cases, first with seen items masked, then without.

    Every score is computed once and ranked both ways here, so that no system can be masked differently from another.
    """
    ranks = [_rank_targets(system, cases, catalogue) for system in systems]
    scores = []
    for way, masked in enumerate((True, False)):
        for system, both in zip(systems, ranks, strict=True):
            metrics = {}
            for k in cutoffs:
                metrics[f"recall@{k}"] = mean_interval(recall_from_ranks(both[way], k), seed=seed)
                metrics[f"ndcg@{k}"] = mean_interval(ndcg_from_ranks(both[way], k), seed=seed)
            scores.append(
                SystemScores(system=system.name, oracle=system.oracle, masked=masked, metrics=metrics, ranks=both[way])
            )
    return tuple(scores)


def _rank_targets(system: System, cases: Sequence[Case], catalogue: Catalogue) -> NDArray[np.float64]:
    """Ranks of the targets (2, cases): seen items masked, and not."""
    ranks = np.empty((2, len(cases)))
    for start in range(0, len(cases), _BATCH):
        batch = cases[start : start + _BATCH]
        scores = system.score(batch)
        targets = catalogue.rows([case.target for case in batch])
        ranks[0, start : start + _BATCH] = target_ranks(scores, targets, [catalogue.rows(c.history) for c in batch])
        ranks[1, start : start + _BATCH] = target_ranks(scores, targets)
    return ranks


def make_system(name: str, score: Scorer) -> System:
    """A system out of a scorer, which sees histories and never a target."""
    return System(name=name, score=lambda cases: score([case.history for case in cases]))


def make_trm_system(name: str, artifact: Artifact, encoder: Encoder, *, oracle: bool = False) -> System:
    """The TRM over the whole catalogue, without a preference; tests hold its order to the retriever's.

    `oracle` gives it every phrase that is true of the target as the preference (none where there is no such phrase).
    """
    model, catalogue = artifact.model, artifact.catalogue
    peak = max(float(artifact.popularity.max(initial=0)), 1.0)
    popularity = (artifact.popularity / peak).astype(np.float32)
    with torch.inference_mode():
        items = model.item_vectors()  # (items, width)

    def score(cases: Sequence[Case]) -> NDArray[np.floating]:
        length = model.config.max_length
        rows = torch.full((len(cases), length), PADDING_ROW)
        for line, case in zip(rows, cases, strict=True):
            latest = torch.from_numpy(catalogue.rows(case.history[-length:]))
            line[: len(latest)] = latest
        wishes = [SEPARATOR.join(catalogue.phrases_of(case.target)) if oracle else "" for case in cases]
        preference, has = None, None
        if any(wishes):
            preference = torch.from_numpy(encoder.encode(wishes)).to(items.device)
            has = torch.tensor([bool(wish) for wish in wishes], device=items.device)
        with torch.inference_mode():
            scores: NDArray[np.float32] = (model.query(rows.to(items.device), preference, has) @ items.T).cpu().numpy()
        for line, case, wish in zip(scores, cases, wishes, strict=True):
            if not case.history and not wish:
                line[:] = popularity
        return scores

    return System(name=name, score=score, oracle=oracle)


def check_artifact(artifact: Artifact, dataset: Dataset, split: str) -> None:
    """Refuse an artifact that has learned the targets of `split`, or that cannot name an item of the data.

    Raises:
        ConfigError: what was seen, and what to do.
    """
    needed, holdout = check_split(split), int(artifact.config["holdout"])
    if holdout < needed:
        raise ConfigError(
            f"The artifact was trained with holdout {holdout}, so the targets of the {split} split were in its "
            f"training: its figures would mean nothing. Train it again with `--holdout {needed}` or more."
        )
    missing = [item_id for item_id in dataset.catalogue.ids if item_id not in artifact.catalogue]
    if missing:
        named = ", ".join(repr(item_id)[:80] for item_id in missing[:5])
        raise ConfigError(
            f"The artifact's catalogue lacks {len(missing)} of the {len(dataset.catalogue)} items of {dataset.name}, "
            f"such as {named}. Evaluate it on the data that it was trained on, or train one on this data."
        )


def check_split(split: str) -> int:
    """How far from the end of a user's sequence the targets of `split` lie, or ConfigError."""
    if split not in SPLITS:
        raise ConfigError(f"There is no split {split!r}. Choose {' or '.join(SPLITS)}.")
    return SPLITS[split]


def _protocol(split: str, users: int, items: int, holdout: int) -> str:
    last = {"test": "last item", "valid": "last item but one"}[split]
    return (
        f"Leave-one-out on {users} users: the {last} of each is the target, the history is all before it. Every "
        f"system ranks the full catalogue of {items} items; ties in score go by catalogue order, ties in time by the "
        f"order of the interaction file. Hits are decided by item id. 'Masked' means that items of the history cannot "
        f"come back, for every system alike. The TRM was trained, and the baselines counted, without the last "
        f"{holdout} {'item' if holdout == 1 else 'items'} of each user. Means over users with 95% percentile bootstrap "
        f"intervals. 'Oracle' rows are told the target's own attributes: an upper bound, not a result."
    )


def _notes(artifact: Artifact, dataset: Dataset, cases: Sequence[Case], split: str) -> tuple[str, ...]:
    notes = []
    if artifact.config["dataset_fingerprint"] != dataset.fingerprint:
        notes.append(
            "This is not the data that the artifact was trained on (fingerprints differ): nothing proves that the "
            "targets were not in its training."
        )
    if split == "test" and dataset.tied_targets:
        notes.append(
            f"{dataset.tied_targets} of {len(cases)} users have tied last two time stamps: "
            "file order chose their target."
        )
    repeated = sum(case.target in case.history for case in cases)
    if repeated:
        notes.append(f"{repeated} targets were in the history already: masked, no system can find them.")
    wordless = sum(not artifact.catalogue.phrases_of(case.target) for case in cases)
    if wordless:
        notes.append(f"{wordless} targets have no attribute phrase: the oracle ranks them without a preference.")
    if len(cases) < 100:
        notes.append(f"{len(cases)} users are too few to tell systems apart.")
    return tuple(notes)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
