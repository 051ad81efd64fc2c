"""Rank metrics, reward components, statistics of comparisons. Pure functions."""
