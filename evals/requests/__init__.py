"""Requests of evaluations: cases, agent requests, guards against leaks, held-out wordings."""
