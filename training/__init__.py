"""From logged runs to rollouts."""
