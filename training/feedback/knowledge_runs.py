"""Knowledge runs as they are read back: who the person is, what was written, and the query that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.traces import RunFilter, TraceStore
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.preference_file import WrittenPreference, history_digest
from deeprec.trm_tool.recommender import Query, Recommender, ranks_of


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeRun:
    """One piece of knowledge about one person."""

    run_id: UUID
    group_id: str
    """Person, message and target; the pieces of one group are about the same."""
    key: str
    """Who or which request it is about, the same for every policy that wrote about it."""
    user: str
    history: tuple[str, ...]
    message: str | None
    target: str
    split: str | None
    knowledge: str | None
    """The knowledge as a preference; None where the policy wrote none that can be used."""
    query: Query
    """What the recommender is asked with the knowledge."""

    @property
    def plain_query(self) -> Query:
        """What the recommender is asked without the knowledge."""
        return replace(self.query, preference=None)


def read_knowledge_runs(store: TraceStore, where: RunFilter | None = None) -> Iterator[KnowledgeRun]:
    """Read the knowledge runs of a store that have ended, oldest first. Redacted and incomplete ones are left out."""
    chosen = replace(where or RunFilter(), kind="knowledge", ended=True, redacted=False)
    for trace in store.traces(chosen, omit=("tokens", "scores")):
        run = trace.run
        if trace.incomplete or run.target_id is None:
            continue
        knowledge = trace.turns[0].preference if trace.turns else None
        yield KnowledgeRun(
            run_id=run.run_id,
            group_id=str(run.group_id),
            key=str(run.group_id).removeprefix(f"{run.suite}/"),
            user=str(run.user_id),
            history=run.history,
            message=run.message,
            target=run.target_id,
            split=run.split,
            knowledge=knowledge,
            query=Query(
                history=run.history, preference=knowledge, words=run.message, where=(run.config or {}).get("where")
            ),
        )


def knowledge_ranks(
    recommender: Recommender, runs: Sequence[KnowledgeRun], *, trust: float | None = None, with_knowledge: bool = True
) -> NDArray[np.float64]:
    """Rank each run's target among all items, those of the history masked -> 1-based (runs,).

    Args:
        recommender: Asked with the history, the message and the knowledge.
        runs: A run without knowledge is ranked by history and message.
        trust: In the knowledge; None leaves it to the recommender.
        with_knowledge: Whether the knowledge is read at all.
    """
    queries = [replace(run.query, trust=trust) if with_knowledge else run.plain_query for run in runs]
    return ranks_of(recommender, [run.target for run in runs], queries).astype(np.float64)


def as_written_preferences(store: TraceStore, dataset: Dataset, where: RunFilter) -> Iterator[WrittenPreference]:
    """Read knowledge as preferences that `train_trm(written=…)` learns from, each at the position it was written for.

    No recommender had a part in a knowledge run, so none had learned its target.

    Args:
        store: The store of the runs.
        dataset: What the recommender will be trained on; its fingerprint stands in the rows.
        where: Which knowledge runs.
    """
    chosen = replace(where, kind="knowledge", ended=True, redacted=False)
    for trace in store.traces(chosen, omit=("tokens", "scores")):
        run = trace.run
        if trace.incomplete or not trace.turns or not trace.turns[0].preference:
            continue
        yield WrittenPreference(
            run_id=str(run.run_id),
            turn=0,
            retrieval=None,
            user_id=run.user_id,
            target_id=run.target_id,
            split=run.split,
            history_length=len(run.history),
            history_sha256=history_digest(run.history),
            policy_model=run.policy_model,
            adapter=run.adapter,
            adapter_version=run.adapter_version,
            guided=run.guided,
            trm_fingerprint=run.trm_fingerprint,
            trm_holdout=len(dataset.sequences.get(str(run.user_id), ())),
            dataset_fingerprint=run.dataset_fingerprint,
            preference=trace.turns[0].preference,
        )
