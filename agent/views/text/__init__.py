"""Runs as text in a terminal."""
