"""Demonstrations: runs that show what a good policy asks for, found by asking the recommender."""
