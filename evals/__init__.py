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
    from deeprec.evals.rewards import (
        Reward,
        format_fault,
        format_reward,
        hit_reward,
        invocation_reward,
        make_diversity_reward,
        make_rewards,
        make_similarity_reward,
        rank_reward,
        score_run,
    )
    from deeprec.evals.run_metrics import (
        MeasureList,
        make_list_measures,
        measure_run,
        ranks_from_reciprocals,
    )
    from deeprec.evals.statistics import holm, randomisation_test, smallest_difference
    from deeprec.evals.suite import Entry, Suite, load_suite, packaged_suites, suite_cases
    from deeprec.evals.suite_systems import AgentSystem, DerivedSystem, Setting
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
    "AgentSystem": "suite_systems",
    "Case": "cases",
    "CoOccurrenceConfig": "baselines",
    "DerivedSystem": "suite_systems",
    "Entry": "suite",
    "Interval": "metrics",
    "MeasureList": "run_metrics",
    "Reward": "rewards",
    "Setting": "suite_systems",
    "Suite": "suite",
    "System": "systems",
    "SystemScores": "trm_eval",
    "TRMEvaluation": "trm_eval",
    "WrittenEvaluation": "written_preferences",
    "clustered_interval": "metrics",
    "evaluate_systems": "trm_eval",
    "evaluate_trm": "trm_eval",
    "evaluate_written": "written_preferences",
    "format_fault": "rewards",
    "format_reward": "rewards",
    "hit_reward": "rewards",
    "holm": "statistics",
    "invocation_reward": "rewards",
    "load_suite": "suite",
    "make_cases": "cases",
    "make_cooccurrence_scorer": "baselines",
    "make_diversity_reward": "rewards",
    "make_list_measures": "run_metrics",
    "make_popularity_scorer": "baselines",
    "make_rewards": "rewards",
    "make_similarity_reward": "rewards",
    "make_system": "systems",
    "make_trm_system": "systems",
    "mean_interval": "metrics",
    "measure_run": "run_metrics",
    "ndcg_at_k": "metrics",
    "ndcg_from_ranks": "metrics",
    "packaged_suites": "suite",
    "paired_interval": "metrics",
    "randomisation_test": "statistics",
    "rank_reward": "rewards",
    "ranks_from_reciprocals": "run_metrics",
    "recall_at_k": "metrics",
    "recall_from_ranks": "metrics",
    "reciprocal_from_ranks": "metrics",
    "reciprocal_rank": "metrics",
    "score_run": "rewards",
    "smallest_difference": "statistics",
    "suite_cases": "suite",
    "target_ranks": "metrics",
    "written_table": "written_preferences",
}

__all__ = [
    "AgentSystem",
    "Case",
    "CoOccurrenceConfig",
    "DerivedSystem",
    "Entry",
    "Interval",
    "MeasureList",
    "Reward",
    "Setting",
    "Suite",
    "System",
    "SystemScores",
    "TRMEvaluation",
    "WrittenEvaluation",
    "clustered_interval",
    "evaluate_systems",
    "evaluate_trm",
    "evaluate_written",
    "format_fault",
    "format_reward",
    "hit_reward",
    "holm",
    "invocation_reward",
    "load_suite",
    "make_cases",
    "make_cooccurrence_scorer",
    "make_diversity_reward",
    "make_list_measures",
    "make_popularity_scorer",
    "make_rewards",
    "make_similarity_reward",
    "make_system",
    "make_trm_system",
    "mean_interval",
    "measure_run",
    "ndcg_at_k",
    "ndcg_from_ranks",
    "packaged_suites",
    "paired_interval",
    "randomisation_test",
    "rank_reward",
    "ranks_from_reciprocals",
    "recall_at_k",
    "recall_from_ranks",
    "reciprocal_from_ranks",
    "reciprocal_rank",
    "score_run",
    "smallest_difference",
    "suite_cases",
    "target_ranks",
    "written_table",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.evals.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
