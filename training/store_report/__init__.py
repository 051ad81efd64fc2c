"""The report of what a trace store holds for training."""
