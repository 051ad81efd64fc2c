"""Keeping a store in order: pruning, redaction, disk usage, migration by hand."""
