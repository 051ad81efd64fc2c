"""Recommender feedback: knowledge that a policy writes about people is rewarded by the ranking that it leads to."""
