"""Logged runs as rollouts: collection, filters, groups and advantages."""
