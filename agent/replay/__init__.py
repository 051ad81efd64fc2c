"""Replays and forks: a logged run again, from its start or from an edited turn."""
