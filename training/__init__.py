"""From logged runs to rollouts, their rewards and advantages; and whom a policy is trained on."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.training.groups import GroupFaults, RewardedRollout, ScoredRollout, advantages, score_groups
    from deeprec.training.instances import Instance, Selection, select_instances
    from deeprec.training.rollouts import Rollout, RolloutError, read_rollouts, rollout_from_run
    from deeprec.training.stages import StageReward, stage_reward

# Modules load on first use of a name: torch and the trainers take seconds, and few callers need them all.
_HOMES = {
    "GroupFaults": "groups",
    "Instance": "instances",
    "RewardedRollout": "groups",
    "Rollout": "rollouts",
    "RolloutError": "rollouts",
    "ScoredRollout": "groups",
    "Selection": "instances",
    "StageReward": "stages",
    "advantages": "groups",
    "read_rollouts": "rollouts",
    "rollout_from_run": "rollouts",
    "score_groups": "groups",
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
    "Selection",
    "StageReward",
    "advantages",
    "read_rollouts",
    "rollout_from_run",
    "score_groups",
    "select_instances",
    "stage_reward",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
