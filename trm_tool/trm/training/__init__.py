"""Training of the recommender with RecBole, and what its preferences are trained on."""
