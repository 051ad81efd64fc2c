"""Evaluation of a recommender by itself: full-catalogue ranking, and what its preference side is worth."""
