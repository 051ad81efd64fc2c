"""Evaluation of recommenders on requests: the history alone, a person's words alone, and both, masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import (
    Interval,
    clustered_interval,
    ndcg_from_ranks,
    paired_interval,
    recall_from_ranks,
)
from deeprec.evals.requests.cases import Case
from deeprec.evals.requests.request_cases import make_request_cases
from deeprec.trm_tool.data import Request, read_fold
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import Query
from deeprec.trm_tool.trm.retriever import Retriever

HISTORY, WORDS, BOTH = "history", "words", "both"
QUERIES: Mapping[str, Callable[[Case], Query]] = {
    HISTORY: lambda case: Query(history=case.history, where=case.where),
    WORDS: lambda case: Query(words=case.message, exclude=frozenset(case.history), where=case.where),
    BOTH: lambda case: Query(history=case.history, words=case.message, where=case.where),
}
"""Row -> what the recommender is asked. No row reads the target, and all of them mask the history."""
CUTOFFS = (10, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestScores:
    """The scores of one row."""

    row: str
    metrics: Mapping[str, Interval]
    """`recall@10`, `ndcg@10`, … -> mean over cases with its 95% interval, conversations resampled."""
    above_history: Mapping[str, Interval]
    """The same, less the row `history` on the same cases; empty in that row."""
    ranks: NDArray[np.float64]
    """Rank of each case's target (cases,), for paired comparisons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvaluation:
    """All rows on the same cases."""

    cases: tuple[Case, ...]
    """One for each request and target, in the order of the artifacts and of the requests."""
    conversations: int
    fingerprints: tuple[str, ...]
    """The fingerprints of the artifacts, in their order."""
    protocol: str
    """What every figure must be read with."""
    notes: tuple[str, ...]
    """What was left out or weakens the figures, one sentence each."""
    scores: tuple[RequestScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON: a missing number is None. Cases and ranks are left out."""
        return {
            "cases": len(self.cases),
            "conversations": self.conversations,
            "artifact_fingerprints": list(self.fingerprints),
            "protocol": self.protocol,
            "notes": list(self.notes),
            "scores": [
                {
                    "row": row.row,
                    "metrics": {name: interval.to_dict() for name, interval in row.metrics.items()},
                    "above_history": {name: interval.to_dict() for name, interval in row.above_history.items()},
                }
                for row in self.scores
            ],
        }


def evaluate_requests(
    retrievers: Sequence[Retriever], requests: Sequence[Request], *, source: str = "The requests", seed: int = 0
) -> RequestEvaluation:
    """Evaluate recommenders on requests, each on the conversations that its training left out.

    An artifact that was trained with `without_fold` answers the requests of that fold alone. Several of them, each
    without another fold, answer for all conversations together; their cases are pooled.

    Args:
        retrievers: One, or one for each fold.
        requests: Ids that a catalogue lacks are skipped and counted.
        source: Where the requests are from, for the errors.
        seed: Of the bootstrap.

    Raises:
        ConfigError: no request is left, or two artifacts answer for the same conversations.
    """
    cases: list[Case] = []
    ranks: dict[str, list[NDArray[np.int64]]] = {name: [] for name in QUERIES}
    notes: list[str] = []
    folds: list[str | None] = []
    for retriever in retrievers:
        fold = retriever.artifact.config.get("without_fold")
        if fold in folds:
            raise ConfigError(
                f"Two artifacts answer for {f'fold {fold}' if fold else 'all conversations'}. Give one, or one for "
                "each fold (`deeprec trm train --requests FILE --without-fold 1/5`)."
            )
        for other in folds:
            if fold is None or other is None or read_fold(fold).of != read_fold(other).of:
                one, two = (f"without fold {each}" if each else "without a fold" for each in (other, fold))
                raise ConfigError(
                    f"An artifact {one} and one {two} would answer for the same conversations twice. Give artifacts of "
                    "one division into folds (`deeprec trm train --requests FILE --without-fold 1/5`, 2/5 and so on)."
                )
        folds.append(fold)
        if fold is None and "requests" in retriever.artifact.metrics:
            notes.append(
                f"The artifact {retriever.fingerprint[:12]} was trained on requests and left no fold out; nothing "
                "proves that these were not among them (`deeprec trm train --without-fold 1/5`)."
            )
        own = list(requests) if fold is None else [each for each in requests if each.conversation in read_fold(fold)]
        made = make_request_cases(own, retriever.catalogue, source=source if fold is None else f"{source}, fold {fold}")
        cases += made.cases
        notes += made.notes
        targets = [case.target for case in made.cases]
        for name, query_of in QUERIES.items():
            ranks[name].append(retriever.ranks_of(targets, [query_of(case) for case in made.cases]))
    without = sum(not case.history for case in cases)
    conversations = [str(case.conversation) for case in cases]
    pooled = {name: np.concatenate(parts).astype(np.float64) for name, parts in ranks.items()}
    return RequestEvaluation(
        cases=tuple(cases),
        conversations=len(set(conversations)),
        fingerprints=tuple(retriever.fingerprint for retriever in retrievers),
        protocol=_protocol(len(cases), len(set(conversations)), without, [fold for fold in folds if fold]),
        notes=tuple(dict.fromkeys(notes)),
        scores=tuple(_scores(name, pooled, conversations, seed) for name in QUERIES),
    )


def _scores(
    name: str, ranks: Mapping[str, NDArray[np.float64]], conversations: Sequence[str], seed: int
) -> RequestScores:
    def of(which: str) -> dict[str, NDArray[np.float64]]:
        found = ((f"recall@{k}", recall_from_ranks(ranks[which], k)) for k in CUTOFFS)
        return dict(found) | {f"ndcg@{k}": ndcg_from_ranks(ranks[which], k) for k in CUTOFFS}

    own, history = of(name), of(HISTORY)
    return RequestScores(
        row=name,
        metrics={metric: clustered_interval(values, conversations, seed=seed) for metric, values in own.items()},
        above_history={
            metric: paired_interval(values, history[metric], conversations, seed=seed) for metric, values in own.items()
        }
        if name != HISTORY
        else {},
        ranks=ranks[name],
    )


def _protocol(cases: int, conversations: int, without_history: int, folds: Sequence[str]) -> str:
    fair = (
        f"each artifact answers for the conversations that its training left out (folds {', '.join(folds)})"
        if folds
        else "no fold was left out of training"
    )
    return (
        f"{cases} cases of {conversations} conversations, one for each request and target, {without_history} of them "
        f"without a history; {fair}. The whole catalogue is ranked, items of the history are masked in every row, hits "
        "are decided by item id. Means over cases; 95% intervals by resampling conversations."
    )
