"""RecBole's SASRec with a knowledge vector: a second recommender that reads preferences in words."""
