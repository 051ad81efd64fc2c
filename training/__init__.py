"""From logged runs to rollouts, their rewards and advantages; and whom a policy is trained on."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.training.collect import Collection, collect_groups
    from deeprec.training.groups import GroupFaults, RewardedRollout, ScoredRollout, advantages, score_groups
    from deeprec.training.grpo import train_grpo
    from deeprec.training.instances import Instance, Selection, select_instances
    from deeprec.training.logprob_gap import importance_ratios, load_current_policy
    from deeprec.training.loop import LoopResult, run_loop
    from deeprec.training.loop_config import LoopConfig, load_loop_config, packaged_loops
    from deeprec.training.own_rewards import load_rewards
    from deeprec.training.policy_model import save_adapter
    from deeprec.training.rollout_page import rollout_fragment
    from deeprec.training.rollouts import Rollout, RolloutError, read_rollouts, rollout_from_run
    from deeprec.training.sft import train_sft
    from deeprec.training.stage_rewards import ScoringReport, read_rewarded, read_scored, score_stored_runs
    from deeprec.training.stages import StageReward, stage_reward
    from deeprec.training.step_report import StepReport, TrainingError
    from deeprec.training.store_figures import StoreReport
    from deeprec.training.store_report import report_store
    from deeprec.training.trainer_config import AdapterConfig, GrpoConfig, SftConfig

# Modules load on first use of a name: torch and the trainers take seconds, and few callers need them all.
_HOMES = {
    "AdapterConfig": "trainer_config",
    "Collection": "collect",
    "GroupFaults": "groups",
    "GrpoConfig": "trainer_config",
    "Instance": "instances",
    "LoopConfig": "loop_config",
    "LoopResult": "loop",
    "RewardedRollout": "groups",
    "Rollout": "rollouts",
    "RolloutError": "rollouts",
    "ScoredRollout": "groups",
    "ScoringReport": "stage_rewards",
    "Selection": "instances",
    "SftConfig": "trainer_config",
    "StageReward": "stages",
    "StoreReport": "store_figures",
    "StepReport": "step_report",
    "TrainingError": "step_report",
    "advantages": "groups",
    "collect_groups": "collect",
    "importance_ratios": "logprob_gap",
    "load_current_policy": "logprob_gap",
    "load_loop_config": "loop_config",
    "load_rewards": "own_rewards",
    "packaged_loops": "loop_config",
    "read_rewarded": "stage_rewards",
    "read_rollouts": "rollouts",
    "read_scored": "stage_rewards",
    "report_store": "store_report",
    "rollout_fragment": "rollout_page",
    "rollout_from_run": "rollouts",
    "run_loop": "loop",
    "save_adapter": "policy_model",
    "score_groups": "groups",
    "score_stored_runs": "stage_rewards",
    "select_instances": "instances",
    "stage_reward": "stages",
    "train_grpo": "grpo",
    "train_sft": "sft",
}

__all__ = [
    "AdapterConfig",
    "Collection",
    "GroupFaults",
    "GrpoConfig",
    "Instance",
    "LoopConfig",
    "LoopResult",
    "RewardedRollout",
    "Rollout",
    "RolloutError",
    "ScoredRollout",
    "ScoringReport",
    "Selection",
    "SftConfig",
    "StageReward",
    "StepReport",
    "StoreReport",
    "TrainingError",
    "advantages",
    "collect_groups",
    "importance_ratios",
    "load_current_policy",
    "load_loop_config",
    "load_rewards",
    "packaged_loops",
    "read_rewarded",
    "read_rollouts",
    "read_scored",
    "report_store",
    "rollout_fragment",
    "rollout_from_run",
    "run_loop",
    "save_adapter",
    "score_groups",
    "score_stored_runs",
    "select_instances",
    "stage_reward",
    "train_grpo",
    "train_sft",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
