"""Pairs of runs for one prompt, of which one earned more: made of scored groups, read as rollouts, exported."""
