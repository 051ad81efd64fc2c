"""Evaluation: metrics, baselines, comparisons."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.evals.baselines import CoOccurrenceConfig, make_cooccurrence_scorer, make_popularity_scorer
    from deeprec.evals.cases import Case, make_cases
    from deeprec.evals.metrics import (
        Interval,
        clustered_interval,
        mean_interval,
        ndcg_at_k,
        ndcg_from_ranks,
        paired_interval,
        recall_at_k,
        recall_from_ranks,
        reciprocal_from_ranks,
        reciprocal_rank,
        target_ranks,
    )
    from deeprec.evals.statistics import holm, randomisation_test, smallest_difference
    from deeprec.evals.systems import System, make_system, make_trm_system
    from deeprec.evals.trm_eval import (
        SystemScores,
        TRMEvaluation,
        evaluate_systems,
        evaluate_trm,
    )
    from deeprec.evals.written_preferences import WrittenEvaluation, evaluate_written, written_table

# Modules load on first use of a name: the retriever behind `trm_eval` brings torch, the metrics need numpy only.
_HOMES = {
    "Case": "cases",
    "CoOccurrenceConfig": "baselines",
    "Interval": "metrics",
    "System": "systems",
    "SystemScores": "trm_eval",
    "TRMEvaluation": "trm_eval",
    "WrittenEvaluation": "written_preferences",
    "clustered_interval": "metrics",
    "evaluate_systems": "trm_eval",
    "evaluate_trm": "trm_eval",
    "evaluate_written": "written_preferences",
    "holm": "statistics",
    "make_cases": "cases",
    "make_cooccurrence_scorer": "baselines",
    "make_popularity_scorer": "baselines",
    "make_system": "systems",
    "make_trm_system": "systems",
    "mean_interval": "metrics",
    "ndcg_at_k": "metrics",
    "ndcg_from_ranks": "metrics",
    "paired_interval": "metrics",
    "randomisation_test": "statistics",
    "recall_at_k": "metrics",
    "recall_from_ranks": "metrics",
    "reciprocal_from_ranks": "metrics",
    "reciprocal_rank": "metrics",
    "smallest_difference": "statistics",
    "target_ranks": "metrics",
    "written_table": "written_preferences",
}

__all__ = [
    "Case",
    "CoOccurrenceConfig",
    "Interval",
    "System",
    "SystemScores",
    "TRMEvaluation",
    "WrittenEvaluation",
    "clustered_interval",
    "evaluate_systems",
    "evaluate_trm",
    "evaluate_written",
    "holm",
    "make_cases",
    "make_cooccurrence_scorer",
    "make_popularity_scorer",
    "make_system",
    "make_trm_system",
    "mean_interval",
    "ndcg_at_k",
    "ndcg_from_ranks",
    "paired_interval",
    "randomisation_test",
    "recall_at_k",
    "recall_from_ranks",
    "reciprocal_from_ranks",
    "reciprocal_rank",
    "smallest_difference",
    "target_ranks",
    "written_table",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.evals.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
