"""From logged runs to rollouts."""

from deeprec.training.rollouts import Rollout, RolloutError, read_rollouts, rollout_from_run

__all__ = ["Rollout", "RolloutError", "read_rollouts", "rollout_from_run"]
