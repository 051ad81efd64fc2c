"""The trace store."""
