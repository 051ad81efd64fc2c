"""Logged runs as data frames for notebooks."""
