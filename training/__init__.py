"""From logged runs to rollouts."""

from deeprec.training.groups import GroupFaults, RewardedRollout, ScoredRollout, advantages, score_groups
from deeprec.training.rollouts import Rollout, RolloutError, read_rollouts, rollout_from_run

__all__ = [
    "GroupFaults",
    "RewardedRollout",
    "Rollout",
    "RolloutError",
    "ScoredRollout",
    "advantages",
    "read_rollouts",
    "rollout_from_run",
    "score_groups",
]
