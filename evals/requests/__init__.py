"""Whom and what is asked in an evaluation: cases, their guards against leaks, held-out wordings."""
