"""Suites: several systems for the same people, run, compared and reported from the trace store."""
