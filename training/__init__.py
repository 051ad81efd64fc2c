"""From logged runs to rollouts, their rewards and advantages; and whom a policy is trained on."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.training.groups import GroupFaults, RewardedRollout, ScoredRollout, advantages, score_groups
    from deeprec.training.instances import Instance, Selection, select_instances
    from deeprec.training.own_rewards import load_rewards
    from deeprec.training.rollouts import Rollout, RolloutError, read_rollouts, rollout_from_run
    from deeprec.training.stage_rewards import ScoringReport, read_rewarded, read_scored, score_stored_runs
    from deeprec.training.stages import StageReward, stage_reward

# Modules load on first use of a name: torch and the trainers take seconds, and few callers need them all.
_HOMES = {
    "GroupFaults": "groups",
    "Instance": "instances",
    "RewardedRollout": "groups",
    "Rollout": "rollouts",
    "RolloutError": "rollouts",
    "ScoredRollout": "groups",
    "ScoringReport": "stage_rewards",
    "Selection": "instances",
    "StageReward": "stages",
    "advantages": "groups",
    "load_rewards": "own_rewards",
    "read_rewarded": "stage_rewards",
    "read_rollouts": "rollouts",
    "read_scored": "stage_rewards",
    "rollout_from_run": "rollouts",
    "score_groups": "groups",
    "score_stored_runs": "stage_rewards",
    "select_instances": "instances",
    "stage_reward": "stages",
}

__all__ = [
    "GroupFaults",
    "Instance",
    "RewardedRollout",
    "Rollout",
    "RolloutError",
    "ScoredRollout",
    "ScoringReport",
    "Selection",
    "StageReward",
    "advantages",
    "load_rewards",
    "read_rewarded",
    "read_rollouts",
    "read_scored",
    "rollout_from_run",
    "score_groups",
    "score_stored_runs",
    "select_instances",
    "stage_reward",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
