"""Runs without a language model: a list that was scored, or read out of another run, as the trace store keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deeprec.agent.traces import RecommendationRecord, RetrievalRecord, RunRecord, RunTrace
from deeprec.evals.requests.cases import Case
from deeprec.trm_tool.recommender import RecommenderIdentity, ScoredItem


def make_listed_run(
    run_id: UUID,
    case: Case,
    listed: Sequence[ScoredItem],
    *,
    k: int,
    latency_ms: float,
    identity: RecommenderIdentity,
    source: RunTrace | None = None,
    **lineage: Any,
) -> RunTrace:
    """Make the trace of one list.

    Args:
        run_id: Id of the run.
        case: Person, history and target.
        listed: The list, best first.
        k: Items that were asked for.
        latency_ms: What the list took.
        identity: The recommender of the suite.
        source: The run that the list was read out of: its retrievals are this run's too. None: the list itself is the
            one retrieval.
        lineage: Further fields of `RunRecord`: seed, split, suite, system, oracle.
    """
    places = tuple(
        RecommendationRecord(rank=rank, item_id=item.id, retrieval=0, score=item.score, source="written")
        for rank, item in enumerate(listed, start=1)
    )
    own = RetrievalRecord(position=0, turn=0, k=k, items=tuple(listed), latency_ms=latency_ms)
    now = datetime.now(UTC)
    return RunTrace(
        run=RunRecord(
            run_id=run_id,
            user_id=case.user,
            history=case.history,
            message=case.message,
            target_id=case.target,
            protocol="none",
            protocol_version="1",
            prompt_version="none",
            guided=False,
            k=k,
            policy_model="none",
            trm_fingerprint=identity.fingerprint,
            trm_holdout=identity.holdout,
            dataset_fingerprint=identity.dataset_fingerprint,
            kind="scored" if source is None else "derived",
            parent_id=None if source is None else source.run.run_id,
            **lineage,
        ),
        status="finished",
        incomplete=False,
        detail=None,
        started_at=now if source is None else source.started_at,
        finished_at=now,
        latency_ms=latency_ms,
        ungrounded=0,
        pinned=False,
        redacted_at=None,
        turns=(),
        retrievals=(own,) if source is None else source.retrievals,
        written=places,
        recommended=places,
        rewards=(),
    )
