"""Rewards of the training stages, composed from the components in `evals`."""
