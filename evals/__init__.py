"""Evaluation: metrics, baselines, comparisons."""
