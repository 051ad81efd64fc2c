"""Complementary signals: what people's choices say that the recommender does not read."""
